"""The linear probe: multinomial logistic regression, solved exactly and fast.

The objective is that of scikit-learn's `LogisticRegression(C=1.0)`, summed over examples (see
`objective`). It is strictly convex in W, so the solver must not show in the result. L-BFGS in
single precision comes near the optimum, and Newton's method from there needs a handful of gradients
in double precision; its curvature may be single. Both crawl where features differ in scale or
correlate, as an embedding's do, so both work in coordinates that whiten the Hessian. The gradient
in these coordinates has no unit and does not depend on the scale of the data: half its squared norm
is about the distance to the optimum in nats, over all examples.

A fit has converged where that norm is at most the tolerance. Two cases ask for more. Below one nat,
where the classes are all but separated, the objective counts relative to itself. Where the penalty
is negligible beside the features (see `features`), separable classes have no finite optimum but for
the penalty, and a small gradient does not bound the distance to it: there the gradient must also be
at most LONGEST_STEP times the least eigenvalue of the Hessian in whitened coordinates, and the
features must be of full rank, or of exact copies and combinations of each other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse.linalg
from jaxtyping import Float, Int

from mvae_jax.evaluate import features
from mvae_jax.evaluate.objective import Whitened, log_softmax, whitened

SETTINGS: dict[str, Any] = {"C": 1.0, "gradient_tolerance": 1e-5, "max_iter": 200}
ROUND = 50  # Newton steps from one whitening to the next
RESOLVED = 1e-12  # nats: the smallest objective that double precision tells from 0
LONGEST_STEP = 1e-2  # to the optimum, in whitened coordinates: the root of twice so many nats


class Probe(NamedTuple):
    """A fitted probe.

    Scores are (x * scale - centre) @ weights + intercept, so that the weights of x itself are
    scale * weights. `classes` are the labels of the K columns, sorted. The module says what
    `converged` means.
    """

    weights: Float[np.ndarray, "d k"]
    intercept: Float[np.ndarray, " k"]
    scale: Float[np.ndarray, " d"]
    centre: Float[np.ndarray, " d"]
    classes: Int[np.ndarray, " k"]
    converged: bool


def fit(
    x: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    *,
    C: float,
    gradient_tolerance: float,
    max_iter: int,
) -> Probe:
    """Fit the probe to labels of two classes or more; call it with **SETTINGS.

    C: the inverse of the penalty, by scikit-learn's name
    gradient_tolerance: of the whitened gradient's norm, at which the fit has converged
    max_iter: Newton steps after which the fit stops and has not

    With two classes scikit-learn penalises one vector w. Here that is the pair (-w/2, w/2), whose
    squared norm is half of w's: hence the factor 2.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels: got {len(classes)} class; a probe needs two or more")
    z, found = features.of(x, (2 if len(classes) == 2 else 1) / C)
    z = np.column_stack([z, np.ones(len(z))])
    weights = np.zeros((z.shape[1], len(classes)))  # the last row is the intercept
    weights, value = _approach(weights, z.astype(np.float32), targets, found.penalty)
    weights, converged = _newton(
        weights, value, z, targets, found.penalty, found.faint, gradient_tolerance, max_iter
    )
    slopes = weights[:-1] if found.basis is None else found.basis @ weights[:-1]
    converged = converged and found.resolved
    return Probe(slopes, weights[-1], found.scale, found.centre, classes, converged)


def log_probabilities(probe: Probe, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Return log p(class | x), in nats."""
    return log_softmax((x * probe.scale - probe.centre) @ probe.weights + probe.intercept)


def _approach(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: Float[np.ndarray, "d d"],
) -> tuple[Float[np.ndarray, "p k"], float]:
    """Return the weights and the objective after L-BFGS, which ends where steps no longer pay."""
    white = whitened(weights, x, targets, penalty)
    found = scipy.optimize.minimize(
        white.objective,
        white.coordinates(weights),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-4, "gtol": 0, "maxcor": 20, "maxiter": 500},
    )
    return white.weights(found.x), float(found.fun)


def _newton(
    weights: Float[np.ndarray, "p k"],
    value: float,
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: Float[np.ndarray, "d d"],
    faint: bool,
    gradient_tolerance: float,
    max_iter: int,
) -> tuple[Float[np.ndarray, "p k"], bool]:
    """Return the weights after a trust-region Newton method, and whether it converged.

    The curvature is in single precision at first: it sets the pace, the gradient the destination.
    A fit that was not easy (near separable, or slow) is refined beyond the tolerance if it can be.
    value: the objective at the weights
    faint: whether the penalty is too small to keep the objective curved
    """
    tolerance, curved, steps, converged = gradient_tolerance, x.astype(np.float32), 0, False
    while steps < max_iter:
        unit = min(1.0, max(value, RESOLVED))
        white = whitened(weights, x, targets, penalty, unit)
        found = scipy.optimize.minimize(
            white.objective,
            white.coordinates(weights),
            jac=True,
            hessp=_curvature(white._replace(x=curved)),
            method="trust-ncg",
            options={"gtol": tolerance, "maxiter": min(ROUND, max_iter - steps)},
        )
        easy = not (faint or steps or found.fun < 1)
        weights, curved, steps = white.weights(found.x), x, steps + max(found.nit, 1)
        gradient, value = np.linalg.norm(found.jac), found.fun * unit
        # Where the objective has fallen far, its unit and its Hessian are others by now.
        if gradient <= gradient_tolerance and found.fun >= 0.5:
            converged = True
            if easy or tolerance < gradient_tolerance:
                break
            tolerance = gradient_tolerance / 1000
        elif found.nit == 0:
            break
    if converged and faint:
        converged = bool(gradient <= LONGEST_STEP * _least_curvature(white, found.x))
    return weights, converged


def _curvature(white: Whitened) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the function of v and a direction that gives the Hessian's product with it."""
    at, p = np.empty(0), np.empty(0)

    def product(v: np.ndarray, direction: np.ndarray) -> np.ndarray:
        nonlocal at, p
        if not np.array_equal(at, v):  # all directions at one v share its probabilities
            at, p = v.copy(), white.probabilities(v)
        return white.hessian_product(p, direction)

    return product


def _least_curvature(white: Whitened, v: np.ndarray) -> float:
    """Return the least eigenvalue of the Hessian by v; 0 where it is too small to be found.

    The step from v to the optimum is about the gradient over this eigenvalue, at most.
    """
    p = white.probabilities(v)

    def product(direction: np.ndarray) -> np.ndarray:
        """Equal changes of all classes change nothing: let their curvature be 1."""
        by_class = direction.reshape(len(white.factor), -1)
        common = np.broadcast_to(by_class.mean(axis=1, keepdims=True), by_class.shape)
        return white.hessian_product(p, (by_class - common).ravel()) + common.ravel()

    size = len(v)
    hessian = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)
    options = {"which": "SA", "ncv": min(size, 200), "maxiter": 5, "tol": 0.01, "v0": start}
    try:
        (least,) = scipy.sparse.linalg.eigsh(hessian, 1, return_eigenvectors=False, **options)
    except scipy.sparse.linalg.ArpackNoConvergence:
        return 0.0
    return max(float(least), 0.0)
