"""The statistics against closed forms, published examples and brute force."""

import itertools

import numpy as np
import paper_constants
import pytest
import scipy.stats

from mvae_jax.paper.cells import CELLS
from mvae_jax.report.statistics import (
    compare,
    holm,
    prediction_interval,
    sign_test,
    summarise,
)

# Student's (1908) sleep data, the example of R's t.test(paired = TRUE).
DRUG_1 = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
DRUG_2 = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def test_paired_t_test_of_the_sleep_data():
    found = compare(DRUG_1, DRUG_2)
    assert found.difference == pytest.approx(1.58)
    assert (found.low95, found.high95) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.p_t == pytest.approx(0.002833, abs=1e-6)
    assert found.effect_size == pytest.approx(1.284558, abs=1e-5)
    assert found.smallest_p == 2 / 2**10


def test_pairs_are_made_by_seed_and_not_by_order():
    backwards = dict(reversed(DRUG_2.items()))
    assert compare(DRUG_1, backwards) == compare(DRUG_1, DRUG_2)


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 8])
def test_sign_flips_against_all_of_them(num_seeds):
    d = np.random.default_rng(num_seeds).normal(0.7, 1, num_seeds)
    flips = [np.dot(s, d) for s in itertools.product((-1, 1), repeat=num_seeds)]
    one_sided = min(np.mean(flips >= d.sum() - 1e-12), np.mean(flips <= d.sum() + 1e-12))
    found = compare(dict.fromkeys(range(num_seeds), 0.0), dict(enumerate(d)))
    assert found.p_flip == pytest.approx(min(1, 2 * one_sided))


def test_the_least_sign_flip_p_of_five_seeds():
    found = compare(dict.fromkeys(range(5), 0.0), {s: 10.0 + s for s in range(5)})
    assert found.p_flip == found.smallest_p == 0.0625
    assert found.p_t < 1e-4


def test_many_seeds_draw_their_flips():
    rng = np.random.default_rng(1)
    found = compare(dict.fromkeys(range(20), 0.0), dict(enumerate(rng.normal(5, 1, 20))))
    assert found.p_flip == found.smallest_p == pytest.approx(2e-4)


def test_equal_differences_have_no_spread():
    ones = dict.fromkeys(range(3), 1.0)
    assert compare(ones, ones).p_t == 1
    shifted = compare(ones, dict.fromkeys(range(3), 2.0))
    assert np.isnan([shifted.p_t, shifted.effect_size]).all()
    assert (shifted.low95, shifted.high95) == (1, 1)


def test_counts_that_agree_by_chance_are_no_proof():
    """Two seeds, differences of -1, 0 or 1 example: many pairs are equal, and none is certain."""
    rng = np.random.default_rng(0)
    found = [
        compare({1: 0.0, 2: 0.0}, {1: float(a), 2: float(b)})
        for a, b in rng.integers(-1, 2, size=(60, 2))
    ]
    assert sum(np.isnan(c.p_t) for c in found) > 5
    assert not any(c.p_t < 0.05 for c in found)


def test_one_seed_has_a_mean_and_no_test():
    found = compare({1: 2.0}, {1: 3.0})
    assert (found.seeds, found.difference) == (1, 1)
    assert np.isnan(found[2:]).all()


def test_different_seeds_are_no_pair():
    with pytest.raises(ValueError, match=r"\[1\] against \[2\]"):
        compare({1: 0.0}, {2: 0.0})


def test_interval_of_the_mean():
    summary = summarise([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * summary.sd / 2  # t_{0.975, 3}, from a printed table
    assert summary.interval == pytest.approx((2.5 - half, 2.5 + half), abs=1e-5)


def test_prediction_interval_holds_a_new_seed_at_its_rate():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(1500, 6))
    inside = 0
    for row in draws:
        low, high = prediction_interval(summarise(row[:5].tolist()))
        inside += low <= row[5] <= high
    # 1500 trials at 0.95: standard error 0.0056.
    assert inside / len(draws) == pytest.approx(0.95, abs=0.02)


def test_holm_of_a_published_example():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_rejects_what_the_step_down_rejects():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.beta(0.3, 1, size=rng.integers(1, 12))
        rejected = np.zeros(len(p), bool)
        for step, index in enumerate(np.argsort(p)):  # Holm's procedure, as he states it
            if p[index] >= 0.05 / (len(p) - step):
                break
            rejected[index] = True
        assert (holm(p) < 0.05).tolist() == rejected.tolist()


def test_sign_test_leaves_ties_out():
    found = sign_test(np.array([1.0, 2, 3, 4, 5, 6, 0, 0]))
    assert found[:3] == (6, 2, 0)
    assert found.p == pytest.approx(2 / 2**6)
    assert sign_test(np.zeros(2)).p == 1


def test_the_simulation_tests_as_the_report_does():
    differences = np.random.default_rng(3).normal(1, 1, 6)
    p = scipy.stats.ttest_1samp(differences, 0).pvalue
    paired = compare(dict.fromkeys(range(6), 0.0), dict(enumerate(differences)))
    assert p == pytest.approx(paired.p_t)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", paper_constants.SEEDS)
def test_false_bold_cells_stay_at_the_nominal_rate(num_seeds):
    any_false = paper_constants.simulate(num_seeds, 0, 0, sweeps=20_000).any(axis=1).mean()
    error = 3 * np.sqrt(0.05 * 0.95 / 20_000)
    assert any_false <= 0.05 + error
    assert any_false >= 0.03  # and the correction wastes little of it
    different = len(CELLS) // 2
    mixed = paper_constants.simulate(num_seeds, 4, different, sweeps=20_000)[:, different:]
    assert mixed.any(axis=1).mean() <= 0.05 + error


@pytest.mark.slow
def test_power_grows_with_seeds_and_difference():
    rates = {
        (n, effect): paper_constants.simulate(n, effect, 1)[:, 0].mean()
        for n in paper_constants.SEEDS
        for effect in paper_constants.EFFECTS
    }
    # Against the noncentral t at Holm's first step, 0.05 / 42.
    for (n, effect), found in rates.items():
        bar = scipy.stats.t.isf(0.05 / len(CELLS) / 2, n - 1)
        exact = scipy.stats.nct.sf(bar, n - 1, effect * np.sqrt(n))
        assert found == pytest.approx(exact, abs=0.05)
    assert rates[5, 2] < 0.25  # not bold is not 'no difference'
    assert rates[10, 4] > 0.99
