"""Full covariance without a determinant: z = mu + L (sigma * eps), L unit lower triangular.

Every C is Q L D with Q orthogonal and D diagonal. N(0, I) does not change under Q, so the decoder's
first layer absorbs it, and the two heads absorb D: this family has the bounds of `mvae`, with
log|det L| = 0, no inverse, and one product, on the noise alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax import gaussian, unit_triangular
from mvae_jax.posteriors import Draw, Family, Heads, Parameters


class UnitDeterminant(NamedTuple):
    """q(z|x) = N(loc, C diag(exp(log_variance)) C^T) with |det C| = 1.

    weights: what C is made of
    norms:   the squared norms of C's columns
    """

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]
    weights: Float[Array, "d d"]
    norms: Float[Array, " d"]


def init(_key: Key[Array, ""], config: ConfigDict) -> dict[str, Float[Array, "d d"]]:
    """Return weights of zeros: training starts at C = I, which is the VAE."""
    return {"coupling": jnp.zeros((config.latent_size, config.latent_size))}


def column_norms(weights: Float[Array, "d d"]) -> Float[Array, " d"]:
    """Return the squared norms of L's columns."""
    return 1 + jnp.sum(jnp.tril(weights, -1) ** 2, axis=0)


def posterior(
    _config: ConfigDict, parameters: Parameters, heads: Heads, _carry: Any = None
) -> UnitDeterminant:
    """Return q(z|x) of the encoder's two heads, mu(x) and log sigma^2(x)."""
    weights = parameters["coupling"]
    return UnitDeterminant(heads["mean"], heads["log_variance"], weights, column_norms(weights))


def kl(q: UnitDeterminant, _draw: Draw | None = None) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats, with tr Sigma = sum_j ||c_j||^2 sigma_j^2."""
    trace = jnp.sum(q.norms * jnp.exp(q.log_variance))
    return gaussian.kl(q.loc, trace, jnp.sum(q.log_variance))


def sampler(
    times: Callable[[Array, Array], Array],
) -> Callable[[Any, Float[Array, " d"]], Draw]:
    """Return the family's `sample`; `times` multiplies C, given by its weights, with a vector."""

    def sample(q: Any, noise: Float[Array, " d"]) -> Draw:
        z = q.loc + times(q.weights, jnp.exp(0.5 * q.log_variance) * noise)
        return Draw(z, gaussian.log_ratio(z, noise, jnp.sum(q.log_variance)), noise)

    return sample


def density(
    matrix: Callable[[Array], Array],
) -> Callable[[UnitDeterminant, Float[Array, " d"]], Float[Array, ""]]:
    """Return the family's `log_prob`; `matrix` makes C of its weights."""

    def log_prob(q: UnitDeterminant, z: Float[Array, " d"]) -> Float[Array, ""]:
        residual = jnp.linalg.solve(matrix(q.weights), z - q.loc)
        white = residual * jnp.exp(-0.5 * q.log_variance)
        return gaussian.log_prob(white, jnp.sum(q.log_variance))

    return log_prob


AXES = UnitDeterminant(0, 0, None, None)  # type: ignore[arg-type]

triangular = Family(
    posterior=posterior,
    sample=sampler(unit_triangular.times_lower),
    log_prob=density(unit_triangular.lower),
    init=init,
    kl=kl,
    coupling=lambda q: unit_triangular.lower(q.weights),
    axes=AXES,
)
