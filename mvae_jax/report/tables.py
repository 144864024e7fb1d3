"""The tables of metrics: one data set, rows by latent size, the models side by side."""

from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from mvae_jax.report.cells import Cell, Run, Setting, left_out
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.formats import Bold, Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import (
    BOUND,
    CONDITIONS,
    HEADLINES,
    KNOWN,
    MAIN,
    MEASURED,
    METRICS,
    PAPER,
    describe,
)
from mvae_jax.report.pairs import models_of
from mvae_jax.report.statistics import ALPHA
from mvae_jax.report.swept import Sweep, sweeps

MISSING = "-"


def tables(found: Scores, compared: Comparisons) -> Iterator[Grid]:
    """Yield two tables for each data set: of the main metrics, and of the bound and its size.

    A sweep of scalars has one table of its own, whose rows are their values.
    """
    bold, tests = _bold(found, compared), compared.by_table()
    of_sweeps: set[Setting] = set()
    for sweep in sweeps(found):
        of_sweeps |= {cell.setting for cell in sweep.cells.values()}
        yield _grid_of_sweep(sweep, found, compared, bold)
    for setting, cells in found.tables().items():
        if setting in of_sweeps:
            continue
        tested = tests.get(setting, compared.frame[:0])
        notes = _notes(found, setting, cells, compared, tested)
        first = _grid(str(setting), PAPER, found, cells, bold)
        second = _grid(f"{setting}: the bound and its size", BOUND, found, cells, bold)
        if first.rows:
            yield first._replace(notes=notes)
        if second.rows:
            of_bound = _bold_note(BOUND, cells, compared.baseline, tested)
            yield second._replace(notes=of_bound if first.rows else notes)


def _bold(found: Scores, compared: Comparisons) -> set[tuple[str, Cell]]:
    """Return metric and cell of every figure to be shown in bold.

    A model's is, where it is significantly better than the baseline; the baseline's is, where it is
    significantly better than every model that was compared with it.
    """
    frame = compared.frame
    better = frame.metric.map({name: found.describe(name).better for name in found.metrics})
    gains = (frame.difference * better).where(frame.p_holm < ALPHA, 0.0).astype(float)
    bold = {*zip(frame.metric[gains > 0], frame.cell[gains > 0], strict=True)}
    rows = gains.groupby([frame[name] for name in ("metric", *Setting._fields, "latent_size")])
    lost = rows.max() < 0
    for metric, *setting, z in lost.index[lost]:
        bold.add((metric, Cell(Setting(*setting), z, compared.baseline)))
    return bold


def _grid(
    title: str,
    names: Sequence[str],
    found: Scores,
    cells: dict[Cell, Run],
    bold: set[tuple[str, Cell]],
) -> Grid:
    """Return a table of the metrics that any run has; without rows where no run has any."""
    shown = [name for name in names if any(found.has(cell, name) for cell in cells)]
    models = models_of(cells)
    setting = next(iter(cells)).setting
    rows = []
    for z in sorted({cell.latent_size for cell in cells}):
        places = [(metric, Cell(setting, z, model)) for metric in shown for model in models]
        texts = [(_entry(*of, found) if of[1] in cells else MISSING, of) for of in places]
        rows.append([str(z), *(Bold(text) if of in bold else text for text, of in texts)])
    groups = [("", 1), *((found.describe(metric).heading, len(models)) for metric in shown)]
    headers = ["z", *models * len(shown)]
    return Grid(title, headers, rows if shown else [], groups, settings=(setting,))


def _grid_of_sweep(
    sweep: Sweep, found: Scores, compared: Comparisons, bold: set[tuple[str, Cell]]
) -> Grid:
    """Return a table of the bound and the main metrics, a row for each value and latent size."""
    cells = {cell: found.cells[cell] for cell in sweep.cells.values()}
    shown = [name for name in HEADLINES if any(found.has(cell, name) for cell in cells)]
    models, tests = models_of(cells), compared.by_table()
    rows = []
    for values, z in dict.fromkeys((values, z) for values, z, _ in sweep.cells):
        of_row = {model: sweep.cells.get((values, z, model)) for model in models}
        places = [(metric, of_row[model]) for metric in shown for model in models]
        texts = [
            (MISSING if cell is None else _entry(m, cell, found), (m, cell)) for m, cell in places
        ]
        entries = (Bold(text) if place in bold else text for text, place in texts)
        rows.append([*(f"{value:g}" for value in values), str(z), *entries])
    groups = [("", len(sweep.fields) + 1)]
    groups += [(found.describe(metric).heading, len(models)) for metric in shown]
    headers = [*sweep.fields, "z", *models * len(shown)]
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    notes: dict[str, None] = {}
    for setting in settings:
        of_setting = {cell: run for cell, run in cells.items() if cell.setting == setting}
        tested = tests.get(setting, compared.frame[:0])
        notes |= dict.fromkeys(_notes(found, setting, of_setting, compared, tested))
    title = f"{sweep.setting}: {', '.join(sweep.fields)}"
    return Grid(title, headers, rows, groups, notes=[*notes], settings=settings)


def _entry(metric: str, cell: Cell, found: Scores) -> str:
    """Return mean ± sd over seeds; a dagger flags probes that did not converge."""
    summary = found.summary(cell, metric)
    if summary is None:
        return MISSING
    shown = found.describe(metric)
    if shown.per_run:
        return f"{summary.mean:,.{shown.decimals}f}"
    text = f"{summary.mean:.{shown.decimals}f}"
    if summary.sd is not None:
        text += f" ± {summary.sd:.{shown.decimals}f}"
    return text + ("†" if metric == "probe_accuracy" and unconverged(found, cell) else "")


def _notes(
    found: Scores,
    setting: Setting,
    cells: dict[Cell, Run],
    compared: Comparisons,
    tested: pd.DataFrame,
) -> list[str]:
    """Return what a reader must know of the table, and the reason for each missing row."""
    epochs = {run.config["num_epochs"] for run in cells.values() if "num_epochs" in run.config}
    seeds = {len(run.seeds) for run in cells.values() if run.replicates}
    trained = f", {_range(epochs)} epochs" if epochs else ""
    notes = [f"Mean ± standard deviation over {_range(seeds)} seeds{trained}; test split."]
    notes += _bold_note(PAPER, cells, compared.baseline, tested)
    for cell in cells:
        notes += [f"{cell}: {note}" for note in _cell_notes(found, cell, (*PAPER, *BOUND))]
    return [*notes, *compared.notes.get(setting, ()), *compared.missing.get(setting, ())]


def _bold_note(
    metrics: Sequence[str], cells: Collection[Cell], baseline: str, tested: pd.DataFrame
) -> list[str]:
    """Return what bold means in a table of these metrics; nothing where none was tested."""
    tested = tested[tested.metric.isin(metrics)]
    sizes = {*tested.family[tested.family > 0]}
    if not sizes:
        return []
    planned = tested.planned.max()
    over = f"metric's cells ({_range(sizes)})"
    if max(sizes) < planned:
        over = (
            f"metric's cells run so far ({_range(sizes)} of {planned}), so that it may no longer "
            "be significant with more of them"
        )
    alone = " A family of one cell is an uncorrected test." if 1 in sizes else ""
    others = {cell.model for cell in cells} - {baseline}
    than = f"{baseline} ({baseline}: than every other model)"
    if len(others) == 1:
        than = f"the other of {baseline} and {others.pop()}"
    return [
        f"Bold (in text: *): significantly better than {than} by a paired t-test over seeds at "
        f"{ALPHA:.2g}, after Holm's correction over the {over}.{alone}"
    ]


def _cell_notes(found: Scores, cell: Cell, shown: Collection[str]) -> list[str]:
    """Return what is missing or flagged in one cell, with the reason.

    shown: the metrics whose known absence is worth a note
    """
    run = found.cells[cell]
    notes = left_out(run)
    if run.missing:
        return [*notes, f"missing: {run.missing}"]
    notes += [f"missing: {reason}" for reason in found.partial(cell)]
    for reason in dict.fromkeys(run.absent.values()):
        names = [m for m, why in run.absent.items() if why == reason and m in shown]
        if names:
            notes.append(f"absent: {', '.join(names)} ({reason})")
    if number := unconverged(found, cell):
        probes = len(found.of(cell, "probe_converged"))
        notes.append(f"† {number} of {probes} probes did not converge")
    return notes


# --- one run ------------------------------------------------------------------------------------


def run_table(found: Scores, cell: Cell, names: Collection[str] = ()) -> Grid:
    """Return one run's metrics: mean, sd over seeds, 95% t-interval of the mean.

    names: of the metrics to show, in this order; by default all, and the number of parameters
    """
    rows: list[tuple[str, ...]] = []
    for metric in names or dict.fromkeys((*METRICS, *found.metrics)):
        if metric in (*CONDITIONS, *MEASURED) or not found.has(cell, metric):
            continue
        shown, summary = found.describe(metric), found.summary(cell, metric)
        label, decimals = shown.label, shown.decimals
        if metric == "iwae" and (ks := sorted({*found.of(cell, "iwae_k").values()})):
            label = label.replace("nats", f"nats, K = {' or '.join(f'{k:.0f}' for k in ks)}")
        if summary is None:  # a mean over some of the seeds is none
            rows.append((label, *[MISSING] * 3, str(len(found.of(cell, metric)))))
            continue
        sd = "-" if summary.sd is None else f"{summary.sd:.{decimals}f}"
        ends = [f"{end:.{decimals}f}" for end in summary.interval or ()]
        row = (f"{summary.mean:.{decimals}f}", sd, " to ".join(ends) or "-", str(summary.n))
        rows.append((label, *row))
    if not names and (size := found.summary(cell, "num_parameters")):
        rows.append((describe("num_parameters").label, f"{size.mean:,.0f}", "-", "-", "-"))
    headers = ("metric", "mean", "sd over seeds", "95% interval of the mean", "seeds")
    notes = _cell_notes(found, cell, found.cells[cell].absent.keys() - {*MEASURED})
    title = f"{cell} on {cell.setting}, test split"
    return Grid(title, headers, rows, notes=notes, settings=(cell.setting,))


def main_table(found: Scores, cell: Cell) -> Grid:
    """Return the part of one run's table that a terminal shows: the main metrics, and own ones."""
    own = [name for name in found.metrics if name not in KNOWN]
    whole, grid = run_table(found, cell), run_table(found, cell, (*MAIN, *own))
    more = len(whole.rows) - len(grid.rows)
    notes = [f"{more} more rows are in the report; --all prints them."] if more else []
    return grid._replace(notes=[*grid.notes, *notes])


def records(found: Scores) -> pd.DataFrame:
    """Return every cell's metrics in full precision, one row each, for a CSV file."""
    failed = [" ".join(map(str, run.failed)) for run in found.cells.values()]
    cells = found.places.assign(failed_seeds=failed)
    lost = {i: run.missing for i, run in enumerate(found.cells.values()) if run.missing}
    empty = pd.DataFrame({"cell": [*lost], "metric": "", "seeds": 0, "missing": lost.values()})
    rows = pd.concat([empty, found.summaries()]) if lost else found.summaries()
    order = {name: i for i, name in enumerate(["", *METRICS])}
    rows = rows.assign(position=rows.metric.map(order).fillna(len(order)))
    rows = rows.sort_values(["cell", "position", "metric"])
    columns = ["metric", "mean", "sd", "low95", "high95", "seeds", "missing"]
    return cells.merge(rows.set_index("cell")[columns], left_index=True, right_index=True)


def unconverged(found: Scores, cell: Cell) -> int:
    """Return how many of the cell's probes stopped before they converged."""
    converged = found.summary(cell, "probe_converged")
    return round((1 - converged.mean) * converged.n) if converged else 0


def _range(numbers: Collection[int]) -> str:
    """Return `5`, `3 to 5`, or 0 where there are none."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"
