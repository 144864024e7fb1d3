"""How often a cell turns bold, by simulated sweeps.

Bold needs a paired t-test to stand after Holm's correction over one metric's cells. With few seeds
that takes a large difference: a cell that is not bold may well hide one.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats

from mvae_jax.paper.cells import CELLS
from mvae_jax.report.formats import Grid
from mvae_jax.report.statistics import ALPHA, holm

SEEDS = (3, 5, 10, 20)
EFFECTS = (2, 4, 8)  # true differences, in standard deviations of the paired differences
SWEEPS = 2000


class Rates(NamedTuple):
    """Shares over simulated sweeps.

    any_false:  sweeps with a bold cell where there is no difference (Holm bounds it by ALPHA)
    cell_false: bold ones among the cells without a difference
    power:      bold ones among the cells with one; nan where there are none
    """

    any_false: float
    cell_false: float
    power: float


def simulate(num_seeds: int, effect: int, num_different: int, sweeps: int = SWEEPS) -> Rates:
    """Simulate sweeps of the paper's cells, `num_different` of them with a true difference.

    The paired differences of a cell are normal with sd 1 and mean 0, or `effect`.
    """
    rng = np.random.default_rng([num_seeds, effect, num_different])
    means = np.zeros(len(CELLS))
    means[:num_different] = effect
    differences = rng.normal(means[None, :, None], size=(sweeps, len(CELLS), num_seeds))
    p = scipy.stats.ttest_1samp(differences, 0, axis=-1).pvalue  # the paired t-test
    bold = np.array([holm(p_of_sweep) for p_of_sweep in p]) < ALPHA
    true, false = bold[:, :num_different], bold[:, num_different:]
    return Rates(
        float(false.any(axis=1).mean()) if false.size else 0.0,
        float(false.mean()) if false.size else 0.0,
        float(true.mean()) if true.size else float("nan"),
    )


def table() -> Grid:
    """Return the false-bold rates without any difference, and the power with some."""
    rows = []
    for seeds in SEEDS:
        null = simulate(seeds, 0, 0)
        row = [str(seeds), f"{null.any_false:.1%}", f"{null.cell_false:.2%}"]
        for number in (1, len(CELLS)):
            row += [f"{simulate(seeds, effect, number).power:.0%}" for effect in EFFECTS]
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
