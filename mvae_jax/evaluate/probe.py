"""The linear probe: multinomial logistic regression, solved exactly and fast.

The objective is that of scikit-learn's `LogisticRegression(C=1.0)`, summed over examples:

    ||W||^2 / (2 C) - sum_i log softmax(W^T x_i + b)[y_i],

with the intercept b free. It is strictly convex in W, so the solver must not show in the result.
L-BFGS in single precision comes near the optimum, and Newton's method from there needs a handful of
gradients in double precision; its curvature may be single. Both crawl where features differ in
scale or correlate, as an embedding's do, so both work in coordinates that whiten the average over
classes of the Hessian,

    H = X^T diag(h) X + I / C,   h_i = (1 - sum_k p_ik^2) / (K - 1),

where h_i is the mean curvature of example i's loss over the K - 1 directions that count. At W = 0
it is the Hessian itself (twice over, a bound of it everywhere: Böhning 1992, "Multinomial logistic
regression algorithm"). The gradient in these coordinates has no unit and does not depend on the
scale of the data: half its squared norm is about the distance to the optimum in nats, over all
examples.

A fit has converged where that norm is at most the tolerance. Below one nat, where the classes are
all but separated, the objective counts relative to itself. Where the penalty is negligible beside
the features, separable classes have no optimum that double precision holds, and no fit converges.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int

SETTINGS: dict[str, Any] = {"C": 1.0, "gradient_tolerance": 1e-5, "max_iter": 200}
ROUND = 50  # Newton steps from one whitening to the next
RESOLVED = 1e-12  # nats: the smallest objective that double precision tells from 0
NEGLIGIBLE = 1e-8  # a penalty, beside the sum of the features' variances


class Probe(NamedTuple):
    """A fitted probe.

    Scores are (x - centre) @ weights + intercept. `classes` are the labels of the K columns,
    sorted. The module says what `converged` means.
    """

    weights: Float[np.ndarray, "d k"]
    intercept: Float[np.ndarray, " k"]
    centre: Float[np.ndarray, " d"]
    classes: Int[np.ndarray, " k"]
    converged: bool


def objective(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
) -> tuple[float, Float[np.ndarray, "p k"]]:
    """Return the objective in nats, summed over examples, and its gradient; in x's precision.

    The last of the p = d + 1 columns of x is one; its weights, the intercept, are not penalised.
    targets: each example's class as a column of the weights.
    penalty: on half the squares of the other weights
    """
    rows = np.arange(len(x))
    log_p = log_scores(weights, x)
    loss = -log_p[rows, targets].sum(dtype=np.float64)
    residual = np.exp(log_p, out=log_p)
    residual[rows, targets] -= 1
    gradient = (x.T @ residual).astype(np.float64)
    pull = penalty * np.ascontiguousarray(weights[:-1])
    gradient[:-1] += pull
    return float(loss + 0.5 * np.sum(weights[:-1] * pull)), gradient


class Whitened(NamedTuple):
    """The objective over `unit`, by whitened coordinates v = R W, R^T R = H / unit.

    x may be in single precision, and so are then the objective and its gradient.
    """

    factor: Float[np.ndarray, "p p"]
    unit: float
    x: Float[np.ndarray, "n p"]
    targets: Int[np.ndarray, " n"]
    penalty: float

    def coordinates(self, weights: Float[np.ndarray, "p k"]) -> np.ndarray:
        """Return v, flat."""
        return (self.factor @ weights).ravel()

    def weights(self, v: np.ndarray) -> Float[np.ndarray, "p k"]:
        """Return W = R^-1 v."""
        return scipy.linalg.solve_triangular(self.factor, v.reshape(len(self.factor), -1))

    def gradient(self, by_weights: Float[np.ndarray, "p k"]) -> np.ndarray:
        """Return the gradient by v, flat, of the gradient by W."""
        by_v = scipy.linalg.solve_triangular(self.factor, by_weights / self.unit, trans="T")
        return by_v.ravel()

    def objective(self, v: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the value, and the gradient by v."""
        value, gradient = objective(self.weights(v), self.x, self.targets, self.penalty)
        return value / self.unit, self.gradient(gradient)

    def probabilities(self, v: np.ndarray) -> Float[np.ndarray, "n k"]:
        """Return those of the examples' classes."""
        return np.exp(log_scores(self.weights(v), self.x))

    def hessian_product(self, p: Float[np.ndarray, "n k"], direction: np.ndarray) -> np.ndarray:
        """Return the Hessian by v, where the probabilities are p, times a direction of v."""
        weights = self.weights(direction)
        change = p * (self.x @ weights.astype(self.x.dtype))
        change -= p * change.sum(axis=1, keepdims=True)
        product = (self.x.T @ change).astype(np.float64)
        product[:-1] += self.penalty * weights[:-1]
        return self.gradient(product)


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
    penalty = (2 if len(classes) == 2 else 1) / C
    centre = x.mean(axis=0, dtype=np.float64)
    z = x - centre
    resolved = bool(NEGLIGIBLE * np.vdot(z, z) / len(z) <= penalty)
    z = np.column_stack([z, np.ones(len(z))])
    weights = np.zeros((z.shape[1], len(classes)))  # the last row is the intercept
    weights, value = _approach(weights, z.astype(np.float32), targets, penalty)
    weights, converged = _newton(weights, value, z, targets, penalty, gradient_tolerance, max_iter)
    return Probe(weights[:-1], weights[-1], centre, classes, converged and resolved)


def log_probabilities(probe: Probe, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Return log p(class | x), in nats."""
    return log_softmax((x - probe.centre) @ probe.weights + probe.intercept)


def _approach(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
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
    penalty: float,
    gradient_tolerance: float,
    max_iter: int,
) -> tuple[Float[np.ndarray, "p k"], bool]:
    """Return the weights after a trust-region Newton method, and whether it converged.

    The curvature is in single precision at first: it sets the pace, the gradient the destination.
    A fit that was not easy (near separable, or slow) is refined beyond the tolerance if it can be.
    value: the objective at the weights
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
        easy = not (steps or found.fun < 1)
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


def whitened(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: float,
    unit: float = 1.0,
) -> Whitened:
    """Return the objective, whitened by its average Hessian H at the weights."""
    p = np.exp(log_scores(weights, x))
    curvature = (1 - np.sum(p**2, axis=1)) / (p.shape[1] - 1)
    floor = 1e-8 * unit  # certain of all, H would be singular
    scaled = x * np.sqrt(np.maximum(curvature, floor).astype(x.dtype))[:, None]
    hessian = (scaled.T @ scaled).astype(np.float64)
    # Whatever positive definite matrix is near will do: the ridge absorbs the rounding errors.
    ridge = np.finfo(x.dtype).eps * np.trace(hessian)
    factor = scipy.linalg.cholesky(hessian + (penalty + ridge) * np.eye(len(hessian)))
    return Whitened(factor / np.sqrt(unit), unit, x, targets, penalty)


def log_scores(
    weights: Float[np.ndarray, "p k"], x: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "n k"]:
    """Return log p(class | x), in x's precision."""
    return log_softmax(x @ weights.astype(x.dtype))


def log_softmax(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Return the logarithm of each row's softmax."""
    scores = scores - scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores
