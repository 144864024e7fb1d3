"""Full covariance without a determinant: z = mu + L U (sigma * eps), both unit triangular.

C = L U has as many numbers as a dense C, log|det C| = 0 and no inverse. Its bounds are those of
`triangular`, and it is the optimiser's path that differs.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax import gaussian
from mvae_jax.posteriors import Draw, Family, Heads, Parameters, triangular
from mvae_jax.posteriors.triangular import UnitDeterminant
from mvae_jax.unit_triangular import lower, times_lower, times_upper, upper

Norms = Float[Array, " d"]


class Training(NamedTuple):
    """A UnitDeterminant whose `norms` are those of the C at the start of the epoch."""

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]
    weights: Float[Array, "d d"]
    norms: Norms


def matrix(weights: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return C = L U of its weights, whose diagonal is not used."""
    return jnp.matmul(lower(weights), upper(weights), precision="highest")


def times(weights: Float[Array, "d d"], x: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return C x by two products with x."""
    return times_lower(weights, times_upper(weights, x))


def column_norms(_config: ConfigDict, parameters: Parameters, _kept: None = None) -> Norms:
    """Return the squared norms of C's columns, for which C has to be formed."""
    return jnp.sum(matrix(parameters["coupling"]) ** 2, axis=0)


def posterior(
    config: ConfigDict, parameters: Parameters, heads: Heads, carry: Norms | None = None
) -> UnitDeterminant | Training:
    """Return q(z|x) of the encoder's two heads; `carry` is of `column_norms`."""
    shared = (heads["mean"], heads["log_variance"], parameters["coupling"])
    if carry is None:
        return UnitDeterminant(*shared, column_norms(config, parameters))
    return Training(*shared, carry)


def kl(q: UnitDeterminant | Training, draw: Draw) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats, or in training an estimate of it without bias.

    tr Sigma = E ||C (sigma * noise)||^2. The draw's value of this costs nothing, where C's column
    norms cost a product of two d x d matrices. What it would be if C's columns n were orthogonal,
    sum_j n_j (sigma_j noise_j)^2, is replaced by its mean: this takes away most of the variance,
    and no bias comes in though the norms are those of the epoch's start.
    """
    if isinstance(q, UnitDeterminant):
        return triangular.kl(q)
    assert draw.noise is not None
    variance = jnp.exp(q.log_variance)
    expected = jnp.sum(q.norms * variance * (1 - draw.noise**2))
    trace = jnp.sum((draw.z - q.loc) ** 2) + expected
    return gaussian.kl(q.loc, trace, jnp.sum(q.log_variance))


lu = Family(
    posterior=posterior,
    sample=triangular.sampler(times),
    log_prob=triangular.density(matrix),
    init=triangular.init,
    kl=kl,
    coupling=lambda q: matrix(q.weights),
    axes=triangular.AXES,
    start_epoch=column_norms,
)
