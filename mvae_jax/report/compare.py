"""Two runs compared, seed by seed: the report's comparison as one frame."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mvae_jax.report import comparisons, pairs, scores
from mvae_jax.report.cells import Cell, Run
from mvae_jax.report.frame import VALUES, Scores
from mvae_jax.report.metrics import MAIN, METRICS
from mvae_jax.report.one_run import only_cell
from mvae_jax.report.statistics import holm

COLUMNS = ("mean_a", "mean_b", "difference", "low95", "high95", "p", "p_holm", "pairs")


def compare(
    run_a: Any, run_b: Any, *, every: bool = False, varied: Collection[str] = ()
) -> pd.DataFrame:
    """Compare two runs seed by seed, by paired t-tests with Holm's correction.

    Runs of one seed share data order, initial weights and noise, so that their difference says
    more than that of their means.

    Args:
      run_a, run_b: each a Run, or the path of a run folder.
      every: compare every metric that both have; by default the main ones.
      varied: fields of the configuration in which the runs may differ, beside the model and the
        latent size; anything else that changes numbers is refused.

    Returns:
      A row per metric: mean_a, mean_b, difference (b less a) and its 95% interval low95 to high95,
      p (paired t-test, two-sided), p_holm (corrected over the rows), pairs (of seeds). Bounds are
      in nats per example. p is NaN below two pairs, and where all differences are the same.
      A run with one result and no seeds, as of PCA, meets every seed of the other.

    Raises:
      ValueError: the runs cannot be compared: other test examples, other seeds, another training,
        no scores, or several cells (choose by `Run.at`).

    >>> table = mvae_jax.compare(vae, run)
    >>> table.loc["elbo", ["difference", "p_holm", "pairs"]]
    difference ...
    """
    of_a, of_b = (getattr(run, "swept", {}).keys() for run in (run_a, run_b))
    free = {*varied, *(of_a & of_b)}  # what was chosen in both is what is compared
    (cell_a, a), (cell_b, b) = parts = [_read(run, free) for run in (run_a, run_b)]
    names = [cell.model for cell, _ in parts]
    if names[0] == names[1]:
        names = [f"{name} ({letter})" for name, letter in zip(names, "ab", strict=True)]
    found = Scores(
        pd.concat([of.values.assign(cell=i) for i, of in enumerate((a, b))]).astype(VALUES),
        {
            Cell(cell_a.setting, cell_a.latent_size, name): of.cells[cell]
            for name, (cell, of) in zip(names, parts, strict=True)
        },
        [],
    )
    for_pairs = pairs.mark(found, names[0])
    compared = comparisons.compare_all(for_pairs, names[0])
    reasons = [reason for why in compared.missing.values() for reason in why]
    reasons += [run.missing for run in for_pairs.cells.values() if run.missing]
    wanted = [*METRICS, *for_pairs.metrics] if every else MAIN
    frame = compared.frame.set_index("metric")
    frame = frame.loc[[name for name in dict.fromkeys(wanted) if name in frame.index]]
    if frame.empty:
        said = "; ".join(dict.fromkeys(reasons)) or "no metric that both have"
        if "differently" in said:
            said += "; if that is what you compare, name the field in `varied`"
        raise ValueError(f"compare: {cell_a} and {cell_b} cannot be compared: {said}")
    return _table(frame, for_pairs)


def _table(frame: pd.DataFrame, found: Scores) -> pd.DataFrame:
    """Return the columns that are shown, with the means of the pairs and Holm's correction."""
    first, second = found.cells
    means = [
        [np.mean([*found.of(cell, metric).values()]) for metric in frame.index]
        for cell in (first, second)
    ]
    shown = frame.rename(columns={"p_t": "p", "seeds": "pairs"})
    shown = shown.assign(mean_a=means[0], mean_b=means[1], p_holm=np.nan)
    tested = shown.p.notna()
    shown.loc[tested, "p_holm"] = holm(shown.p[tested].to_numpy(float))
    shown = shown[list(COLUMNS)].astype({"pairs": int})
    shown.attrs.update(a=str(first), b=str(second))
    return shown


def _read(run: Any, free: Collection[str]) -> tuple[Cell, Scores]:
    """Return a run's cell and scores, without the fields that may differ."""
    folder = Path(getattr(run, "folder", run))
    found = scores.of_parts(scores.parts_of(folder, getattr(run, "swept", {})))
    cell = only_cell(found)
    of: Run = found.cells[cell]
    config = {k: v for k, v in of.config.items() if k not in free}
    return cell, Scores(found.values, {cell: of._replace(config=config)}, [])
