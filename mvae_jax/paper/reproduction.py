"""Ours beside the author's release and the paper's tables, their row labels corrected.

The release is one seed. It agrees with ours where it lies inside the 95% prediction interval of
one new seed; a cell where it does not is flagged.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from mvae_jax.paper import reference
from mvae_jax.paper.cells import BASELINE, DATA_SETS, MODEL
from mvae_jax.paper.reference import Key
from mvae_jax.report.cells import Setting, likelihood
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.statistics import prediction_interval
from mvae_jax.report.study import Report

EPOCHS = 200  # of the release
SCORED_SEEDS = 10  # with fewer, the intervals are too wide for their share to mean much
ORIGINAL = "the release's images"  # and probe, and number of epochs
UNCONVERGED_PROBE = "released probe unconverged"
MADE_ANEW = "images made anew"
OUTSIDE, UNCONVERGED = "‡", "†"


class Figure(NamedTuple):
    """One figure of ours beside the published ones.

    interval:    for one new seed; None below two seeds
    release:     the author's, as released; paper: as printed, under the corrected label
    unconverged: whether the released probe behind it stopped early
    epochs:      of our training; None where the run does not say
    failed:      the seeds that are not in it because their training failed
    """

    setting: Setting
    key: Key
    seeds: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    release: str
    paper: str
    unconverged: bool
    epochs: int | None
    failed: tuple[int, ...]

    @property
    def inside(self) -> bool | None:
        """Whether the release lies in our interval; None where there is no interval."""
        if self.interval is None:
            return None
        return self.interval[0] <= float(self.release) <= self.interval[1]


def figures(found: Scores) -> list[Figure]:
    """Return every figure of ours that the release has, in the order metric, z, model."""
    release, paper = reference.release(), reference.printed(corrected=True)
    unconverged = reference.unconverged()
    figures = []
    for cell, run in found.cells.items():
        if cell.setting.protocol != "release" or cell.setting.variant:
            continue
        for metric in PAPER:
            key = Key(metric, cell.setting.dataset, cell.latent_size, cell.model)
            summary = found.summary(cell, metric)
            if key not in release or summary is None:
                continue
            probe = metric in ("probe_accuracy", "probe_nll", "brier", "ece")
            figures.append(
                Figure(
                    cell.setting,
                    key,
                    summary.n,
                    summary.mean,
                    summary.sd,
                    prediction_interval(summary),
                    release[key],
                    paper[key],
                    probe and key[1:] in unconverged,
                    run.config.get("num_epochs"),
                    tuple(run.failed),
                )
            )
    order = {metric: i for i, metric in enumerate(PAPER)}
    return sorted(figures, key=lambda f: (f.setting, order[f.key.metric], f.key.latent_size))


def tables(report: Report) -> list[Grid]:
    """Return one table per data set, then the share of released cells that ours hold."""
    found = figures(report.scores)
    grids = [
        _table(setting, [figure for figure in found if figure.setting == setting])
        for setting in dict.fromkeys(figure.setting for figure in found)
    ]
    return [*grids, _share(found)] if found else []


def short_runs(report: Report, grid: Grid) -> str:
    """Return which of the runs that a table shows had fewer epochs than the paper's; or ""."""
    fewer: dict[str, None] = {}
    for cell, run in report.scores.cells.items():
        dataset, protocol = cell.setting.dataset, cell.setting.protocol
        if cell.setting in grid.settings and dataset in DATA_SETS and is_short(run.config):
            fewer[f"{dataset}, {protocol} protocol: {run.config['num_epochs']}"] = None
    return f"Epochs, where fewer than the paper's {EPOCHS}: {'; '.join(fewer)}." if fewer else ""


def is_short(config: Mapping[str, Any]) -> bool:
    """Whether a run is known to have trained for fewer epochs than the paper's."""
    epochs = config.get("num_epochs")
    return isinstance(epochs, int) and epochs < EPOCHS


def frey_face(found: Scores) -> Grid | None:
    """Return the errors published with Figure 3 beside ours; None where there is no such run.

    They are means over the first 48 images in file order, training images among them.
    """
    rows = []
    for (key, text), (cell, run) in itertools.product(
        reference.FREY_FACE.items(), found.cells.items()
    ):
        ours, test = found.summary(cell, key.metric), found.summary(cell, "mse")
        place = (cell.setting.dataset, cell.latent_size, cell.model)
        if cell.setting.variant or place != key[1:] or ours is None or test is None:
            continue
        published, interval = float(text), prediction_interval(ours)
        low, high = interval or (-math.inf, math.inf)
        rows.append(
            (
                *(cell.setting.protocol, likelihood(run.config), cell.model, str(ours.n)),
                str(run.config.get("num_epochs", "-")),
                f"{published:.6f}{'' if low <= published <= high else OUTSIDE}",
                f"{ours.mean:.6f}",
                f"{low:.6f} to {high:.6f}" if interval else "",
                f"{test.mean:.6f}",
            )
        )
    if not rows:
        return None
    headers = ("protocol", "likelihood", "model", "seeds", "epochs", "published", "ours")
    return Grid(
        "frey_face, z=32: MSE per pixel of the first 48 images, sampled z (the paper's Figure 3)",
        (*headers, "one new seed", "test split, ours"),
        rows,
        notes=[
            f"{OUTSIDE}: outside the 95% prediction interval for one new seed. The published "
            "errors are the release's, whose likelihood is the Bernoulli one; the Gaussian one of "
            "the paper protocol weighs errors otherwise."
        ],
    )


def records(report: Report) -> pd.DataFrame:
    """Return the figures in full precision, one row each, for a CSV file."""
    rows = [
        {
            "dataset": f.setting.dataset,
            "source": f.setting.source,
            "latent_size": f.key.latent_size,
            "model": f.key.model,
            "metric": f.key.metric,
            "seeds": f.seeds,
            "epochs": f.epochs,
            "failed_seeds": " ".join(map(str, f.failed)),
            "mean": f.mean,
            "sd": f.sd,
            "predicted_low95": f.interval[0] if f.interval else None,
            "predicted_high95": f.interval[1] if f.interval else None,
            "release": f.release,
            "paper": f.paper,
            "inside": f.inside,
            "release_unconverged": f.unconverged,
        }
        for f in figures(report.scores)
    ]
    return pd.DataFrame(rows, dtype=object)


def beside(title: str, found: list[Figure], columns: dict[str, Callable[[Figure], str]]) -> Grid:
    """Return a data set's figures: a row per metric and z, with these columns for each model."""
    by_key = {figure.key: figure for figure in found}
    rows = []
    for metric, dataset, z in dict.fromkeys(figure.key[:3] for figure in found):
        of_models = [by_key.get(Key(metric, dataset, z, model)) for model in (BASELINE, MODEL)]
        shown = [text(f) if f else "-" for f in of_models for text in columns.values()]
        rows.append((describe(metric).heading, str(z), *shown))
    groups = [("", 2), (BASELINE, len(columns)), (MODEL, len(columns))]
    return Grid(title, ("metric", "z", *[*columns] * 2), rows, groups)


def _table(setting: Setting, found: list[Figure]) -> Grid:
    epochs = sorted({f.epochs for f in found if f.epochs is not None})
    seeds = sorted({f.seeds for f in found})
    numeral = reference.table_numbers()[setting.dataset]
    columns = {
        "ours": lambda f: printed(f, f.mean),
        "one new seed": lambda f: " to ".join(printed(f, end) for end in f.interval or ()) or "-",
        "release": released,
        "paper": lambda f: f.paper,
    }
    grid = beside(
        f"{setting}: ours, the author's release, the paper's Table {numeral}", found, columns
    )
    notes = [
        f"Ours: mean of {' or '.join(map(str, seeds))} seeds after "
        f"{' or '.join(map(str, epochs)) or 'unknown'} epochs (the release's: {EPOCHS}), and "
        "the 95% prediction interval for one new seed.",
        f"{OUTSIDE}: the released value lies outside that interval. {UNCONVERGED}: the "
        "released probe stopped before it converged. Paper: its row labels corrected.",
    ]
    return grid._replace(notes=notes, settings=(setting,))


def printed(figure: Figure, value: float | str) -> str:
    """Return a value with the decimals of the figure's metric."""
    return f"{float(value):.{describe(figure.key.metric).decimals}f}"


def released(figure: Figure) -> str:
    """Return the released value as it is shown, with its marks."""
    marks = (UNCONVERGED * figure.unconverged, OUTSIDE * (figure.inside is False))
    return printed(figure, figure.release) + "".join(marks)


def _share(found: list[Figure]) -> Grid:
    """Return how many released cells lie inside our intervals, and how wide these are.

    Cells are set apart where they cannot agree for a known reason: other pixels, another number
    of epochs, or a released probe that did not converge.
    """
    groups: dict[str, list[Figure]] = {}
    for figure in found:
        title = group(figure)
        few = ", few seeds" if title == ORIGINAL and not _is_scored(figure) else ""
        groups.setdefault(title + few, []).append(figure)
    rows = []
    for title, members in sorted(groups.items()):
        for metric in PAPER:
            of_metric = [f for f in members if f.key.metric == metric]
            if of_metric:
                rows.append((title, describe(metric).heading, *_counts(of_metric)))
        if len(members) > 1:
            rows.append((title, "all", *_counts(members)[:2], "-"))
    return Grid(
        "Released cells inside our 95% prediction interval for one new seed",
        ("cells", "metric", "inside", "share", "median width"),
        rows,
        notes=[
            f"Scored is the share of the release's images, with {SCORED_SEEDS} seeds or more. In "
            "brackets, and not scored: fewer seeds, whose intervals are wide; images made anew; "
            "other numbers of epochs; released probes that did not converge."
        ],
        settings={figure.setting for figure in found},
    )


def group(figure: Figure) -> str:
    """Return the cells that a figure is counted with, or why it is set apart."""
    original = figure.key.dataset in reference.ORIGINAL_PIXELS
    if not original and figure.setting.source != reference.ORIGINAL_SOURCE:
        return MADE_ANEW
    if figure.epochs != EPOCHS:
        return f"not {EPOCHS} epochs"
    return UNCONVERGED_PROBE if figure.unconverged else ORIGINAL


def comparable(found: Iterable[Figure]) -> list[Figure]:
    """Return the figures that can be judged, of the release's images, probes and epochs."""
    return [f for f in found if f.interval and group(f) == ORIGINAL]


def _is_scored(figure: Figure) -> bool:
    return group(figure) == ORIGINAL and figure.seeds >= SCORED_SEEDS


def _counts(members: list[Figure]) -> tuple[str, str, str]:
    """Return how many figures of one group are inside, their share, and the median width."""
    widths = [f.interval[1] - f.interval[0] for f in members if f.interval]
    if not widths:
        return f"- of {len(members)}", "-", "-"
    inside = sum(bool(f.inside) for f in members)
    share = f"{inside / len(widths):.0%}"
    if not _is_scored(members[0]):  # as all of one group are, or none
        share = f"({share})"
    width = printed(members[0], statistics.median(widths))
    return f"{inside} of {len(widths)}", share, width
