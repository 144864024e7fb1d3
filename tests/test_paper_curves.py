"""How claims over latent sizes and over seeds are judged, on made-up seeds."""

import numpy as np
import pytest

from mvae_jax.paper.cells import Unit
from mvae_jax.paper.judge import judge
from mvae_jax.paper.rules import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    growth,
    spread,
    turns,
)
from tests.made_up_evidence import BETTER, OPEN, STEP, WORSE, evidence, of, values


def grows(metric, *sizes):
    units = tuple(Unit(f"z={z}", (("data", z),)) for z in sizes)
    return of(growth, metrics=(metric,), units=units, sign=-1, limit=1.1)


def test_a_cost_that_is_not_there_is_told():
    found = evidence({2: [1.0], 4: [-0.1], 16: [3.0]}, "epoch_seconds")
    verdict = judge(grows("epoch_seconds", 2, 4, 16), found)
    assert verdict == (UNDECIDED, 0, "epoch time has nothing added at z=4 on data", "")


@pytest.mark.parametrize(("power", "verdict"), [(1, SUPPORTED), (2, NOT_SUPPORTED)])
def test_the_growth_of_an_added_cost(power, verdict):
    sizes = (2, 4, 16, 64)
    found = evidence({z: [float(z**power)] for z in sizes}, "multiply_adds")
    judged = judge(grows("multiply_adds", *sizes), found)
    assert judged.verdict == verdict
    assert f"z^{power}.00" in judged.detail


@pytest.mark.parametrize(
    ("last", "verdict"), [(0.4, SUPPORTED), (0.6, NOT_SUPPORTED), (0.5, UNDECIDED)]
)
def test_a_curve_turns_where_one_step_is_worse(last, verdict):
    steps = (*STEP, Unit("z=4 to 16", (("data", 16),), (("data", 4),)))
    curve = of(turns, units=steps, of=("mvae",))
    noise = np.array([-0.001, 0.001, 0.0])
    flat = [0.5] * 3
    found = values({2: (flat, 0.3 + noise), 4: (flat, 0.5 - noise), 16: (flat, last + noise)})
    assert judge(curve, found).verdict == verdict
    printed = found._replace(published=True)
    assert judge(curve, printed).verdict == (SUPPORTED if last == 0.4 else NOT_SUPPORTED)


def test_a_difference_is_reproducible_where_it_exceeds_its_spread():
    assert judge(of(spread), evidence({2: BETTER, 4: WORSE})).verdict == SUPPORTED
    verdict = judge(of(spread), evidence({2: BETTER, 4: OPEN}))
    assert verdict.verdict == NOT_SUPPORTED
    assert verdict.detail.startswith("1 of 2 differences")
    assert judge(of(spread), evidence({2: [0.1], 4: [0.1]}, published=True)).verdict == UNDECIDED
