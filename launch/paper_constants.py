"""Compute what depends on the paper alone into mvae_jax/paper/constants.json, in about a minute.

    python launch/paper_constants.py

These are the verdicts on the printed tables, and how often a cell turns bold, by simulated sweeps.
Bold needs a paired t-test to stand after Holm's correction over one metric's cells. With few seeds
that takes a large difference: a cell that is not bold may well hide one.
"""

import json

import numpy as np
import scipy.stats
from jaxtyping import Bool

from mvae_jax.paper.cells import CELLS
from mvae_jax.paper.constants import FILE
from mvae_jax.paper.evidence import published
from mvae_jax.paper.judge import audit
from mvae_jax.report.formats import Grid
from mvae_jax.report.statistics import ALPHA, holm
from mvae_jax.store import files

SEEDS = (3, 5, 10, 20)
EFFECTS = (2, 4, 8)  # true differences, in standard deviations of the paired differences
SWEEPS = 2000


def simulate(
    num_seeds: int, effect: int, num_different: int, sweeps: int = SWEEPS
) -> Bool[np.ndarray, "sweeps cells"]:
    """Return which cells turn bold in simulated sweeps of the paper's cells.

    The first `num_different` have a true difference. The paired differences of a cell are normal
    with sd 1 and mean 0, or `effect`.
    """
    rng = np.random.default_rng([num_seeds, effect, num_different])
    means = np.zeros(len(CELLS))
    means[:num_different] = effect
    differences = rng.normal(means[None, :, None], size=(sweeps, len(CELLS), num_seeds))
    p = scipy.stats.ttest_1samp(differences, 0, axis=-1).pvalue  # the paired t-test
    return np.array([holm(p_of_sweep) for p_of_sweep in p]) < ALPHA


def table() -> Grid:
    """Return the false-bold rates without any difference, and the power with some."""
    rows = []
    for seeds in SEEDS:
        null = simulate(seeds, 0, 0)  # Holm bounds the sweeps with a bold cell by ALPHA
        row = [str(seeds), f"{null.any(axis=1).mean():.1%}", f"{null.mean():.2%}"]
        for number in (1, len(CELLS)):
            for effect in EFFECTS:
                row.append(f"{simulate(seeds, effect, number)[:, :number].mean():.0%}")
        rows.append(row)
    return Grid(
        f"How often a cell turns bold, over {SWEEPS} simulated sweeps of {len(CELLS)} cells",
        ("seeds", "a sweep", "a cell", *[f"{effect} sd" for effect in EFFECTS] * 2),
        rows,
        [
            ("", 1),
            ("false bold in", 2),
            ("power, one cell differs", len(EFFECTS)),
            ("power, all differ", len(EFFECTS)),
        ],
        [
            "sd: of the paired differences over seeds. Paired t-tests, Holm's correction, at 0.05.",
            "A family of one cell, as FreyFace's metrics are, is an uncorrected test: without any "
            "difference it is bold in 1 of 20.",
        ],
    )


def compute() -> str:
    """Return the text of the file."""
    bodies = [published(corrected=corrected) for corrected in (False, True)]
    verdicts = {body.title: audit(body) for body in bodies}
    constants = {"verdicts": verdicts, "power": table()._asdict()}
    return json.dumps(constants, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    files.write_text(FILE, compute())
    print(f"wrote {FILE}")
