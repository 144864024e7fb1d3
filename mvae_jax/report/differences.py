"""Comparisons as tables: one row per metric over all cells, and every cell's own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from mvae_jax.evaluate.record import Metric
from mvae_jax.report.formats import Bold, Grid
from mvae_jax.report.metrics import METRICS
from mvae_jax.report.statistics import ALPHA, sign_test
from mvae_jax.report.study import Report

MOST_ROWS = 300  # of a table for a reader; comparisons.csv has all of them


def overview(report: Report) -> Iterator[Grid]:
    """Yield a table per model: wins, ties and losses over cells, and how many are real."""
    found, compared = report
    headers = ("metric", "protocol", "cells", "wins / ties / losses", "sign test p")
    for model, frame in compared.frame.groupby("model", sort=False):
        rows = [
            _overview_row(found.describe(metric), protocol, of)
            for (metric, protocol), of in _by_metric(frame)
            if found.describe(metric).better
        ]
        yield Grid(
            f"{model} against {compared.baseline} over cells",
            (*headers, "significantly better / worse", "smallest p of a sign flip"),
            rows,
            notes=[
                f"A win is a cell (one data set, one latent size) where the mean of {model} over "
                "seeds is better. The sign test's unit is the cell. Cells of one data set share "
                "its images, so the test is a summary and no proof.",
                "Significant: paired t-test over seeds, Holm's correction over each family of "
                f"cells, at {ALPHA:.2g}; the table of every comparison gives the family's size. A "
                "family of one cell is an uncorrected test.",
                "The last column is the smallest p-value that a sign-flip permutation test over "
                "these seeds can give. Above the level, it can never confirm a cell by itself.",
            ],
            settings={cell.setting for cell in frame.cell},
        )


def _overview_row(metric: Metric, protocol: str, frame: pd.DataFrame) -> tuple[str, ...]:
    gains = frame.difference.to_numpy(float) * metric.better
    test = sign_test(gains)
    real = gains[(frame.p_holm < ALPHA).to_numpy()]
    wins = int((real > 0).sum())
    return (
        *(metric.label, protocol, str(len(frame))),
        *(f"{test.wins} / {test.ties} / {test.losses}", format_p(test.p)),
        *(f"{wins} / {len(real) - wins}", format_p(float(frame.smallest_p.fillna(1.0).max()))),
    )


def details(report: Report) -> Iterator[Grid]:
    """Yield one table per model, metric and protocol with every cell's comparison."""
    found, compared = report
    headers = ("data set", "z", "seeds", "difference", "95% interval", "effect size d_z")
    tests = ("t-test p", "after Holm", "cells of Holm", "sign-flip p", "smallest")
    for model, of_model in compared.frame.groupby("model", sort=False):
        for (metric, protocol), frame in _by_metric(of_model):
            of_metric = found.describe(metric)
            title = f"{of_metric.label}: {model} - {compared.baseline}, {protocol} protocol"
            shown = frame.head(MOST_ROWS)
            rest = len(frame) - len(shown)
            yield Grid(
                title,
                (*headers, *tests),
                [_detail_row(of_metric.decimals, row) for row in shown.itertuples(index=False)],
                notes=[f"The first {MOST_ROWS}; {rest} more are in comparisons.csv."] * (rest > 0),
                settings={cell.setting for cell in shown.cell},
            )


def _detail_row(decimals: int, row: Any) -> tuple[str, ...]:
    low, high = (f"{end:+.{decimals}f}" for end in (row.low95, row.high95))
    mean = f"{row.difference:+.{decimals}f}"
    return (
        *(row.dataset + (f" ({row.source})" if row.source else ""), str(row.latent_size)),
        *(str(row.seeds), Bold(mean) if row.p_holm < ALPHA else mean),
        "-" if pd.isna(row.low95) else f"{low} to {high}",
        "-" if pd.isna(row.effect_size) else f"{row.effect_size:+.2f}",
        *(format_p(row.p_t), format_p(row.p_holm), str(row.family or "-")),
        *(format_p(row.p_flip), format_p(row.smallest_p)),
    )


def _by_metric(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Yield the comparisons of each metric and protocol, the metrics in their usual order."""
    order = [*METRICS, *sorted(set(frame.metric) - METRICS.keys())]
    protocols = frame.protocol + np.where(frame.variant == "", "", ", " + frame.variant)
    groups = frame.groupby([frame.metric, protocols])
    yield from sorted(groups, key=lambda group: (order.index(group[0][0]), group[0][1]))


def format_p(p: float) -> str:
    """Return a p-value as it is printed."""
    if pd.isna(p):
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"
