"""C^-T and log|det C|, followed from step to step instead of factorised in every one.

The ELBO's gradient needs C^-T, since d log|det C| / dC = C^-T. One optimiser step changes C by
little, so that with X the C^-T of the last step and R = I - C^T X

    C^-T = X (I + R + R^2 + ...),   log|det C| = -log|det X| - tr R - tr R^2 / 2 - tr R^3 / 3 - ...

Every term costs one product (with R, three or four in all), where a factorisation costs many times
that and leaves an accelerator idle. Where R is too large for the series, as in the first steps from
a random and ill-conditioned C, C is factorised.

All of it is for one seed. The loops run until the seed's own test is met; under `vmap` a seed that
is done keeps its value while others go on, so that none depends on another.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# What the terms that are left out may come to, by the bound that R's Frobenius norm r gives.
TOLERANCE = 5e-5  # of X, relative in Frobenius norm: ||X R^k|| (r + r^2 + ...) / ||X||
LOG_TOLERANCE = 2e-4  # of log|det C|, nats: r^(k+2) / (k+2) + ...
MAX_RESIDUAL = 0.5  # r above which C is factorised


class Inverse(NamedTuple):
    """The inverse transpose of one C.

    transpose:       X, within max(1e-4, 2 eps cond(C)) of C^-T, relative in Frobenius norm
    own_log_abs_det: log|det X|
    log_abs_det:     log|det C|
    """

    transpose: Float[Array, "*replicates d d"]
    own_log_abs_det: Float[Array, "*replicates"]
    log_abs_det: Float[Array, "*replicates"]


class _Series(NamedTuple):
    """X (I + R + ... + R^k).

    term:  X R^k
    size:  its Frobenius norm over X's
    trace: tr R^(k+1)
    log_abs_det: log|det(I - R)| as its series says, up to and with the term of that trace
    """

    total: Float[Array, "d d"]
    term: Float[Array, "d d"]
    k: Int[Array, ""]
    size: Float[Array, ""]
    trace: Float[Array, ""]
    log_abs_det: Float[Array, ""]


def of(c: Float[Array, "d d"]) -> Inverse:
    """Return the inverse of C by a factorisation."""
    return _factorise(c)[0]


@jax.custom_batching.custom_vmap
def _factorise(c: Float[Array, "d d"]) -> tuple[Inverse, Float[Array, "d d"]]:
    """Return the inverse of C by a factorisation, and the R = I - C^T X that float32 leaves."""
    return _lu(c)


@_factorise.def_vmap
def _factorise_all(_size: int, _batched: list[bool], c: Float[Array, "s d d"]) -> tuple[Any, Any]:
    """Factorise several C; one after the other on a CPU.

    XLA's LAPACK calls for a batch never return where two devices of one CPU make them at once.
    """
    one_by_one = partial(jax.lax.map, _lu)
    found = jax.lax.platform_dependent(c, cpu=one_by_one, default=jax.vmap(_lu))
    return found, jax.tree.map(lambda _: True, found)


def _lu(c: Float[Array, "d d"]) -> tuple[Inverse, Float[Array, "d d"]]:
    lower_upper, pivots = jax.scipy.linalg.lu_factor(c)
    identity = jnp.eye(len(c), dtype=c.dtype)
    transpose = jax.scipy.linalg.lu_solve((lower_upper, pivots), identity).T
    log_abs_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(lower_upper))))
    # In float32 that is not quite C^-T, and its determinant not quite the inverse of C's.
    residual = _residual(c, transpose)
    return Inverse(transpose, -jnp.trace(residual) - log_abs_det, log_abs_det), residual


def follow(inverse: Inverse, c: Float[Array, "d d"]) -> Inverse:
    """Return the inverse of C from that of a C nearby."""

    def factorise(state: tuple[Inverse, Array, Array]) -> tuple[Inverse, Array, Array]:
        # What depends on the loop's state stays in the loop: the compiler would move the
        # factorisation of a constant C out of it, and so into every step.
        return *_factorise(jnp.where(state[2], jnp.nan, c)), jnp.array(True)

    is_finite = jnp.isfinite(c).all()  # a seed that has diverged is not worth a factorisation
    # An `if` as a loop of at most one turn: a `cond` under `vmap` would run both branches.
    start, residual, _ = jax.lax.while_loop(
        lambda state: ~(jnp.linalg.norm(state[1]) <= MAX_RESIDUAL) & ~state[2] & is_finite,
        factorise,
        (inverse, _residual(c, inverse.transpose), jnp.array(False)),
    )
    norm, r = jnp.linalg.norm(start.transpose), jnp.linalg.norm(residual)

    def is_unfinished(s: _Series) -> Array:
        error, log_error = s.size * r, r ** (s.k + 2) / (s.k + 2)
        left_out = jnp.maximum(error / TOLERANCE, log_error / LOG_TOLERANCE) / (1 - r)
        # Of a C so ill-conditioned that R is large even now, the factorisation is all there is.
        return (r <= MAX_RESIDUAL) & (left_out > 1)

    def add_term(s: _Series) -> _Series:
        term = jnp.matmul(s.term, residual, precision="highest")
        trace = s.trace - jnp.sum(c * term)  # C^T X R^(k+1) = R^(k+1) - R^(k+2)
        log_abs_det = s.log_abs_det - trace / (s.k + 2)
        size = jnp.linalg.norm(term) / norm
        return _Series(s.total + term, term, s.k + 1, size, trace, log_abs_det)

    trace = jnp.trace(residual)
    none = _Series(start.transpose, start.transpose, jnp.array(0), jnp.array(1.0), trace, -trace)
    series = jax.lax.while_loop(is_unfinished, add_term, none)
    log_abs_det = series.log_abs_det - start.own_log_abs_det
    # C^T X' = I - R^(k+1), whose log|det| is -tr R^(k+1) and terms that float32 does not see.
    return Inverse(series.total, -log_abs_det - series.trace, log_abs_det)


@jax.custom_vjp
def log_abs_det(c: Float[Array, "d d"], inverse: Inverse) -> Float[Array, ""]:
    """Return log|det C|, whose gradient is C^-T, from the inverse of this C."""
    return inverse.log_abs_det


def _forward(c: Array, inverse: Inverse) -> tuple[Array, Inverse]:
    return inverse.log_abs_det, inverse


def _backward(inverse: Inverse, cotangent: Array) -> tuple[Array, Inverse]:
    return cotangent * inverse.transpose, jax.tree.map(jnp.zeros_like, inverse)


log_abs_det.defvjp(_forward, _backward)


def _residual(c: Float[Array, "d d"], transpose: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return R = I - C^T X, in full precision: it is the difference of nearly equal numbers."""
    return jnp.eye(len(c), dtype=c.dtype) - jnp.matmul(c.T, transpose, precision="highest")
