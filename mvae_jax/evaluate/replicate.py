"""One replicate's embeddings, scored: every metric by name, or the reason why it is absent.

Names that end in `_standardised` are computed on mu with every coordinate at mean 0 and standard
deviation 1 (of the training split for the probe, of the test split for k-means): an L2 penalty
and k-means depend on the scale of the coordinates, which C changes.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mvae_jax.evaluate import classification, clusters, geometry, probe, terms
from mvae_jax.evaluate.embeddings import Embeddings
from mvae_jax.store import metrics_file

ELBO = ("elbo", "log_likelihood", "kl", "elbo_release")
IWAE = ("iwae", "iwae_k")
PROBE = (
    "probe_accuracy",
    "probe_nll",
    "brier",
    "brier_halved",
    "ece",
    "ece_fixed",
    "probe_converged",
)
CLUSTERS = ("nmi", "ari")
SPREAD = ("active_units", "active_directions")
CORRELATION = ("total_correlation", "off_diagonal_correlation")
STANDARDISED = "_standardised"
FAILURES = (ValueError, ArithmeticError, RuntimeWarning)  # LAPACK's errors are ValueErrors


class Absent(Exception):
    """These embeddings cannot give a metric; the message is the reason."""


class Result(NamedTuple):
    """values: numbers by metric; curves: lists by curve and axis."""

    values: dict[str, float]
    curves: dict[str, dict[str, list[Any]]] = {}  # noqa: RUF012 - never written to


class Scores(NamedTuple):
    """What one replicate's embeddings give, and the reason for each metric that they do not."""

    values: dict[str, float]
    absent: dict[str, str]
    curves: dict[str, dict[str, list[Any]]]


def settings(batch_size: int) -> dict[str, dict[str, Any]]:
    """Returns what the metrics are computed under, by the names that `settings_of` gives."""
    return {
        "elbo_release": {"batch_size": batch_size},
        "probe": probe.SETTINGS,
        "calibration": {"num_bins": classification.ECE_BINS},
        "clusters": clusters.SETTINGS,
        "active_units": {"variance_above": geometry.ACTIVE_VARIANCE},
    }


def settings_of(name: str) -> list[str]:
    """Returns the names of the settings that a metric or curve depends on."""
    name = name.removesuffix(STANDARDISED)
    if name in ("ece", "ece_fixed", "reliability"):
        return ["probe", "calibration"]
    if name in PROBE:
        return ["probe"]
    if name in CLUSTERS:
        return ["clusters"]
    if name in SPREAD:
        return ["active_units"]
    return [name] if name == "elbo_release" else []


def score(found: Embeddings, batch_size: int) -> Scores:
    """Return the metrics of the test split.

    A metric that fails, because of numbers that double precision or the memory cannot hold, is
    absent with the reason; it costs no other metric.
    batch_size: of the run's training; the release averages its ELBO over batches of it.
    """
    scores = Scores({}, {}, {})
    for names, compute in _groups(batch_size):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)  # numpy's of an overflow, or of NaN
                values, curves = compute(found)
        except Absent as reason:
            scores.absent.update(dict.fromkeys(names, str(reason)))
            continue
        except FAILURES as error:
            scores.absent.update(dict.fromkeys(names, f"could not be computed: {error}"))
            continue
        except MemoryError as error:
            scores.absent.update(dict.fromkeys(names, f"{metrics_file.OUT_OF_MEMORY}: {error}"))
            continue
        scores.curves.update(curves)
        for name in names:
            if math.isfinite(values[name]):
                scores.values[name] = values[name]
            else:
                scores.absent[name] = f"the value is {values[name]}"
    return scores


def metric_names() -> list[str]:
    """Returns every metric's name, in the order of metrics.json."""
    return [name for names, _ in _groups(batch_size=1) for name in names]


def _groups(
    batch_size: int,
) -> list[tuple[tuple[str, ...], Callable[[Embeddings], Result]]]:
    """Returns the metrics that stand or fall together, with the function that computes them."""
    return [
        (ELBO, lambda found: _elbo(found, batch_size)),
        (IWAE, _iwae),
        (("mse",), lambda found: _term_mean(found, "mse", "squared_error_sampled")),
        (("mse_mean",), lambda found: _term_mean(found, "mse_mean", "squared_error_mean")),
        (PROBE, lambda found: _probe(found, standardised=False)),
        (CLUSTERS, lambda found: _clusters(found, standardised=False)),
        (_suffixed(PROBE), lambda found: _probe(found, standardised=True)),
        (_suffixed(CLUSTERS), lambda found: _clusters(found, standardised=True)),
        (("active_units",), _active_units),
        (("active_directions",), _active_directions),
        (CORRELATION, _correlation),
        (("redundancy_index",), _redundancy),
    ]


def _suffixed(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}{STANDARDISED}" for name in names)


def _term(found: Embeddings, name: str) -> np.ndarray:
    if name not in found.terms:
        raise Absent(f"no per-example {name}_test in the file")
    return found.terms[name]


def _term_mean(found: Embeddings, metric: str, term: str) -> Result:
    return Result({metric: terms.mean(_term(found, term))})


def _elbo(found: Embeddings, batch_size: int) -> Result:
    log_likelihood, kl = _term(found, "log_likelihood"), _term(found, "kl")
    elbo = log_likelihood.astype(np.float64) - kl
    means = [terms.mean(term) for term in (elbo, log_likelihood, kl)]
    release = terms.mean_of_batch_means(elbo, batch_size)
    return Result(dict(zip(ELBO, [*means, release], strict=True)))


def _iwae(found: Embeddings) -> Result:
    bound = terms.mean(_term(found, "iwae"))
    assert found.iwae_k is not None  # `embeddings.read` sees to it
    return Result({"iwae": bound, "iwae_k": float(found.iwae_k)})


def _test_labels(found: Embeddings) -> np.ndarray:
    if not found.labels:
        raise Absent("the data set has no labels")
    if len(np.unique(found.labels["test"])) < 2:
        raise Absent("the test labels are of one class")
    return found.labels["test"]


def _probe(found: Embeddings, standardised: bool) -> Result:
    labels = _test_labels(found)
    if "train" not in found.labels:
        raise Absent("no mu_train in the file")
    unseen = np.setdiff1d(labels, found.labels["train"])
    if len(unseen):
        raise Absent(f"test labels {', '.join(map(str, unseen[:5]))} are not among the train ones")
    train, test = found.mu["train"], found.mu["test"]
    if standardised:
        train, test = (geometry.standardise(mu, reference=train) for mu in (train, test))

    fitted = probe.fit(train, found.labels["train"], **probe.SETTINGS)
    log_p = probe.log_probabilities(fitted, test)
    targets = np.searchsorted(fitted.classes, labels)
    confidence, hits = classification.confidence_and_hits(log_p, targets)
    brier = classification.brier(log_p, targets)
    values = (
        classification.accuracy(log_p, targets),
        classification.negative_log_likelihood(log_p, targets),
        brier,
        brier / 2,
        classification.expected_calibration_error(confidence, hits, drop_certain=True),
        classification.expected_calibration_error(confidence, hits),
        float(fitted.converged),
    )
    curve = classification.reliability(confidence, hits)
    axes = {axis: _rounded(values) for axis, values in curve._asdict().items()}
    suffix = STANDARDISED if standardised else ""
    names = _suffixed(PROBE) if standardised else PROBE
    return Result(dict(zip(names, values, strict=True)), {f"reliability{suffix}": axes})


def _clusters(found: Embeddings, standardised: bool) -> Result:
    labels, mu = _test_labels(found), found.mu["test"]
    if standardised:
        mu = geometry.standardise(mu, reference=mu)
    names = _suffixed(CLUSTERS) if standardised else CLUSTERS
    return Result(dict(zip(names, clusters.agreement(mu, labels), strict=True)))


def _examples_that_vary(found: Embeddings) -> np.ndarray:
    if len(found.mu["test"]) < 2:
        raise Absent("one test example has no variance")
    return found.mu["test"]


def _active_units(found: Embeddings) -> Result:
    return Result({"active_units": float(geometry.active_units(_examples_that_vary(found)))})


def _active_directions(found: Embeddings) -> Result:
    eigenvalues = geometry.covariance_eigenvalues(_examples_that_vary(found))
    value = float(geometry.active_directions(eigenvalues))
    curve = {"eigenvalue": _rounded(eigenvalues)}
    return Result({"active_directions": value}, {"covariance_eigenvalues": curve})


def _correlation(found: Embeddings) -> Result:
    correlation = geometry.correlation(found.mu["test"])
    if len(correlation) < 2:
        raise Absent("fewer than two coordinates vary over the test split")
    values = (
        geometry.gaussian_total_correlation(correlation),
        geometry.off_diagonal_correlation(correlation),
    )
    return Result(dict(zip(CORRELATION, values, strict=True)))


def _redundancy(found: Embeddings) -> Result:
    if found.coupling is None:
        raise Absent("no coupling matrix C in the model's file")
    if len(found.coupling) < 3:
        raise Absent("C is too small: its off-diagonal entries standardise to -1 and 1, or to none")
    return Result({"redundancy_index": geometry.redundancy_index(found.coupling)})


def _rounded(values: np.ndarray) -> list[float | int | None]:
    """Returns the numbers as a curve of metrics.json holds them: six digits, null for nan."""
    return [
        None if math.isnan(v) else v if isinstance(v, int) else float(f"{v:.6g}")
        for v in values.tolist()
    ]
