"""The linear probe: multinomial logistic regression, solved exactly and fast.

The objective is that of scikit-learn's `LogisticRegression(C=1.0)`, summed over examples,

    ||W||^2 / (2 C) - sum_i log softmax(W^T x_i + b)[y_i],

with the intercept b free. It is strictly convex in W, so the solver must not show in the result.
L-BFGS in single precision comes near the optimum, and Newton's method from there needs a handful of
gradients in double precision; its curvature may be single. Both crawl where features differ in
scale or correlate, as an embedding's do, so both work in coordinates that whiten

    H = X^T diag(h) X + I / C,   h_i = (1 - sum_k p_ik^2) / (K - 1),

the Hessian's average over classes: h_i is the mean curvature of example i's loss over the K - 1
directions that count. At W = 0 it is the Hessian itself (twice over, a bound of it everywhere:
Böhning 1992, "Multinomial logistic regression algorithm"). The gradient in these coordinates has
no unit: half its squared norm is about the distance to the optimum in nats, over all examples.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int

SETTINGS: dict[str, Any] = {"C": 1.0, "gradient_tolerance": 1e-5, "max_iter": 200}


class Probe(NamedTuple):
    """A fitted probe: scores are x W + b; `classes` are the labels of the K columns, sorted."""

    weights: Float[np.ndarray, "d k"]
    intercept: Float[np.ndarray, " k"]
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
    """Fits the probe to labels of two classes or more; call it with **SETTINGS.

    C: the inverse of the penalty, by scikit-learn's name
    gradient_tolerance: of the whitened gradient's norm, at which the fit has converged
    max_iter: Newton steps after which the fit stops and has not

    With two classes scikit-learn penalises one vector w. Here that is the pair (-w/2, w/2), whose
    squared norm is half of w's: hence the factor 2.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels: got {len(classes)} class; a probe needs two or more")
    penalty = (2 if len(classes) == 2 else 1) / C
    centre = x.mean(axis=0, dtype=np.float64)
    # Centred features are better conditioned, and the intercept takes the shift back up.
    x = np.column_stack([x - centre, np.ones(len(x))])
    weights = np.zeros((x.shape[1], len(classes)))  # the last row is the intercept
    weights = _approach(weights, x.astype(np.float32), targets, penalty)
    weights, converged = _newton(weights, x, targets, penalty, gradient_tolerance, max_iter)
    return Probe(weights[:-1], weights[-1] - centre @ weights[:-1], classes, converged)


def log_probabilities(probe: Probe, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Returns log p(class | x), in nats."""
    return _log_softmax(x.astype(np.float64) @ probe.weights + probe.intercept)


def objective(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
) -> tuple[float, Float[np.ndarray, "p k"]]:
    """Returns the objective in nats, summed over examples, and its gradient; in x's precision.

    The last of the p = d + 1 columns of x is one; its weights, the intercept, are not penalised.
    targets: each example's class as a column of the weights.
    """
    rows = np.arange(len(x))
    log_p = _log_scores(weights, x)
    loss = -log_p[rows, targets].sum(dtype=np.float64)
    residual = np.exp(log_p, out=log_p)
    residual[rows, targets] -= 1
    gradient = (x.T @ residual).astype(np.float64)
    gradient[:-1] += penalty * weights[:-1]
    return float(loss + 0.5 * penalty * np.sum(weights[:-1] ** 2)), gradient


def hessian_product(
    direction: Float[np.ndarray, "p k"],
    p: Float[np.ndarray, "n k"],
    x: Float[np.ndarray, "n p"],
    penalty: float,
) -> Float[np.ndarray, "p k"]:
    """Returns the objective's Hessian, where the probabilities are p, times a direction."""
    change = p * (x @ direction.astype(x.dtype))  # of the probabilities, were they not normalised
    change -= p * change.sum(axis=1, keepdims=True)
    product = (x.T @ change).astype(np.float64)
    product[:-1] += penalty * direction[:-1]
    return product


def _approach(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
) -> Float[np.ndarray, "p k"]:
    """Returns the weights after L-BFGS, which ends where its steps no longer pay."""
    factor = _whitening_factor(weights, x, penalty)
    found = scipy.optimize.minimize(
        partial(_whitened_objective, factor=factor, x=x, targets=targets, penalty=penalty),
        (factor @ weights).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-4, "gtol": 0, "maxcor": 20, "maxiter": 500},
    )
    return _unwhitened(factor, found.x)


def _newton(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
    gradient_tolerance: float,
    max_iter: int,
) -> tuple[Float[np.ndarray, "p k"], bool]:
    """Returns the weights after a trust-region Newton method, and whether it converged.

    Only the curvature is in single precision: it sets the pace, the gradient the destination.
    """
    factor, x32 = _whitening_factor(weights, x, penalty), x.astype(np.float32)
    at, p = np.empty(0), np.empty(0)

    def curvature(v: np.ndarray, direction: np.ndarray) -> np.ndarray:
        nonlocal at, p
        if not np.array_equal(at, v):  # all directions at one v share its probabilities
            at, p = v.copy(), np.exp(_log_scores(_unwhitened(factor, v), x32))
        product = hessian_product(_unwhitened(factor, direction), p, x32, penalty)
        return _whitened_gradient(factor, product)

    found = scipy.optimize.minimize(
        partial(_whitened_objective, factor=factor, x=x, targets=targets, penalty=penalty),
        (factor @ weights).ravel(),
        jac=True,
        hessp=curvature,
        method="trust-ncg",
        options={"gtol": gradient_tolerance, "maxiter": max_iter},
    )
    converged = bool(np.linalg.norm(found.jac) <= gradient_tolerance)
    return _unwhitened(factor, found.x), converged


def _whitened_objective(
    v: np.ndarray,
    factor: Float[np.ndarray, "p p"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
) -> tuple[float, np.ndarray]:
    """Returns the objective and its gradient in whitened coordinates."""
    value, gradient = objective(_unwhitened(factor, v), x, targets, penalty)
    return value, _whitened_gradient(factor, gradient)


def _unwhitened(factor: Float[np.ndarray, "p p"], v: np.ndarray) -> np.ndarray:
    """Returns the weights W = R^-1 v, as a matrix, of whitened coordinates v."""
    return scipy.linalg.solve_triangular(factor, v.reshape(len(factor), -1))


def _whitened_gradient(factor: Float[np.ndarray, "p p"], gradient: np.ndarray) -> np.ndarray:
    """Returns the gradient by v, flat, of the gradient by W = R^-1 v."""
    return scipy.linalg.solve_triangular(factor, gradient, trans="T").ravel()


def _whitening_factor(
    weights: Float[np.ndarray, "p k"], x: Float[np.ndarray, "n p"], penalty: float
) -> Float[np.ndarray, "p p"]:
    """Returns the upper triangular R with R^T R = H, the module's average Hessian."""
    p = np.exp(_log_scores(weights, x))
    curvature = (1 - np.sum(p**2, axis=1)) / (p.shape[1] - 1)
    x = x * np.sqrt(np.maximum(curvature, 1e-8))[:, None]  # certain of all, H would be singular
    hessian = (x.T @ x).astype(np.float64)
    # Whatever positive definite matrix is near will do: the ridge absorbs the rounding errors.
    ridge = penalty + np.finfo(x.dtype).eps * np.trace(hessian)
    return scipy.linalg.cholesky(hessian + ridge * np.eye(len(hessian)))


def _log_scores(
    weights: Float[np.ndarray, "p k"], x: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "n k"]:
    """Returns log p(class | x), in x's precision."""
    return _log_softmax(x @ weights.astype(x.dtype))


def _log_softmax(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    scores = scores - scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores
