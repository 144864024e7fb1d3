"""What a report says, in a few sentences: the first thing that its page shows."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import HEADLINES, describe
from mvae_jax.report.statistics import ALPHA
from mvae_jax.report.study import Report

MOST_SETS, FEW = 3, 5  # data sets named one by one; seeds below which a test sees little


def sentences(report: Report) -> Iterator[str]:
    """Yield the conclusion: every model against the baseline, or the runs where none is compared.

    Counted are the metrics of the paper's tables and the ELBO, after Holm's correction.
    """
    frame = report.compared.frame
    frame = frame[frame.metric.isin(HEADLINES)]
    for model, of_model in frame.groupby("model", sort=False):
        yield from _of_model(model, report.compared.baseline, of_model)
    if frame.empty:
        yield from _of_runs(report.scores)
    elif (seeds := frame.seeds.astype(int)).min() < FEW:
        most = seeds.max()
        count = f"{seeds.min()} to {most}" if most > seeds.min() else f"{most}"
        yield (
            f"The comparisons rest on {count} seeds. Below {FEW}, a test finds large differences "
            "alone, and one that it does not find may be there."
        )


def _of_model(model: Any, baseline: str, frame: pd.DataFrame) -> Iterator[str]:
    gain = frame.difference * frame.metric.map(lambda name: describe(name).better)
    real = frame.p_holm < ALPHA
    better, worse = int((real & (gain > 0)).sum()), int((real & (gain < 0)).sum())
    metrics, sets = frame.metric.nunique(), frame.dataset.nunique()
    yield (
        f"{model} against {baseline}: of {len(frame)} differences in {metrics} metrics on "
        f"{sets} data set{'s' * (sets > 1)}, paired by seed, {better} favour {model} and {worse} "
        f"{baseline} (p below {ALPHA:.2g} after Holm's correction). The other "
        f"{len(frame) - better - worse} are undecided."
    )
    bound = frame[frame.metric == "elbo"]
    if bound.empty:
        return
    said = []
    for (dataset, protocol), of_table in bound[bound.p_holm < ALPHA].groupby(
        ["dataset", "protocol"], sort=False
    ):
        at = [f"{row.difference:+.2f} at z={row.latent_size}" for row in of_table.itertuples()]
        said.append(f"{dataset} ({protocol}) {', '.join(at)}")
    if said:
        where = "; ".join(said)
        yield f"ELBO of {model} less {baseline} in nats, where it is significant: {where}."
    else:
        yield f"No difference in the ELBO is significant, of {len(bound)}."


def _of_runs(found: Scores) -> Iterator[str]:
    """Yield the means of the runs, of the first data sets, each at the latent size of most ELBO."""
    for setting, cells in [*found.tables().items()][:MOST_SETS]:
        bounds = {cell: found.summary(cell, "elbo") for cell in cells}
        known = {cell: summary for cell, summary in bounds.items() if summary is not None}
        if not known:
            continue
        cell, summary = max(known.items(), key=lambda item: item[1].mean)
        low_high = summary.interval
        interval = f" [{low_high[0]:.2f}, {low_high[1]:.2f}]" if low_high else ""
        first = "The highest ELBO" if len(known) > 1 else "The ELBO"
        yield (
            f"{first} on {setting} is {summary.mean:.2f}{interval} nats, of {cell} with "
            f"{summary.n} seed{'s' * (summary.n > 1)}. No two models were compared."
        )
