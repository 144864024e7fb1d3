"""The probe's metrics against closed forms, scikit-learn and loops over their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
)

from mvae_jax.evaluate import classification, shared

RNG = np.random.default_rng(0)


def predictions(n=500, k=7, seed=0, sharpness=1.0):
    """Log probabilities, and targets drawn from flatter ones: overconfident."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, k))
    targets = np.array([rng.choice(k, p=np.exp(s) / np.exp(s).sum()) for s in scores])
    log_p = sharpness * scores
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    return log_p, targets


def test_accuracy_and_nll_are_scikit_learns_and_a_loops():
    log_p, targets = predictions()
    accuracy = classification.accuracy(log_p, targets)
    assert accuracy == accuracy_score(targets, log_p.argmax(axis=1))
    assert accuracy == np.mean(
        [max(range(7), key=lambda k: row[k]) == t for row, t in zip(log_p, targets, strict=True)]
    )
    nll = classification.negative_log_likelihood(log_p, targets)
    assert nll == pytest.approx(log_loss(targets, np.exp(log_p)), rel=1e-9)
    assert nll == pytest.approx(-sum(row[t] for row, t in zip(log_p, targets, strict=True)) / 500)


def test_nll_of_an_impossible_class_is_its_log_probability():
    log_p = np.array([[0.0, -2000.0]])
    assert classification.negative_log_likelihood(log_p, np.array([1])) == 2000


def test_brier_is_scikit_learns_and_a_loops():
    log_p, targets = predictions()
    brier = classification.brier(log_p, targets)
    loop = sum(
        sum((math.exp(value) - (k == t)) ** 2 for k, value in enumerate(row))
        for row, t in zip(log_p, targets, strict=True)
    )
    assert brier == pytest.approx(loop / len(targets), rel=1e-12)
    # Of two classes scikit-learn's is over one of them: the halved score.
    log_p, targets = predictions(k=2)
    halved = classification.brier(log_p, targets) / 2
    assert halved == pytest.approx(brier_score_loss(targets, np.exp(log_p[:, 1])), rel=1e-12)


@pytest.mark.parametrize(
    ("p", "expected"), [((1.0, 0.0), 0.0), ((0.0, 1.0), 2.0), ((0.5, 0.5), 0.5)]
)
def test_brier_in_closed_form(p, expected):
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([p]))
    assert classification.brier(log_p, np.array([0])) == pytest.approx(expected)


def ece_by_loop(confidence, hits, num_bins, drop_certain):
    """The release's loop over bins: lower <= confidence < upper, the last closed unless dropped."""
    total = 0.0
    edges = np.linspace(0, 1, num_bins + 1)
    for b in range(num_bins):
        inside = []
        for i, c in enumerate(confidence):
            last = b == num_bins - 1 and not drop_certain
            if edges[b] <= c and (c < edges[b + 1] or (last and c == 1)):
                inside.append(i)
        if inside:
            gap = np.mean([hits[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


@pytest.mark.parametrize("drop_certain", [True, False])
@given(
    st.lists(
        st.tuples(
            # In float32, by whose 1 the certain ones are told.
            st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.25, 1.0, 14 / 15])),
            st.booleans(),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_ece_is_the_loop_over_bins(drop_certain, pairs, num_bins):
    confidence, hits = (np.array(column) for column in zip(*pairs, strict=True))
    found = classification.expected_calibration_error(confidence, hits, num_bins, drop_certain)
    assert found == pytest.approx(ece_by_loop(confidence, hits, num_bins, drop_certain), abs=1e-12)


def test_ece_in_closed_form():
    """Confidence 0.8 with an accuracy of 0.6 is 0.2 off; the certain and wrong quarter counts 1."""
    confidence = np.r_[np.full(15, 0.8), np.full(5, 1.0)]
    hits = np.r_[np.ones(9), np.zeros(11)].astype(bool)
    ece = classification.expected_calibration_error
    assert ece(confidence, hits) == pytest.approx(0.75 * 0.2 + 0.25)
    assert ece(confidence, hits, drop_certain=True) == pytest.approx(0.75 * 0.2)


def test_reliability_counts_every_example_once():
    log_p, targets = predictions(sharpness=3)
    confidence, hits = classification.confidence_and_hits(log_p, targets)
    curve = classification.reliability(confidence, hits)
    assert curve.examples.shape == (15,)
    assert curve.examples.sum() == len(targets)
    full = curve.examples > 0
    assert not full.all()  # no confidence is below 1/7
    assert np.isnan(curve.accuracy[~full]).all()
    assert np.sum(curve.examples[full] * curve.accuracy[full]) == pytest.approx(hits.sum())
    assert np.sum(curve.examples[full] * curve.confidence[full]) == pytest.approx(confidence.sum())
    assert np.all(np.diff(curve.confidence[full]) > 0)
    gap = classification.expected_calibration_error(confidence, hits)
    mean_gap = np.sum(curve.examples[full] * (curve.confidence - curve.accuracy)[full]) / 500
    assert gap >= mean_gap > 0.05  # overconfident, as drawn


# --- terms -------------------------------------------------------------------------------------


def test_mean_of_batch_means_weighs_the_small_last_batch_more():
    values = np.r_[np.zeros(200), 9.0].astype(np.float32)
    assert shared.mean_of_batch_means(values, 100) == 3
    assert shared.mean(values) == pytest.approx(9 / 201)
    values = RNG.normal(size=300).astype(np.float32)
    assert shared.mean_of_batch_means(values, 100) == pytest.approx(shared.mean(values))
