"""The probe against scikit-learn, finite differences and its own optimality conditions."""

import time
import warnings

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mvae_jax.evaluate import classification, probe
from tests.conftest import SHARED_DATA

pytestmark = pytest.mark.usefixtures("one_thread")


def digits(num_train=1400):
    """Separable classes: the hardest case for a solver, since the optimum is far out."""
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    return x[:num_train], y[:num_train], x[num_train:]


def correlated(num_classes=4, n=3000, d=24, scale=1.0, seed=0):
    """Overlapping classes in correlated features, a third of them redundant."""
    x, y = make_classification(
        n + 1000,
        d,
        n_informative=d // 2,
        n_redundant=d // 3,
        n_classes=num_classes,
        class_sep=0.7,
        random_state=seed,
    )
    x = (x * scale).astype(np.float32)
    return x[:n], y[:n], x[n:]


def scales(d=24):
    return np.exp(3 * np.random.default_rng(0).normal(size=d))


def fit(x, y, **changes):
    return probe.fit(x, y, **(probe.SETTINGS | changes))


def probabilities(fitted, x):
    return np.exp(probe.log_probabilities(fitted, x))


CASES = {
    "overlapping": correlated(),
    "separable": digits(),
    "two classes": correlated(num_classes=2),
    "wildly scaled": correlated(scale=scales()),
    "collapsed": correlated(scale=np.where(np.arange(24) < 4, 1, 1e-6)),
    "far from the origin": tuple(
        part + 100 if part.ndim == 2 else part for part in correlated(num_classes=3)
    ),
    "more features than examples": correlated(n=60, d=120),
}


@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_those_of_lbfgs_at_tolerance_1e_8(case):
    x, y, x_test = CASES[case]
    fitted = fit(x, y)
    exact = LogisticRegression(C=1.0, tol=1e-8, max_iter=100_000)
    # Centred for its sake: the intercept is free, so the optimum is the same.
    centre = x.mean(axis=0, dtype=np.float64)
    exact.fit(x - centre, y)
    found = probabilities(fitted, x_test)
    assert fitted.converged
    np.testing.assert_array_equal(fitted.classes, exact.classes_)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert np.abs(found - exact.predict_proba(x_test - centre)).max() < 1e-3


def test_it_scores_as_the_released_solver_does_where_that_converges():
    x, y, x_test = correlated(num_classes=3)
    y_test = fit(x, y).classes[probabilities(fit(x, y), x_test).argmax(axis=1)]
    y_test[::7] = y[0]  # some errors, so that accuracy and NLL have something to say
    released = LogisticRegression(C=1.0, solver="saga", max_iter=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        released.fit(x, y)
    fitted = fit(x, y)
    targets = np.searchsorted(fitted.classes, y_test)
    scores = [
        (classification.accuracy(p, targets), classification.negative_log_likelihood(p, targets))
        for p in (probe.log_probabilities(fitted, x_test), released.predict_log_proba(x_test))
    ]
    assert 0.5 < scores[0][0] < 1
    assert scores[0][0] == pytest.approx(scores[1][0], abs=0.002)
    assert scores[0][1] == pytest.approx(scores[1][1], abs=0.005)


@pytest.mark.parametrize("case", CASES)
def test_the_optimum_fulfils_its_own_equations(case):
    """At the optimum W = C X^T (Y - P) and the residuals of each class sum to zero."""
    x, y, _ = CASES[case]
    fitted = fit(x, y)
    one_hot = np.equal.outer(y, fitted.classes)
    residual = one_hot - probabilities(fitted, x)
    factor = 0.5 if len(fitted.classes) == 2 else 1.0
    x = x - x.mean(axis=0, dtype=np.float64)
    error = fitted.weights - factor * x.T @ residual
    # Per example, and per standard deviation of the feature.
    scale = len(x) * x.std(axis=0, keepdims=True).T
    assert np.all(np.abs(error) <= 1e-5 * scale)
    assert np.abs(residual.sum(axis=0)).max() < 1e-5 * len(x)


def test_objective_and_gradient_in_both_precisions():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(30, 3)), np.ones(30)])
    targets, weights = rng.integers(0, 4, 30), rng.normal(size=(4, 4))
    penalty = 2.0
    value, gradient = probe.objective(weights, x, targets, penalty)
    loop = np.sum(weights[:3] ** 2)
    for row, target in zip(x, targets, strict=True):
        loop -= log_softmax(row @ weights)[target]
    assert value == pytest.approx(loop, rel=1e-12)
    for index in np.ndindex(4, 4):
        step = np.zeros((4, 4))
        step[index] = 1e-6
        ends = [probe.objective(weights + s * step, x, targets, penalty)[0] for s in (1, -1)]
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)
    rough = probe.objective(weights, x.astype(np.float32), targets, penalty)
    assert rough[0] == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(rough[1], gradient, atol=1e-4)


def test_features_beside_which_the_penalty_vanishes_have_not_converged():
    """Two groups of classes that a plane parts, each of overlapping classes."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 4
    x = rng.normal(size=(4, 4))[y] + rng.normal(size=(120, 4))
    x[:, 0] = np.where(y < 2, -5, 5)
    assert fit(x, y).converged
    assert not fit(x * 1e14, y).converged


def test_stopping_early_is_said():
    x, y, _ = digits()
    assert not fit(x, y, max_iter=3).converged


def test_labels_need_not_count_from_zero():
    x, y, x_test = correlated()
    shifted = np.array([7, -3, 40, 11])[y]
    order = np.argsort([7, -3, 40, 11])
    fitted = fit(x, shifted)
    np.testing.assert_array_equal(fitted.classes, [-3, 7, 11, 40])
    np.testing.assert_allclose(
        probabilities(fitted, x_test), probabilities(fit(x, y), x_test)[:, order], atol=1e-4
    )


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="1 class; a probe needs two"):
        fit(np.ones((5, 2)), np.zeros(5, int))


def wide_features(num_examples=62_000, width=512):
    """Random tanh features of real MNIST, split as the release splits MNIST Basic."""
    import gzip

    parts = []
    for name in ("train", "t10k"):
        folder = SHARED_DATA / "mnist"
        with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
        with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz") as file:
            parts.append((images, np.frombuffer(file.read(), np.uint8, offset=8)))
    images, labels = (np.concatenate(arrays)[:num_examples] for arrays in zip(*parts, strict=True))
    rng = np.random.default_rng(0)
    x = np.tanh(images / 256 @ rng.normal(scale=0.1, size=(784, width))).astype(np.float32)
    order, num_train = rng.permutation(num_examples), 49_599
    train, test = order[:num_train], order[num_train:]
    return x[train], labels[train].astype(int), x[test], labels[test].astype(int)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no real data beside the checkout")
def test_five_times_faster_than_the_released_solver_and_equal_to_it():
    """49,599 x 512 and ten classes; run with -s to see the seconds."""
    x, y, x_test, y_test = wide_features()
    start = time.perf_counter()
    log_p = probe.log_probabilities(fit(x, y), x_test)
    ours = time.perf_counter() - start

    start = time.perf_counter()
    released = LogisticRegression(C=1.0, solver="saga", max_iter=500)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        released.fit(x, y)
    theirs = time.perf_counter() - start
    their_log_p = released.predict_log_proba(x_test)
    accuracies = [classification.accuracy(p, y_test) for p in (log_p, their_log_p)]
    nlls = [classification.negative_log_likelihood(p, y_test) for p in (log_p, their_log_p)]
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    print(
        f"\nprobe {ours:.1f} s, saga {theirs:.1f} s (converged: {converged}): {theirs / ours:.1f}x"
    )
    print(f"accuracy {accuracies}, NLL {nlls}")
    assert theirs > 5 * ours
    if converged:
        assert abs(accuracies[0] - accuracies[1]) < 0.002
        assert abs(nlls[0] - nlls[1]) < 0.005


@pytest.mark.slow
def test_a_hundred_classes_are_practical():
    """48,000 x 512 and 100 classes as hard as CIFAR-100's; run with -s for the seconds."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 100, 48_000)
    x = (rng.normal(size=(100, 512))[y] * 0.15 + rng.normal(size=(48_000, 512))).astype(np.float32)
    x = x @ rng.normal(size=(512, 512)).astype(np.float32) / 20
    start = time.perf_counter()
    fitted = fit(x, y)
    seconds = time.perf_counter() - start
    print(f"\n100 classes: {seconds:.1f} s")
    assert fitted.converged
    assert seconds < 600
