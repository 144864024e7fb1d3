"""What several metrics share of one replicate: each is computed once, or fails once.

The modules that import scikit-learn or scipy are imported where they are used, so that the report
can import the metrics' records without them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from mvae_jax.evaluate import classification, geometry
from mvae_jax.evaluate.embeddings import Embeddings
from mvae_jax.evaluate.pictures import measure_sweep
from mvae_jax.store import pictures_file

F = TypeVar("F", bound=Callable[..., Any])


class Absent(Exception):
    """A replicate's files cannot give a metric; the message is the reason."""


class Predictions(NamedTuple):
    """What the fitted probe says of the test split.

    log_p:      log probabilities of the K classes, in nats
    targets:    each example's true column
    confidence: the largest probability; hits: whether its class is the true one
    converged:  whether the fit has
    """

    log_p: Float[np.ndarray, "n k"]
    targets: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    hits: Bool[np.ndarray, " n"]
    converged: bool


def once(compute: F) -> F:
    """Decorate a function of Embeddings, so that a replicate computes it once; an error too."""

    @functools.wraps(compute)
    def known(found: Embeddings, **options: Any) -> Any:
        key = (compute, *options.items())
        if key not in found.computed:
            try:
                found.computed[key] = compute(found, **options)
            except Exception as error:
                found.computed[key] = error
        result = found.computed[key]
        if isinstance(result, Exception):
            raise result
        return result

    return known  # type: ignore[return-value]


def mean(values: Float[np.ndarray, " n"]) -> float:
    """Return the mean over examples, summed in double precision."""
    return float(values.mean(dtype=np.float64))


def mean_of_batch_means(values: Float[np.ndarray, " n"], batch_size: int) -> float:
    """Return the unweighted mean of the batches' means, as the release averages its ELBO.

    It differs from the mean where the last batch is smaller, whose examples then weigh more.
    """
    starts = range(0, len(values), batch_size)
    return float(np.mean([mean(values[start : start + batch_size]) for start in starts]))


def term(found: Embeddings, name: str) -> Float[np.ndarray, " n"]:
    """Return one of the file's per-example terms of the test split."""
    if name not in found.terms:
        raise Absent(f"no per-example {name}_test in the file")
    return found.terms[name]


def elbo_terms(found: Embeddings) -> dict[str, Float[np.ndarray, " n"]]:
    """Return the bound and its two terms, which are given together or not at all."""
    log_likelihood, kl = term(found, "log_likelihood"), term(found, "kl")
    elbo = log_likelihood.astype(np.float64) - kl
    return {"elbo": elbo, "log_likelihood": log_likelihood, "kl": kl}


def labels_of_test(found: Embeddings) -> Int[np.ndarray, " n"]:
    """Return the test split's labels, of two classes or more."""
    if not found.labels:
        raise Absent("the data set has no labels")
    if len(np.unique(found.labels["test"])) < 2:
        raise Absent("the test labels are of one class")
    return found.labels["test"]


@once
def predictions(found: Embeddings, *, standardised: bool) -> Predictions:
    """Fit the probe to the training split, by whose moments `standardised` ones are scaled."""
    from mvae_jax.evaluate import probe

    labels = labels_of_test(found)
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
    return Predictions(log_p, targets, confidence, hits, fitted.converged)


@once
def probe_scores(found: Embeddings, *, standardised: bool) -> dict[str, float]:
    """Return the metrics of the probe's predictions by name."""
    log_p, targets, confidence, hits, converged = predictions(found, standardised=standardised)
    brier = classification.brier(log_p, targets)
    ece = functools.partial(classification.expected_calibration_error, confidence, hits)
    return {
        "probe_accuracy": classification.accuracy(log_p, targets),
        "probe_nll": classification.negative_log_likelihood(log_p, targets),
        "brier": brier,
        "brier_halved": brier / 2,
        "ece": ece(drop_certain=True),
        "ece_fixed": ece(),
        "probe_converged": float(converged),
    }


@once
def cluster_scores(found: Embeddings, *, standardised: bool) -> dict[str, float]:
    """Return k-means' NMI and ARI; the test split's own moments scale `standardised` embeddings."""
    labels, mu = labels_of_test(found), found.mu["test"]
    if standardised:
        mu = geometry.standardise(mu, reference=mu)
    nmi, ari = classification.cluster_agreement(mu, labels)
    return {"nmi": nmi, "ari": ari}


def varying_examples(found: Embeddings) -> Float[np.ndarray, "n d"]:
    """Return the test split's mu, of two examples or more."""
    if len(found.mu["test"]) < 2:
        raise Absent("one test example has no variance")
    return found.mu["test"]


@once
def spectrum(found: Embeddings) -> tuple[Float[np.ndarray, " d"], int]:
    """Return the eigenvalues of Cov(mu), and how many of them are active."""
    eigenvalues = geometry.covariance_eigenvalues(varying_examples(found))
    return eigenvalues, geometry.active_directions(eigenvalues)


@once
def correlation(found: Embeddings) -> Float[np.ndarray, "v v"]:
    """Return the correlation matrix of the coordinates that vary, of two or more."""
    matrix = geometry.correlation(found.mu["test"])
    if len(matrix) < 2:
        raise Absent("fewer than two coordinates vary over the test split")
    return matrix


def coupling(found: Embeddings) -> Float[np.ndarray, "d d"]:
    """Return C, of three rows or more."""
    if found.coupling is None:
        raise Absent("no coupling matrix C in the model's file")
    if len(found.coupling) < 3:
        raise Absent("C is too small: its off-diagonal entries standardise to -1 and 1, or to none")
    return found.coupling


def sizes(found: Embeddings) -> dict[str, int]:
    """Return the number of elements of each learned array."""
    if not found.sizes:
        raise Absent(f"no learned arrays in model/{found.replicate}.npz, or no such file")
    return found.sizes


@once
def pictures(found: Embeddings) -> dict[str, Num[np.ndarray, "..."]]:
    """Return the replicate's pictures."""
    path = found.folder / "pictures" / f"{found.replicate}.npz"
    if not path.is_file():
        raise Absent(f"no pictures/{path.name} in the run folder")
    return pictures_file.read(path)


@once
def sweep(found: Embeddings) -> dict[str, float]:
    """Return the measures of the latent sweep."""
    return measure_sweep(pictures(found)["sweep"])
