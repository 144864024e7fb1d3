"""The metrics, as functions of arrays."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, log_loss, normalized_mutual_info_score

PROBE_SETTINGS = {"C": 1.0, "solver": "lbfgs", "tol": 1e-8, "max_iter": 10_000}
CLUSTER_SETTINGS = {"n_init": 10, "random_state": 0}
ECE_BINS = 15


class Probe(NamedTuple):
    """A fitted probe's class probabilities on the test split, and whether the fit converged."""

    probabilities: Float[np.ndarray, "n k"]
    classes: Int[np.ndarray, " k"]
    converged: bool


def fit_probe(
    mu_train: Float[np.ndarray, "m d"],
    label_train: Int[np.ndarray, " m"],
    mu_test: Float[np.ndarray, "n d"],
) -> Probe:
    """Fits multinomial logistic regression with an L2 penalty (C = 1) on raw mu.

    The objective is strictly convex in the weights, so this is the optimum that the release's
    saga solver approaches; lbfgs in float64 reaches it in a fraction of the time.
    """
    probe = LogisticRegression(**PROBE_SETTINGS)
    probe.fit(mu_train.astype(np.float64), label_train)
    probabilities = probe.predict_proba(mu_test.astype(np.float64))
    return Probe(probabilities, probe.classes_, bool(probe.n_iter_.max() < probe.max_iter))


def accuracy(probe: Probe, labels: Int[np.ndarray, " n"]) -> float:
    """Returns the share of test examples whose most probable class is theirs."""
    return float(np.mean(probe.classes[probe.probabilities.argmax(axis=1)] == labels))


def negative_log_likelihood(probe: Probe, labels: Int[np.ndarray, " n"]) -> float:
    """Returns -mean log p(label), in nats."""
    return float(log_loss(labels, probe.probabilities, labels=probe.classes))


def brier(probe: Probe, labels: Int[np.ndarray, " n"]) -> float:
    """Returns the Brier score summed over classes: from 0 to 2, not halved."""
    one_hot = labels[:, None] == probe.classes[None, :]
    return float(np.mean(np.sum((probe.probabilities - one_hot) ** 2, axis=1)))


def expected_calibration_error(probe: Probe, labels: Int[np.ndarray, " n"]) -> float:
    """Returns the ECE over 15 equal-width bins [a, b), as released.

    The last bin is half open too, so an example of confidence exactly 1 counts in no bin.
    """
    confidence = probe.probabilities.max(axis=1)
    correct = probe.classes[probe.probabilities.argmax(axis=1)] == labels
    bins = np.searchsorted(np.linspace(0, 1, ECE_BINS + 1), confidence, side="right") - 1
    gaps = np.bincount(bins, weights=correct - confidence, minlength=ECE_BINS)[:ECE_BINS]
    return float(np.abs(gaps).sum() / len(labels))


def clusters(mu: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Returns NMI (arithmetic mean) and ARI of k-means with one cluster per class."""
    kmeans = KMeans(n_clusters=len(np.unique(labels)), **CLUSTER_SETTINGS)
    found = kmeans.fit_predict(mu)
    return (
        float(normalized_mutual_info_score(labels, found)),
        float(adjusted_rand_score(labels, found)),
    )


def mean_of_batch_means(values: Float[np.ndarray, " n"], batch_size: int) -> float:
    """Returns the unweighted mean of the batches' means, as the release averages its ELBO."""
    starts = range(0, len(values), batch_size)
    return float(np.mean([values[start : start + batch_size].mean() for start in starts]))
