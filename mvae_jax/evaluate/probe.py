"""The linear probe: multinomial logistic regression, solved exactly and fast.

The objective is that of scikit-learn's `LogisticRegression(C=1.0)`, summed over examples,

    ||W||^2 / (2 C) - sum_i log softmax(W^T x_i + b)[y_i],

with the intercept b free. It is strictly convex in W, so the solver must not show in the result.
L-BFGS crawls on it where features differ in scale or correlate, as an embedding's do. It needs
few passes over the data in coordinates that whiten

    H = X^T diag(h) X + I / C,   h_i = (1 - sum_k p_ik^2) / (K - 1),

the Hessian's average over classes: h_i is the mean curvature of example i's loss over the K - 1
directions that count. At W = 0 it is the Hessian itself (twice over, a bound of it everywhere:
Böhning 1992, "Multinomial logistic regression algorithm"). The gradient in these coordinates has
no unit: half its squared norm is about the distance to the optimum in nats, over all examples.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int

SETTINGS: dict[str, Any] = {"C": 1.0, "gradient_tolerance": 1e-5, "max_iter": 2000}


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
    gradient_tolerance: of the largest entry of the whitened gradient, at which the fit converged

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
    # Single precision goes part of the way on half the memory traffic; double precision arrives.
    weights, _ = _minimise(weights, x.astype(np.float32), targets, penalty, 0.1, max_iter)
    weights, gradient = _minimise(weights, x, targets, penalty, gradient_tolerance, max_iter)
    converged = bool(np.abs(gradient).max() <= gradient_tolerance)
    return Probe(weights[:-1], weights[-1] - centre @ weights[:-1], classes, converged)


def log_probabilities(probe: Probe, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Returns log p(class | x), in nats."""
    return _log_softmax(x.astype(np.float64) @ probe.weights + probe.intercept)


def objective(
    weights: Float[np.ndarray, "d+1 k"],
    x: Float[np.ndarray, "n d+1"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
) -> tuple[float, Float[np.ndarray, "d+1 k"]]:
    """Returns the objective in nats, summed over examples, and its gradient; in x's precision.

    The last column of x is one, and its row of weights, the intercept, is not penalised.
    targets: each example's class as a column of the weights.
    """
    rows = np.arange(len(x))
    log_p = _log_softmax(x @ weights.astype(x.dtype))
    loss = -log_p[rows, targets].sum(dtype=np.float64)
    residual = np.exp(log_p, out=log_p)
    residual[rows, targets] -= 1
    gradient = (x.T @ residual).astype(np.float64)
    gradient[:-1] += penalty * weights[:-1]
    return float(loss + 0.5 * penalty * np.sum(weights[:-1] ** 2)), gradient


def _minimise(
    weights: Float[np.ndarray, "d+1 k"],
    x: Float[np.ndarray, "n d+1"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
    tolerance: float,
    max_iter: int,
) -> tuple[Float[np.ndarray, "d+1 k"], Float[np.ndarray, "d+1 k"]]:
    """Returns the weights after L-BFGS, and the whitened gradient there."""
    factor = _whitening_factor(weights, x, penalty)

    def whitened(v: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scipy.linalg.solve_triangular(factor, v.reshape(len(factor), -1))
        value, gradient = objective(weights, x, targets, penalty)
        return value, scipy.linalg.solve_triangular(factor, gradient, trans="T").ravel()

    found = scipy.optimize.minimize(
        whitened,
        (factor @ weights).ravel(),
        method="L-BFGS-B",
        jac=True,
        # ftol 0: the gradient alone decides.
        options={"gtol": tolerance, "ftol": 0, "maxcor": 20, "maxiter": max_iter, "maxfun": 10**6},
    )
    return scipy.linalg.solve_triangular(factor, found.x.reshape(weights.shape)), found.jac


def _whitening_factor(
    weights: Float[np.ndarray, "d+1 k"], x: Float[np.ndarray, "n d+1"], penalty: float
) -> Float[np.ndarray, "d+1 d+1"]:
    """Returns the upper triangular R with R^T R = H, the module's average Hessian."""
    p = np.exp(_log_softmax(x @ weights.astype(x.dtype)))
    curvature = (1 - np.sum(p**2, axis=1)) / (p.shape[1] - 1)
    x = x * np.sqrt(np.maximum(curvature, 1e-8))[:, None]  # certain of all, H would be singular
    hessian = (x.T @ x).astype(np.float64)
    # Whatever positive definite matrix is near will do: the ridge absorbs the rounding errors.
    ridge = penalty + np.finfo(x.dtype).eps * np.trace(hessian)
    return scipy.linalg.cholesky(hessian + ridge * np.eye(len(hessian)))


def _log_softmax(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    scores = scores - scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores
