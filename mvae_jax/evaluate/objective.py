"""The probe's objective and its derivatives, as they are and in whitened coordinates.

Summed over examples the objective is

    ||W||^2 / (2 C) - sum_i log softmax(W^T x_i + b)[y_i],

with the intercept b free. Whitened are the coordinates in which the average over classes of its
Hessian,

    H = X^T diag(h) X + I / C,   h_i = (1 - sum_k p_ik^2) / (K - 1),

is the identity: h_i is the mean curvature of example i's loss over the K - 1 directions that count.
At W = 0 it is the Hessian itself (twice over, a bound of it everywhere: Böhning 1992, "Multinomial
logistic regression algorithm").
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int


def objective(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: Float[np.ndarray, "d d"],
) -> tuple[float, Float[np.ndarray, "p k"]]:
    """Return the objective in nats, summed over examples, and its gradient; in x's precision.

    The last of the p = d + 1 columns of x is one; its weights, the intercept, are not penalised.
    targets: each example's class as a column of the weights.
    penalty: the quadratic form of the other weights, as `features.Features` has it
    """
    rows = np.arange(len(x))
    log_p = log_scores(weights, x)
    loss = -log_p[rows, targets].sum(dtype=np.float64)
    residual = np.exp(log_p, out=log_p)
    residual[rows, targets] -= 1
    gradient = (x.T @ residual).astype(np.float64)
    pull = penalty @ weights[:-1]
    gradient[:-1] += pull
    return float(loss + 0.5 * np.sum(weights[:-1] * pull)), gradient


def hessian_product(
    direction: Float[np.ndarray, "p k"],
    p: Float[np.ndarray, "n k"],
    x: Float[np.ndarray, "n p"],
    penalty: Float[np.ndarray, "d d"],
) -> Float[np.ndarray, "p k"]:
    """Return the objective's Hessian, where the probabilities are p, times a direction."""
    change = p * (x @ direction.astype(x.dtype))  # of the probabilities, were they not normalised
    change -= p * change.sum(axis=1, keepdims=True)
    product = (x.T @ change).astype(np.float64)
    product[:-1] += penalty @ direction[:-1]
    return product


class Whitened(NamedTuple):
    """The objective over `unit`, by whitened coordinates v = R W, R^T R = H / unit.

    x may be in single precision, and so are then the objective and its gradient.
    """

    factor: Float[np.ndarray, "p p"]
    unit: float
    x: Float[np.ndarray, "n p"]
    targets: Int[np.ndarray, " n"]
    penalty: Float[np.ndarray, "d d"]

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
        product = hessian_product(self.weights(direction), p, self.x, self.penalty)
        return self.gradient(product)


def whitened(
    weights: Float[np.ndarray, "p k"],
    x: Float[np.ndarray, "n p"],
    targets: Int[np.ndarray, " n"],
    penalty: Float[np.ndarray, "d d"],
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
    prior = scipy.linalg.block_diag(penalty, np.trace(penalty) / len(penalty))
    factor = scipy.linalg.cholesky(hessian + (prior + ridge * np.eye(len(prior))))
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
