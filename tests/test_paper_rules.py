"""How a claim is judged, on made-up seeds."""

import numpy as np
import pytest

from mvae_jax.paper.cells import Unit
from mvae_jax.paper.claims import CLAIMS
from mvae_jax.paper.evidence import Evidence, Pair
from mvae_jax.paper.judge import judge
from mvae_jax.paper.rules import (
    BOTH,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    average,
    each,
    mostly,
    within,
)
from mvae_jax.report.formats import markdown
from tests.made_up_evidence import BETTER, CELLS, OPEN, STEP, WORSE, claim, evidence, of, values

EACH, AVERAGE = of(each), of(average)


@pytest.mark.parametrize(
    ("first", "second", "every", "mean"),
    [
        (BETTER, BETTER, SUPPORTED, SUPPORTED),
        (BETTER, OPEN, UNDECIDED, UNDECIDED),
        (BETTER, WORSE, NOT_SUPPORTED, UNDECIDED),
        (WORSE, OPEN, NOT_SUPPORTED, UNDECIDED),
        (WORSE, WORSE, NOT_SUPPORTED, NOT_SUPPORTED),
    ],
)
def test_three_verdicts_with_seeds(first, second, every, mean):
    found = evidence({2: first, 4: second})
    assert judge(EACH, found).verdict == every
    assert judge(AVERAGE, found).verdict == mean
    assert judge(EACH, found).seeds == 4


def test_the_interval_is_that_of_the_mean_over_cells_within_seeds():
    # The cells' noise cancels within each seed: only the average over cells is sharp.
    noise = np.array([3.0, -2.0, 1.0, -1.0])
    found = evidence({2: (0.1 + noise).tolist(), 4: (0.1 - noise + [0.01, 0, -0.01, 0]).tolist()})
    assert judge(AVERAGE, found).verdict == SUPPORTED
    assert judge(EACH, found).verdict == UNDECIDED


def test_one_seed_decides_nothing():
    verdict = judge(EACH, evidence({2: [0.5], 4: [0.5]}))
    assert verdict.text == "undecided at 1 seed: 2 better, 0 tied, 0 worse"
    assert markdown(verdict.text) == "**undecided at 1 seed**: 2 better, 0 tied, 0 worse"


def test_a_part_of_the_cells_supports_nothing_but_may_contradict():
    assert judge(EACH, evidence({2: BETTER})).verdict == UNDECIDED
    assert judge(EACH, evidence({2: BETTER})).lacking == "1 of 2 there"
    assert judge(EACH, evidence({2: WORSE})).verdict == NOT_SUPPORTED
    assert judge(AVERAGE, evidence({2: WORSE})).verdict == UNDECIDED


def test_no_runs_are_no_evidence():
    assert judge(EACH, evidence({})) == (UNDECIDED, 0, "", "no such runs")


def test_within_the_margin_is_a_match():
    slightly_worse = evidence({2: [-0.005, -0.0051, -0.0049], 4: [-0.005, -0.0051, -0.0049]})
    assert judge(EACH, slightly_worse).verdict == NOT_SUPPORTED
    assert judge(of(each, margin=0.01), slightly_worse).verdict == SUPPORTED


def test_a_match_on_the_average_is_one_within_the_margin():
    equal = evidence({2: [1e-5, -1e-5, 0.0], 4: [-1e-5, 0.0, 1e-5]})
    assert judge(AVERAGE, equal).verdict == UNDECIDED
    assert judge(of(average, margin=0.01), equal).verdict == SUPPORTED


def test_fewer_flat_regions_are_not_none():
    """The paper claims fewer of them, so MVAE's own share has no limit."""
    flatness = next(claim for claim in CLAIMS if claim.number == 40)

    def verdict(vae, mvae):
        noise = np.array([-0.01, 0.0, 0.01])
        seeds = (dict(enumerate(vae + noise)), dict(enumerate(mvae - noise)))
        pair = {("sweep_flatness", ("frey_face", 32)): Pair(*seeds)}
        return judge(flatness, Evidence("made up", pair, published=False)).verdict

    assert verdict(1.0, 0.02) == SUPPORTED
    assert verdict(1.0, 0.8) == SUPPORTED
    assert verdict(0.02, 0.02) == UNDECIDED
    assert verdict(0.8, 1.0) == NOT_SUPPORTED


def test_more_energy_than_the_inputs_is_no_sharpness():
    sharper = of(each, metrics=("high_frequency_energy",))

    def verdict(gain):
        found = evidence({2: gain, 4: gain}, "high_frequency_energy", base=0.98)
        return judge(sharper, found)

    assert verdict([0.01, 0.012, 0.011]).verdict == SUPPORTED
    noisy, capped = verdict([0.5, 0.9, 0.7]), verdict([0.02, 0.02, 0.02])
    assert noisy == capped


def test_what_a_cell_cannot_have_is_not_missing():
    """An infinite value is no figure, but the cell was run: the others decide."""
    wider = of(average, units=(*CELLS, Unit("z=16", (("data", 16),))))
    found = evidence({2: BETTER, 4: BETTER})
    assert judge(wider, found).verdict == UNDECIDED
    verdict = judge(wider, found._replace(undefined=frozenset({("nmi", ("data", 16))})))
    assert verdict.verdict == SUPPORTED
    assert verdict.detail.endswith("; 1 undefined")


def test_a_claim_on_every_cell_takes_the_seeds_of_each():
    many = evidence({2: BETTER * 3, 4: BETTER})
    assert judge(EACH, many).seeds == 4
    lone = judge(of(each, units=CELLS[:1]), many)
    assert judge(EACH, many).detail.startswith(lone.detail)
    assert not judge(AVERAGE, many).detail.startswith(lone.detail)


def test_the_difference_of_two_regions():
    apart = of(average, units=(Unit("", (("data", 2),), (("data", 4),)),))
    assert judge(apart, evidence({2: BETTER, 4: WORSE})).verdict == SUPPORTED
    assert judge(apart, evidence({2: BETTER, 4: BETTER})).verdict == UNDECIDED


def test_what_the_seed_does_not_vary_is_judged_by_its_value():
    matched = of(each, metrics=("num_parameters",), margin=0.01)
    one = evidence({2: [0.005], 4: [0.5]}, "num_parameters")
    assert judge(matched, one) == (
        NOT_SUPPORTED,
        0,
        "mixed, 0 better, 1 within 1%, 1 worse",
        "",
    )


def test_all_quantities_need_no_correction_and_one_does():
    """Three seeds at 6 sd: each 95% interval is above zero, the one for two quantities is not."""
    gains = [0.05, 0.06, 0.07]
    t = np.mean(gains) / (np.std(gains, ddof=1) / 3**0.5)
    assert 4.31 < t / 2.0 < 6.21  # t quantiles at 2 degrees of freedom: 4.30 at 95%, 6.21 at 97.5%
    shifted = [gain - np.mean(gains) / 2 for gain in gains]
    worse = [-gain for gain in shifted]
    assert judge(EACH, evidence({2: shifted, 4: shifted})).verdict == SUPPORTED
    assert judge(EACH, evidence({2: worse, 4: BETTER[:3]})).verdict == UNDECIDED
    assert judge(of(each, units=CELLS[:1]), evidence({2: worse})).verdict == NOT_SUPPORTED


@pytest.mark.parametrize(
    ("vae", "mvae", "verdict"),
    [(0.6, 0.7, SUPPORTED), (0.6, 0.496, SUPPORTED), (0.6, 0.4, NOT_SUPPORTED)],
)
def test_a_curve_of_both_models(vae, mvae, verdict):
    """A step may lose 1% of the value before it, in either model."""
    noise = np.array([-0.001, 0.0, 0.001])
    found = values({2: (0.5 + noise, 0.5 + noise), 4: (vae + noise, mvae + noise)})
    rises = of(each, units=STEP, margin=0.01, of=BOTH)
    assert judge(rises, found).verdict == verdict
    assert "MVAE's NMI z=2 to 4" in judge(rises, found).detail


def test_a_models_own_value_is_judged_by_its_limit():
    noise = np.array([-0.001, 0.0, 0.001])
    found = values({2: (0.6 + noise, 0.7 + noise), 4: (0.8 + noise, 0.9 + noise)})
    assert judge(of(each, of=BOTH, limit=0.5), found).verdict == SUPPORTED
    assert judge(of(each, of=BOTH, limit=0.65), found).verdict == NOT_SUPPORTED
    assert judge(of(each, of=("mvae",), limit=0.65), found).verdict == SUPPORTED


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.0, SUPPORTED), (0.03, NOT_SUPPORTED), (-0.03, NOT_SUPPORTED)]
)
def test_within_is_two_sided(gain, verdict):
    seeds = [gain - 0.001, gain, gain + 0.001]
    near = of(within, margin=0.02)
    assert judge(near, evidence({2: seeds, 4: seeds})).verdict == verdict
    assert judge(near, evidence({2: [gain], 4: [gain]}, published=True)).verdict == verdict


def test_one_unit_of_a_metric_may_be_spared():
    worse_once = evidence({2: BETTER, 4: WORSE})
    assert judge(of(each, spare=1), worse_once).verdict == SUPPORTED
    assert judge(of(each, spare=1), evidence({2: WORSE, 4: WORSE})).verdict == NOT_SUPPORTED
    printed = evidence({2: [0.1], 4: [-0.1]}, published=True)
    assert judge(of(each, spare=1), printed).verdict == SUPPORTED
    assert judge(EACH, printed).verdict == NOT_SUPPORTED


def test_a_claim_for_vae_is_signed_the_other_way():
    assert judge(of(each, sign=-1), evidence({2: WORSE, 4: WORSE})).verdict == SUPPORTED
    assert judge(of(each, sign=-1), evidence({2: BETTER, 4: WORSE})).verdict == NOT_SUPPORTED


def test_mostly_counts_wins_in_print_and_averages_seeds():
    units = tuple(Unit(f"z={z}", (("data", z),)) for z in (2, 4, 16))
    repeated = of(mostly, units=units)
    two_of_three = evidence({2: [0.1], 4: [0.1], 16: [-0.3]}, published=True)
    assert judge(repeated, two_of_three).verdict == SUPPORTED
    assert judge(of(average, units=units), two_of_three).verdict == UNDECIDED
    assert judge(repeated, evidence({2: BETTER, 4: BETTER, 16: BETTER})).verdict == SUPPORTED
    even = evidence({2: [0.1], 4: [0.0], 16: [-0.1]}, published=True)
    assert judge(repeated, even).verdict == NOT_SUPPORTED
    assert judge(of(mostly, units=units, margin=0.01), even).verdict == SUPPORTED


def test_a_claim_needs_all_its_checks_and_all_its_parts():
    both = claim(*EACH.checks, *of(each, units=STEP, of=("mvae",)).checks)
    found = evidence({2: BETTER, 4: [gain + 0.1 for gain in BETTER]})
    assert judge(both, found).verdict == SUPPORTED
    falling = evidence({2: [gain + 0.1 for gain in BETTER], 4: BETTER})
    assert judge(both, falling).verdict == NOT_SUPPORTED
    partly = EACH._replace(untested="the rest")
    verdict = judge(partly, found)
    assert (verdict.verdict, verdict.lacking) == (UNDECIDED, "a part is not tested")
    assert judge(claim(untested="a reason"), found) == ("not tested", 0, "", "a reason")


def test_the_correction_is_over_all_checks_of_a_claim():
    """The seeds of the next test: two checks of one quantity each are two quantities."""
    worse = [-gain for gain in (0.02, 0.03, 0.04)]
    alone, other = of(each, units=CELLS[:1]), of(each, units=CELLS[1:])
    found = evidence({2: worse, 4: BETTER[:3]})
    assert judge(alone, found).verdict == NOT_SUPPORTED
    assert judge(claim(*alone.checks, *other.checks), found).verdict == UNDECIDED
