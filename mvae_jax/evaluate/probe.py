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

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int

SETTINGS: dict[str, Any] = {"C": 1.0, "gradient_tolerance": 1e-5, "max_iter": 200}
ROUND = 50  # Newton steps from one whitening to the next
RESOLVED = 1e-12  # nats: the smallest objective that double precision tells from 0
NEGLIGIBLE = 1e-8  # a penalty, beside the sum of the features' variances

Weights = Float[np.ndarray, "p k"]
Inputs = Float[np.ndarray, "n p"]
Targets = Int[np.ndarray, " n"]


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
    weights: Weights, x: Inputs, targets: Targets, penalty: float
) -> tuple[float, Weights]:
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


class Whitened:
    """The objective over `unit`, by whitened coordinates v = R W, R^T R = H / unit, at the weights.

    x may be in single precision, and so are then the objective and its gradient.
    """

    def __init__(
        self, weights: Weights, x: Inputs, targets: Targets, penalty: float, unit: float = 1.0
    ) -> None:
        self.unit, self.x, self.targets, self.penalty = unit, x, targets, penalty
        self.curved = x  # by which the curvature is computed
        self.known: tuple[np.ndarray, np.ndarray] | None = None  # v and its probabilities
        p = np.exp(log_scores(weights, x))
        curvature = (1 - np.sum(p**2, axis=1)) / (p.shape[1] - 1)
        floor = 1e-8 * unit  # certain of all, H would be singular
        scaled = x * np.sqrt(np.maximum(curvature, floor).astype(x.dtype))[:, None]
        hessian = (scaled.T @ scaled).astype(np.float64)
        # Whatever positive definite matrix is near will do: the ridge absorbs the rounding errors.
        ridge = np.finfo(x.dtype).eps * np.trace(hessian)
        factor = scipy.linalg.cholesky(hessian + (penalty + ridge) * np.eye(len(hessian)))
        self.factor = factor / np.sqrt(unit)

    def minimize(self, weights: Weights, **options: Any) -> scipy.optimize.OptimizeResult:
        """Return what scipy.optimize.minimize finds from these weights."""
        start = (self.factor @ weights).ravel()
        return scipy.optimize.minimize(self.objective, start, jac=True, **options)

    def weights(self, v: np.ndarray) -> Weights:
        """Return W = R^-1 v."""
        return scipy.linalg.solve_triangular(self.factor, v.reshape(len(self.factor), -1))

    def gradient(self, by_weights: Weights) -> np.ndarray:
        """Return the gradient by v, flat, of the gradient by W."""
        by_v = scipy.linalg.solve_triangular(self.factor, by_weights / self.unit, trans="T")
        return by_v.ravel()

    def objective(self, v: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the value, and the gradient by v."""
        value, gradient = objective(self.weights(v), self.x, self.targets, self.penalty)
        return value / self.unit, self.gradient(gradient)

    def hessian_product(self, v: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the Hessian by v times a direction of v."""
        if self.known is None or not np.array_equal(self.known[0], v):
            self.known = v.copy(), np.exp(log_scores(self.weights(v), self.curved))
        weights, p = self.weights(direction), self.known[1]
        change = p * (self.curved @ weights.astype(self.curved.dtype))
        change -= p * change.sum(axis=1, keepdims=True)
        product = (self.curved.T @ change).astype(np.float64)
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
    white = Whitened(weights, z.astype(np.float32), targets, penalty)
    options = {"ftol": 1e-4, "gtol": 0, "maxcor": 20, "maxiter": 500}  # ends where steps do not pay
    near = white.minimize(weights, method="L-BFGS-B", options=options)
    weights, value = white.weights(near.x), float(near.fun)
    weights, converged = _newton(weights, value, z, targets, penalty, gradient_tolerance, max_iter)
    return Probe(weights[:-1], weights[-1], centre, classes, converged and resolved)


def log_probabilities(probe: Probe, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Return log p(class | x), in nats."""
    return log_softmax((x - probe.centre) @ probe.weights + probe.intercept)


def _newton(
    weights: Weights,
    value: float,
    x: Inputs,
    targets: Targets,
    penalty: float,
    gradient_tolerance: float,
    max_iter: int,
) -> tuple[Weights, bool]:
    """Return the weights after a trust-region Newton method, and whether it converged.

    The curvature is in single precision at first: it sets the pace, the gradient the destination.
    A fit that was not easy (near separable, or slow) is refined beyond the tolerance if it can be.
    value: the objective at the weights
    """
    tolerance, curved, steps, converged = gradient_tolerance, x.astype(np.float32), 0, False
    while steps < max_iter:
        unit = min(1.0, max(value, RESOLVED))
        white = Whitened(weights, x, targets, penalty, unit)
        white.curved = curved
        options = {"gtol": tolerance, "maxiter": min(ROUND, max_iter - steps)}
        found = white.minimize(
            weights, hessp=white.hessian_product, method="trust-ncg", options=options
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


def log_scores(weights: Weights, x: Inputs) -> Float[np.ndarray, "n k"]:
    """Return log p(class | x), in x's precision."""
    return log_softmax(x @ weights.astype(x.dtype))


def log_softmax(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Return the logarithm of each row's softmax."""
    scores = scores - scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores
