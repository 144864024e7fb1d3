"""The paper's tables: one data set, rows by latent size, the models side by side."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from mvae_jax.paper import reference
from mvae_jax.paper.cells import CELLS
from mvae_jax.report.cells import Cell, Cells, Scores, Setting
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.formats import Bold, Grid
from mvae_jax.report.metrics import BOUND, CONDITIONS, MEASURED, METRICS, PAPER, describe
from mvae_jax.report.runs import BASELINE, MODEL, Runs, left_out, models_of, partial
from mvae_jax.report.statistics import ALPHA, summarise

MISSING = "-"


def tables(runs: Runs, comparisons: Comparisons) -> Iterator[Grid]:
    """Yields, for each data set, the paper's table and the one that the paper leaves out."""
    for setting, cells in runs.tables().items():
        notes = _notes(setting, cells, comparisons)
        numeral = reference.table_numbers().get(setting.dataset)
        title = f"{setting}" + (f" (the paper's Table {numeral})" if numeral else "")
        first = _grid(title, PAPER, setting, cells, comparisons)
        second = _grid(f"{setting}: the bound and its size", BOUND, setting, cells, comparisons)
        if first.rows:
            yield first._replace(notes=notes)
        if second.rows:
            bold = _bold_note(BOUND, setting, cells, comparisons)
            yield second._replace(notes=bold if first.rows else notes)


def _grid(
    title: str, names: Sequence[str], setting: Setting, cells: Cells, comparisons: Comparisons
) -> Grid:
    """Returns a table of the metrics that any run has; without rows where none has any."""
    shown = [n for n in names if any(n in s.values or n in s.per_run for s in cells.values())]
    models = models_of(cells)
    rows = []
    for z in sorted({cell.latent_size for cell in cells}):
        of_row = {model: cells.get(Cell(setting, z, model)) for model in models}
        row = [str(z)]
        for metric in shown:
            for model, scores in of_row.items():
                text = _entry(metric, scores)
                if _is_better(metric, model, setting, z, comparisons):
                    text = Bold(text)
                row.append(text)
        rows.append(row)
    groups = [("", 1), *((describe(metric).heading, len(models)) for metric in shown)]
    headers = ["z", *models * len(shown)]
    return Grid(title, headers, rows if shown else [], groups, settings=(setting,))


def _entry(metric: str, scores: Scores | None) -> str:
    """Returns mean ± sd over seeds; a dagger flags probes that did not converge."""
    if scores is None or scores.why_missing(metric):
        return MISSING
    decimals = describe(metric).decimals
    if metric in scores.per_run:
        return f"{scores.per_run[metric]:,.{decimals}f}"
    summary = summarise(list(scores.values[metric].values()))
    text = f"{summary.mean:.{decimals}f}"
    if summary.sd is not None:
        text += f" ± {summary.sd:.{decimals}f}"
    return text + ("†" if metric == "probe_accuracy" and unconverged(scores) else "")


def _is_better(metric: str, model: str, setting: Setting, z: int, comparisons: Comparisons) -> bool:
    """Returns whether the model's value is significantly the better one of its pair."""
    found = comparisons.found.get((metric, setting, z))
    if found is None or not found.significant or model not in (BASELINE, MODEL):
        return False
    gain = found.comparison.difference.mean * describe(metric).better
    return gain > 0 if model == MODEL else gain < 0


def _notes(setting: Setting, cells: Cells, comparisons: Comparisons) -> list[str]:
    """Returns what a reader must know of the table, and the reason for each missing row."""
    epochs = {s.config["num_epochs"] for s in cells.values() if "num_epochs" in s.config}
    seeds = {len(s.replicates) - len(s.failed) for s in cells.values() if s.replicates}
    trained = f", {_range(epochs)} epochs" if epochs else ""
    notes = [f"Mean ± standard deviation over {_range(seeds)} seeds{trained}; test split."]
    notes += _bold_note(PAPER, setting, cells, comparisons)
    for cell, scores in cells.items():
        of_cell = _cell_notes(scores, (*PAPER, *BOUND))
        notes += [f"{cell.model} z={cell.latent_size}: {note}" for note in of_cell]
    return [*notes, *comparisons.missing.get(setting, ())]


def _bold_note(
    metrics: Sequence[str], setting: Setting, cells: Cells, comparisons: Comparisons
) -> list[str]:
    """Returns what bold means in a table of these metrics; nothing where none was tested."""
    places = {(metric, setting, cell.latent_size) for metric in metrics for cell in cells}
    compared = [comparisons.found[place] for place in places & comparisons.found.keys()]
    families = {c.family for c in compared if c.family}
    if not families:
        return []
    cells_of = f"metric's cells ({_range(families)})."
    if setting.dataset in reference.table_numbers() and max(families) < len(CELLS):
        cells_of = (
            f"metric's cells run so far ({_range(families)} of {len(CELLS)}): with more of them it "
            "may no longer stand."
        )
    return [
        f"Bold (in text: *): significantly better than the other of {BASELINE} and {MODEL} "
        f"by a paired t-test over seeds at {ALPHA:.2g}, after Holm's correction over the {cells_of}"
    ]


def _cell_notes(scores: Scores, shown: Collection[str]) -> list[str]:
    """Returns what is missing or flagged in one cell, with the reason.

    shown: the metrics whose known absence is worth a note
    """
    notes = left_out(scores)
    if scores.missing:
        return [*notes, f"missing: {scores.missing}"]
    notes += [f"missing: {reason}" for reason in partial(scores)]
    for reason in dict.fromkeys(scores.absent.values()):
        names = [m for m, why in scores.absent.items() if why == reason and m in shown]
        if names:
            notes.append(f"absent: {', '.join(names)} ({reason})")
    if number := unconverged(scores):
        probes = len(scores.values["probe_converged"])
        notes.append(f"† {number} of {probes} probes did not converge")
    return notes


# --- one run ------------------------------------------------------------------------------------


def run_table(cell: Cell, scores: Scores) -> Grid:
    """Returns one run's metrics: mean, sd over seeds, 95% t-interval of the mean."""
    rows = []
    for metric, values in _ordered(scores.values):
        if metric in (*CONDITIONS, *MEASURED) or not values:
            continue
        shown, summary = describe(metric), summarise(list(values.values()))
        sd, interval = "-", "-"
        if summary.sd is not None and summary.interval is not None:
            sd = f"{summary.sd:.{shown.decimals}f}"
            interval = " to ".join(f"{end:.{shown.decimals}f}" for end in summary.interval)
        mean = f"{summary.mean:.{shown.decimals}f}"
        if scores.why_missing(metric):  # a mean over some of the seeds is none
            mean = sd = interval = MISSING
        label = shown.label
        if metric == "iwae" and (ks := set(scores.values.get("iwae_k", {}).values())):
            listed = " or ".join(f"{k:.0f}" for k in sorted(ks))
            label = label.replace("nats", f"nats, K = {listed}")
        rows.append((label, mean, sd, interval, str(summary.n)))
    if "num_parameters" in scores.per_run:
        shown, value = describe("num_parameters"), scores.per_run["num_parameters"]
        rows.append((shown.label, f"{value:,.0f}", "-", "-", "-"))
    title = f"{cell.model} z={cell.latent_size} on {cell.setting}"
    headers = ("metric", "mean", "sd over seeds", "95% interval of the mean", "seeds")
    notes = _cell_notes(scores, scores.absent)
    return Grid(f"{title}, test split", headers, rows, notes=notes, settings=(cell.setting,))


def records(runs: Runs) -> Iterator[dict[str, Any]]:
    """Yields every cell's metrics in full precision, one row each, for a CSV file."""
    for cell, scores in runs.cells.items():
        row = {**cell.setting._asdict(), "model": cell.model, "latent_size": cell.latent_size}
        row["failed_seeds"] = " ".join(map(str, scores.failed))
        if scores.missing:
            yield _record(row, "", None, scores.missing)
        for metric, values in _ordered(scores.values):
            if values:
                yield _record(row, metric, list(values.values()), scores.why_missing(metric))
        for metric, value in scores.per_run.items():
            yield _record(row, metric, [value], "")


def _record(
    row: dict[str, Any], metric: str, values: list[float] | None, missing: str
) -> dict[str, Any]:
    """A row whose seeds are not all there has no mean, but says why."""
    row = {**row, "metric": metric}
    if values is None or missing:
        empty = dict.fromkeys(("mean", "sd", "low95", "high95"))
        return {**row, **empty, "seeds": len(values or ()), "missing": missing}
    summary = summarise(values)
    low, high = summary.interval or (None, None)
    figures = {"mean": summary.mean, "sd": summary.sd, "low95": low, "high95": high}
    return {**row, **figures, "seeds": summary.n, "missing": ""}


def unconverged(scores: Scores) -> int:
    """Returns how many of the cell's probes stopped before they converged."""
    converged = scores.values.get("probe_converged", {}).values()
    return sum(not value for value in converged)


def _ordered(values: dict[str, dict[int, float]]) -> list[tuple[str, dict[int, float]]]:
    """Returns metrics in the usual order, unknown ones behind by name."""
    known = [name for name in METRICS if name in values]
    return [(name, values[name]) for name in [*known, *sorted(values.keys() - METRICS.keys())]]


def _range(numbers: Collection[int]) -> str:
    """Returns `5`, `3 to 5`, or 0 where there are none."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"
