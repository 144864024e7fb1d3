"""How good and how calibrated class probabilities are, and how well k-means finds the classes.

`log_p` [N, K] are log probabilities in nats, `targets` [N] each example's true column.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

ECE_BINS = 15
CLUSTERS: dict[str, Any] = {"n_init": 10, "random_state": 0}  # k-means' settings

LogP = Float[np.ndarray, "n k"]
Targets = Int[np.ndarray, " n"]
Confidence = Float[np.ndarray, " n"]
Hits = Bool[np.ndarray, " n"]


class Reliability(NamedTuple):
    """Per confidence bin: how many examples, their mean confidence and accuracy (NaN if none)."""

    examples: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]


def accuracy(log_p: LogP, targets: Targets) -> float:
    """Return the share of examples whose most probable class is theirs."""
    return float(np.mean(log_p.argmax(axis=1) == targets))


def negative_log_likelihood(log_p: LogP, targets: Targets) -> float:
    """Return -mean log p(target), in nats per example."""
    return float(-np.mean(log_p[np.arange(len(targets)), targets]))


def brier(log_p: LogP, targets: Targets) -> float:
    """Return the Brier score summed over classes, from 0 to 2 (Brier 1950), as released."""
    error = np.exp(log_p)
    error[np.arange(len(targets)), targets] -= 1
    return float(np.mean(np.sum(error**2, axis=1)))


def confidence_and_hits(log_p: LogP, targets: Targets) -> tuple[Confidence, Hits]:
    """Return the largest probability of each example, and whether its class is right."""
    return np.exp(log_p.max(axis=1)), log_p.argmax(axis=1) == targets


def reliability(confidence: Confidence, hits: Hits, num_bins: int = ECE_BINS) -> Reliability:
    """Return the reliability curve over equal-width bins [a, b), the last one [a, 1]."""
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.minimum(np.searchsorted(edges, confidence, side="right") - 1, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    sums = [np.bincount(bins, weights=w, minlength=num_bins) for w in (confidence, hits)]
    with np.errstate(invalid="ignore"):
        return Reliability(count, sums[0] / count, sums[1] / count)


def expected_calibration_error(
    confidence: Confidence, hits: Hits, num_bins: int = ECE_BINS, drop_certain: bool = False
) -> float:
    """Return sum_b (n_b / n) |accuracy_b - confidence_b| (Naeini et al. 2015).

    drop_certain: as released, where every bin is half open, [a, b): examples of confidence
      exactly 1 in float32, the release's precision, are in no bin, but still count in n.
    """
    kept = confidence.astype(np.float32) < 1 if drop_certain else np.full(len(confidence), True)
    curve = reliability(confidence[kept], hits[kept], num_bins)
    gaps = curve.examples * np.abs(curve.accuracy - curve.confidence)
    return float(np.nansum(gaps) / len(confidence))


def cluster_agreement(
    x: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[float, float]:
    """Return NMI (arithmetic mean) and ARI between the classes and as many k-means clusters."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    # A power of two changes no digit of the clusters, and no square overflows.
    x = np.ldexp(x, -np.frexp(np.abs(x).max())[1])
    kmeans = KMeans(n_clusters=len(np.unique(labels)), **CLUSTERS)
    with warnings.catch_warnings():
        # A collapsed model has fewer distinct embeddings than classes: a result, no mistake.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = kmeans.fit_predict(x)
    nmi = normalized_mutual_info_score(labels, found)
    return float(nmi), float(adjusted_rand_score(labels, found))
