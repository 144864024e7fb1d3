"""C^-T and log|det C|, followed from step to step without a factorisation or a loop.

The ELBO's gradient needs C^-T, since d log|det C| / dC = C^-T. One optimiser step changes C by
little, and much as the step before did. So with X_t the C^-T of step t, the next one is
extrapolated and then corrected by one Newton step (Schulz, 1933):

    Y = 2 X_t - X_(t-1),   R = I - C^T Y,   X_(t+1) = Y + Y R

log|det C| is followed by the trapezoid rule. That is two products, where a factorisation costs many
times that and makes an accelerator wait for its host. Each epoch starts from a factorisation, so
errors cannot accumulate.

Nothing here is repaired in the step. A bound on the largest error of an epoch is returned. Where it
passes MAX_ERROR, the epoch is trained again from the state before it, with `of` in every step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MAX_ERROR = 0.01  # of C^-T, relative in Frobenius norm, above which an epoch is trained again


class Inverse(NamedTuple):
    """The inverse transpose of one C.

    transpose:   X
    before:      the X of the step before
    log_abs_det: log|det C|
    error:       a bound on ||X - C^-T||_F / ||X||_F, the largest since the last factorisation; 1
                 where there is no bound

    Since C^-T = Y (I + R + R^2 + ...), X lacks Y R R (I + R + ...). With r = ||R||_F, the bound is
    ||Y R||_F r / (1 - r) / ||X||_F; float32 adds about eps cond(C), as to every inverse. In a step,
    log|det C| strays by at most m^3 / (6 (1 - m)^3) nats, the trapezoid rule's error with
    m = ||C^-1 dC||_F, and by error ||X||_F ||dC||_F.
    """

    transpose: Float[Array, "*replicates d d"]
    before: Float[Array, "*replicates d d"]
    log_abs_det: Float[Array, "*replicates"]
    error: Float[Array, "*replicates"]


def of(c: Float[Array, "d d"], before: Float[Array, "d d"] | None = None) -> Inverse:
    """Return the inverse of C by a factorisation.

    before: the X of the step before; without it the next step is extrapolated from this one alone
    """
    transpose, log_abs_det = _factorise(c)
    return Inverse(transpose, transpose if before is None else before, log_abs_det, jnp.zeros(()))


@jax.custom_batching.custom_vmap
def _factorise(c: Float[Array, "d d"]) -> tuple[Float[Array, "d d"], Float[Array, ""]]:
    """Return C^-T and log|det C|."""
    return _lu(c)


@_factorise.def_vmap
def _factorise_all(_size: int, _batched: list[bool], c: Float[Array, "s d d"]) -> tuple[Any, Any]:
    """Factorise several C; one after the other on a CPU.

    XLA's LAPACK calls for a batch never return where two devices of one CPU make them at once.
    """
    one_by_one = partial(jax.lax.map, _lu)
    found = jax.lax.platform_dependent(c, cpu=one_by_one, default=jax.vmap(_lu))
    return found, jax.tree.map(lambda _: True, found)


def _lu(c: Float[Array, "d d"]) -> tuple[Float[Array, "d d"], Float[Array, ""]]:
    lower_upper, pivots = jax.scipy.linalg.lu_factor(c)
    identity = jnp.eye(len(c), dtype=c.dtype)
    transpose = jax.scipy.linalg.lu_solve((lower_upper, pivots), identity).T
    return transpose, jnp.sum(jnp.log(jnp.abs(jnp.diagonal(lower_upper))))


def follow(inverse: Inverse, before: Float[Array, "d d"], after: Float[Array, "d d"]) -> Inverse:
    """Return the inverse after one step of the optimiser, which took C from `before` to `after`."""
    guess = 2 * inverse.transpose - inverse.before
    # In full precision, because R is the difference of nearly equal numbers.
    product = jnp.matmul(after.T, guess, precision="highest")
    residual = jnp.eye(len(after), dtype=after.dtype) - product
    correction = guess @ residual  # in which ten bits of R are enough
    transpose = guess + correction
    norm = jnp.linalg.norm
    r = norm(residual)
    bound = norm(correction) * r / (1 - r) / norm(transpose)
    error = jnp.where(r < 1, jnp.minimum(bound, 1), 1)  # of a NaN too
    change = 0.5 * jnp.sum((inverse.transpose + transpose) * (after - before))
    log_abs_det = inverse.log_abs_det + change
    return Inverse(transpose, inverse.transpose, log_abs_det, jnp.maximum(inverse.error, error))


@jax.custom_vjp
def log_abs_det(c: Float[Array, "d d"], inverse: Inverse) -> Float[Array, ""]:
    """Return log|det C|, whose gradient is C^-T, from the inverse of this C."""
    return inverse.log_abs_det


def _forward(c: Array, inverse: Inverse) -> tuple[Array, Inverse]:
    return inverse.log_abs_det, inverse


def _backward(inverse: Inverse, cotangent: Array) -> tuple[Array, Inverse]:
    return cotangent * inverse.transpose, jax.tree.map(jnp.zeros_like, inverse)


log_abs_det.defvjp(_forward, _backward)
