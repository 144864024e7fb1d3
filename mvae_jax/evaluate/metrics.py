"""The metrics, one record each.

Names that end in `_standardised` are computed on mu with every coordinate at mean 0 and standard
deviation 1 (of the training split for the probe, of the test split for k-means): an L2 penalty
and k-means depend on the scale of the coordinates, which C changes.

The report shows what is listed here and what metrics.json describes; it computes nothing of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mvae_jax.evaluate import classification, geometry, shared
from mvae_jax.evaluate.embeddings import Embeddings
from mvae_jax.evaluate.pictures import high_frequency_energy
from mvae_jax.evaluate.record import Curve, Metric
from mvae_jax.evaluate.shared import Absent
from mvae_jax.store import pictures_file

STANDARDISED = "_standardised"
DEFAULT_BATCH_SIZE = 100  # the release's; a foreign config.json has none

Compute = Callable[[Embeddings], float]


def settings(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a run's metrics are computed under, by the names that their records give."""
    from mvae_jax.evaluate import probe

    return {
        "elbo_release": {"batch_size": config.get("batch_size", DEFAULT_BATCH_SIZE)},
        "probe": probe.SETTINGS,
        "calibration": {"num_bins": classification.ECE_BINS},
        "clusters": classification.CLUSTERS,
        "active_units": {"variance_above": geometry.ACTIVE_VARIANCE},
    }


def described(content: Mapping[str, Any]) -> dict[str, Metric]:
    """Return how the metrics that only this metrics.json describes are shown, by name.

    content: what `metrics_file.read` returns
    """
    own: Mapping[str, Any] = content.get("described", {})
    return {name: Metric(name, **shown) for name, shown in own.items() if name not in METRICS}


def _bound(name: str) -> Compute:
    return lambda found: shared.mean(shared.elbo_terms(found)[name])


def _term(name: str) -> Compute:
    return lambda found: shared.mean(shared.term(found, name))


def _elbo_release(found: Embeddings) -> float:
    """The release averages its ELBO over the batches of its training."""
    batch_size = found.config.get("batch_size", DEFAULT_BATCH_SIZE)
    return shared.mean_of_batch_means(shared.elbo_terms(found)["elbo"], batch_size)


def _iwae_k(found: Embeddings) -> float:
    shared.term(found, "iwae")
    assert found.iwae_k is not None  # `embeddings.read` sees to it
    return float(found.iwae_k)


def _multiply_adds(found: Embeddings) -> float:
    """Those of one example's pass through encoder, coupling and decoder.

    They are the weights of every dense layer, and d^2 for each product with C: with the noise, and
    with the mean where that is coupled.
    """
    products = 1 + bool(found.config.get("couple_mean"))
    sizes = shared.sizes(found).items()
    dense = sum(size for name, size in sizes if name.endswith("kernel"))
    return float(dense + products * sum(size for name, size in sizes if name.endswith("coupling")))


def _mse_first_48(found: Embeddings) -> float:
    pictures = shared.pictures(found)
    return pictures_file.mean_squared_error(pictures["input"], pictures["reconstruction_sampled"])


def _high_frequency_energy(found: Embeddings) -> float:
    pictures = shared.pictures(found)
    of_input = high_frequency_energy(pictures["input"])
    if not of_input > 0:
        raise Absent("the pictures' inputs have no energy at high frequencies")
    return high_frequency_energy(pictures["reconstruction_sampled"]) / of_input


def _sweep(name: str, title: str, better: int) -> Metric:
    def compute(found: Embeddings) -> float:
        measured = shared.sweep(found)
        if name not in measured:
            raise Absent("the latent sweep has fewer than three steps, or does not change")
        return measured[name]

    return Metric(name, title, "", 4, better, compute, split="pictures")


def _of_labels(standardised: bool) -> list[Metric]:
    """Return the metrics of the probe, which share one fit, and those of k-means."""
    suffix = STANDARDISED if standardised else ""
    probe, kmeans = "linear probe", "k-means"
    bins, summed = f"{probe}, 15 bins", f"{probe}, summed over classes"
    if standardised:
        probe = bins = summed = "probe, standardised mu"
        kmeans = "k-means, standardised mu"
    rows = (
        ("probe_accuracy", "accuracy", probe, 1, "probe"),
        ("probe_nll", "NLL", f"{probe}, nats", -1, "probe"),
        ("brier", "Brier", summed, -1, "probe"),
        ("brier_halved", "Brier, halved", probe, -1, "probe"),
        ("ece", "ECE", bins, -1, "probe", "calibration"),
        ("ece_fixed", "ECE with confidence 1", bins, -1, "probe", "calibration"),
        ("probe_converged", f"probe converged{suffix.replace('_', ' ')}", "", 0, "probe"),
        ("nmi", "NMI", kmeans, 1, "clusters"),
        ("ari", "ARI", kmeans, 1, "clusters"),
    )

    def compute(name: str, of: str) -> Compute:
        scores = {"probe": shared.probe_scores, "clusters": shared.cluster_scores}[of]
        return lambda found: scores(found, standardised=standardised)[name]

    return [
        Metric(f"{name}{suffix}", title, unit, 4, better, compute(name, under[0]), tuple(under))
        for name, title, unit, better, *under in rows
    ]


RECORDS = (
    Metric("elbo", "ELBO", "nats", 2, 1, _bound("elbo")),
    Metric("log_likelihood", "log-likelihood", "nats", 2, 1, _bound("log_likelihood")),
    Metric("kl", "KL", "nats", 2, 0, _bound("kl")),
    Metric("elbo_release", "ELBO, batch means", "nats", 2, 1, _elbo_release, ("elbo_release",)),
    Metric("iwae", "IWAE bound", "nats", 2, 1, _term("iwae")),
    Metric("iwae_k", "iwae k", compute=_iwae_k),
    Metric("mse", "MSE", "per pixel, sampled z", 5, -1, _term("squared_error_sampled")),
    Metric("mse_mean", "MSE at the mean", "per pixel, mean z", 5, -1, _term("squared_error_mean")),
    *_of_labels(standardised=False),
    *_of_labels(standardised=True),
    Metric(
        *("active_units", "active units", "", 1, 1),
        lambda f: float(geometry.active_units(shared.varying_examples(f))),
        ("active_units",),
    ),
    Metric(
        *("active_directions", "active directions", "eigenvalues of Cov(mu)", 1, 1),
        lambda f: float(shared.spectrum(f)[1]),
        ("active_units",),
    ),
    Metric(
        *("total_correlation", "total correlation of mu", "nats", 2, -1),
        lambda f: geometry.gaussian_total_correlation(shared.correlation(f)),
    ),
    Metric(
        *("off_diagonal_correlation", "off-diagonal correlation of mu", "mean |r|", 4, -1),
        lambda f: geometry.off_diagonal_correlation(shared.correlation(f)),
    ),
    Metric(
        *("redundancy_index", "redundancy index of C", "", 4, 0),
        lambda f: geometry.redundancy_index(shared.coupling(f)),
        split="model",
    ),
    Metric(
        *("num_parameters", "parameters", "", 0, -1),
        lambda f: float(sum(shared.sizes(f).values())),
        split="run",
        per_run=True,
    ),
    Metric(
        *("multiply_adds", "multiply-adds", "per example, forward", 0, -1, _multiply_adds),
        split="run",
        per_run=True,
    ),
    Metric(
        *("mse_first_48", "MSE, first 48 images", "per pixel, sampled z", 6, -1, _mse_first_48),
        split="pictures",
    ),
    Metric(
        *("high_frequency_energy", "high-frequency energy", "of the input's", 4, 1),
        _high_frequency_energy,
        split="pictures",
    ),
    _sweep("sweep_roughness", "sweep roughness", -1),
    _sweep("sweep_monotonicity", "sweep monotonicity", 1),
    _sweep("sweep_flatness", "flat share of the sweep", -1),
)
METRICS = {metric.name: metric for metric in RECORDS}  # in the order of metrics.json


def _reliability(standardised: bool) -> Curve:
    def compute(found: Embeddings) -> Mapping[str, np.ndarray]:
        predictions = shared.predictions(found, standardised=standardised)
        return classification.reliability(predictions.confidence, predictions.hits)._asdict()

    suffix = STANDARDISED if standardised else ""
    of = METRICS[f"ece_fixed{suffix}"]
    return Curve(f"reliability{suffix}", of.name, compute, of.settings)


CURVES = (
    _reliability(standardised=False),
    _reliability(standardised=True),
    Curve(
        "covariance_eigenvalues",
        "active_directions",
        lambda f: {"eigenvalue": shared.spectrum(f)[0]},
    ),
)
