"""Ours beside the author's release and the paper's tables, their row labels corrected.

The release is one seed. It agrees with ours where it lies inside the 95% prediction interval of
one new seed; a cell where it does not is flagged.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mvae_jax.paper import reference
from mvae_jax.paper.cells import BASELINE, DATA_SETS, MODEL
from mvae_jax.paper.reference import Key
from mvae_jax.paper.tables import grid
from mvae_jax.report.cells import likelihood
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import CALIBRATION, PAPER, describe
from mvae_jax.report.statistics import prediction_interval
from mvae_jax.report.study import Report

EPOCHS = 200  # of the release
SCORED_SEEDS = 10  # with fewer, the intervals are too wide for their share to mean much
ORIGINAL = "the release's images"  # and probe, and number of epochs
UNCONVERGED_PROBE = "released probe unconverged"
MADE_ANEW = "images made anew"
OUTSIDE, UNCONVERGED = "‡", "†"
COLUMNS = (
    *("setting", "dataset", "source", "latent_size", "model", "metric", "seeds", "epochs"),
    *("failed_seeds", "mean", "sd", "predicted_low95", "predicted_high95", "release", "paper"),
    "release_unconverged",
)


def figures(found: Scores) -> pd.DataFrame:
    """Return a row for every figure of ours that the release has, by setting, metric and z."""
    release, paper = reference.release(), reference.printed(corrected=True)
    unconverged = reference.unconverged()
    rows = []
    for metric in PAPER:
        for cell, run in found.cells.items():
            setting, z, model = cell
            key = Key(metric, setting.dataset, z, model)
            ours = found.summary(cell, metric)
            if (setting.protocol, setting.variant) != ("release", "") or not ours:
                continue
            if key in release:
                rows.append(
                    (
                        *(setting, setting.dataset, setting.source, z, model, metric, ours.n),
                        *(run.config.get("num_epochs"), " ".join(map(str, run.failed))),
                        *(ours.mean, ours.sd, *(prediction_interval(ours) or (None, None))),
                        *(release[key], paper[key]),
                        metric in ("probe_accuracy", *CALIBRATION) and key[1:] in unconverged,
                    )
                )
    return judged(sorted(rows, key=lambda row: row[0]))


def judged(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Return rows of COLUMNS as a frame, with how each agrees with the release.

    inside:  whether the release lies in our interval; None where there is no interval
    reach:   half the interval's width
    group:   the cells that the figure is counted with, or why it is set apart
    """
    frame = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    low, high, release = (
        frame[name].astype(float) for name in ("predicted_low95", "predicted_high95", "release")
    )
    inside = ((low <= release) & (release <= high)).astype(object).where(low.notna(), None)
    original = frame.dataset.isin(reference.ORIGINAL_PIXELS)
    group = np.select(
        [
            ~original & (frame.source != reference.ORIGINAL_SOURCE),
            frame.epochs != EPOCHS,
            frame.release_unconverged.eq(True),
        ],
        [MADE_ANEW, f"not {EPOCHS} epochs", UNCONVERGED_PROBE],
        ORIGINAL,
    )
    return frame.assign(inside=inside, reach=(high - low) / 2, group=group)


def comparable(found: pd.DataFrame) -> pd.DataFrame:
    """Return the figures that can be judged, of the release's images, probes and epochs."""
    return found[found.reach.notna() & (found.group == ORIGINAL)]


def records(report: Report) -> pd.DataFrame:
    """Return the figures in full precision, one row each, for a CSV file."""
    return figures(report.scores)[[*COLUMNS[1:-1], "inside", COLUMNS[-1]]]


def tables(report: Report) -> list[Grid]:
    """Return one table per data set, then the share of released cells that ours hold."""
    found = figures(report.scores)
    grids = [_table(of_setting) for _, of_setting in found.groupby("setting")]
    return [*grids, _share(found)] if grids else []


def short_runs(report: Report, grid: Grid) -> str:
    """Return which of the runs that a table shows had fewer epochs than the paper's; or ""."""
    fewer = dict.fromkeys(
        f"{setting.dataset}, {setting.protocol} protocol: {run.config['num_epochs']}"
        for (setting, *_), run in report.scores.cells.items()
        if setting in grid.settings and setting.dataset in DATA_SETS and is_short(run.config)
    )
    return f"Epochs, where fewer than the paper's {EPOCHS}: {'; '.join(fewer)}." if fewer else ""


def is_short(config: Mapping[str, Any]) -> bool:
    """Whether a run is known to have trained for fewer epochs than the paper's."""
    return int(config.get("num_epochs", EPOCHS)) < EPOCHS


def frey_face(found: Scores) -> Grid | None:
    """Return the errors published with Figure 3 beside ours; None where there is no such run.

    They are means over the first 48 images in file order, training images among them.
    """
    rows = []
    for key, text in reference.FREY_FACE.items():
        for cell, run in found.cells.items():
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
    return grid("frey_face", rows, outside=OUTSIDE) if rows else None


# --- as it is shown -----------------------------------------------------------------------------


def either(values: Iterable[Any]) -> str:
    """Return `5 or 10`: each known number once, in order."""
    return " or ".join(map(str, sorted({*values} - {None})))


def printed(row: Any, value: float | str) -> str:
    """Return a value with the decimals of a figure's metric."""
    return f"{float(value):.{describe(row.metric).decimals}f}"


def released(row: Any) -> str:
    """Return the released value as it is shown, with its marks."""
    marks = UNCONVERGED * row.release_unconverged + OUTSIDE * (row.inside is False)
    return printed(row, row.release) + marks


def beside(
    name: str, found: pd.DataFrame, columns: Mapping[str, Callable[[Any], str]], **values: object
) -> Grid:
    """Return a data set's figures: a row per metric and z, with these columns for each model.

    name, values: as of `tables.grid`
    """
    texts = {
        (row.metric, row.latent_size, row.model): [text(row) for text in columns.values()]
        for row in found.itertuples()
    }
    unknown = ["-"] * len(columns)
    rows = [
        (
            *(describe(metric).heading, str(z)),
            *texts.get((metric, z, BASELINE), unknown),
            *texts.get((metric, z, MODEL), unknown),
        )
        for metric, z in dict.fromkeys(key[:2] for key in texts)
    ]
    groups = [("", 2), (BASELINE, len(columns)), (MODEL, len(columns))]
    table = grid(name, rows, {*found.setting}, [*columns] * 2, **values)
    return table._replace(groups=groups)


def _table(found: pd.DataFrame) -> Grid:
    setting = found.setting.iloc[0]

    def interval(row: Any) -> str:
        ends = (row.predicted_low95, row.predicted_high95)
        return "-" if row.inside is None else " to ".join(printed(row, end) for end in ends)

    columns = {
        "ours": lambda row: printed(row, row.mean),
        "one new seed": interval,
        "release": released,
        "paper": lambda row: row.paper,
    }
    values = {"seeds": either(found.seeds), "epochs": either(found.epochs) or "unknown"}
    values |= {"setting": str(setting), "numeral": reference.table_numbers()[setting.dataset]}
    values |= {"of_release": str(EPOCHS), "outside": OUTSIDE, "unconverged": UNCONVERGED}
    return beside("reproduction", found, columns, **values)


def _share(found: pd.DataFrame) -> Grid:
    """Return how many released cells lie inside our intervals, and how wide these are.

    Cells are set apart where they cannot agree for a known reason: other pixels, another number
    of epochs, or a released probe that did not converge.
    """
    original = found.group == ORIGINAL
    is_scored = original & (found.seeds >= SCORED_SEEDS)
    titles = found.group.where(is_scored | ~original, f"{ORIGINAL}, few seeds")
    rows = []
    for (title, scored), members in found.groupby([titles, is_scored]):
        for metric in PAPER:
            of_metric = members[members.metric == metric]
            if len(of_metric):
                rows.append((title, describe(metric).heading, *_counts(of_metric, bool(scored))))
        if len(members) > 1:
            rows.append((title, "all", *_counts(members, bool(scored))[:2], "-"))
    return grid("share", rows, {*found.setting}, seeds=SCORED_SEEDS)


def _counts(members: pd.DataFrame, is_scored: bool) -> tuple[str, str, str]:
    """Return how many figures of one group are inside, their share, and the median width."""
    known = members[members.reach.notna()]
    if known.empty:
        return f"- of {len(members)}", "-", "-"
    inside = known.inside.eq(True).sum()
    share = f"{inside / len(known):.0%}"
    width = printed(known.iloc[0], 2 * known.reach.median())
    return f"{inside} of {len(known)}", share if is_scored else f"({share})", width
