"""A competitor: q(z|x) = N(mu, diag(sigma^2) + V V^T), with a V [d, rank] for each example."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax import gaussian
from mvae_jax.posteriors import Draw, Family, Heads, Parameters


class LowRank(NamedTuple):
    """q(z|x) = N(loc, diag(exp(log_variance)) + V V^T)."""

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]
    factors: Float[Array, "*batch d rank"]


def sample(q: LowRank, noise: Float[Array, " n"]) -> Draw:
    """Draw z = loc + sigma * noise[:d] + V noise[d:]."""
    d = len(q.loc)
    z = q.loc + jnp.exp(0.5 * q.log_variance) * noise[:d] + q.factors @ noise[d:]
    return Draw(z, log_prob(q, z) - gaussian.log_prob(z, jnp.zeros(())), noise)


def kl(q: LowRank, _draw: Draw | None = None) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats."""
    trace = jnp.sum(jnp.exp(q.log_variance)) + jnp.sum(q.factors**2)
    return gaussian.kl(q.loc, trace, log_det(q))


def log_prob(q: LowRank, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Return log q(z|x) in nats, by Woodbury's identity.

    With W = diag(sigma)^-1 V and r = diag(sigma)^-1 (z - mu), the squared Mahalanobis distance is
    ||r||^2 - ||L^-1 W^T r||^2, where L L^T = I + W^T W.
    """
    white, scaled = (z - q.loc) * jnp.exp(-0.5 * q.log_variance), _scaled(q)
    inside = _forward_substitute(_cholesky(scaled), scaled.T @ white)
    return gaussian.log_prob(white, log_det(q)) + 0.5 * jnp.sum(inside**2)


def log_det(q: LowRank) -> Float[Array, ""]:
    """Return log|Sigma| = sum_j log sigma_j^2 + log|I + W^T W| (the determinant lemma)."""
    lower = _cholesky(_scaled(q))
    return jnp.sum(q.log_variance) + 2 * sum(jnp.log(lower[k, k]) for k in range(len(lower)))


def covariance(q: LowRank) -> Float[Array, "d d"]:
    """Return Sigma."""
    return jnp.diag(jnp.exp(q.log_variance)) + q.factors @ q.factors.T


def _scaled(q: LowRank) -> Float[Array, "d rank"]:
    return q.factors * jnp.exp(-0.5 * q.log_variance)[:, None]


def _cholesky(scaled: Float[Array, "d rank"]) -> Float[Array, "rank rank"]:
    """Return the factor of I + W^T W, unrolled: a library's call would break up the step."""
    matrix = jnp.eye(scaled.shape[1]) + scaled.T @ scaled
    columns = []
    for k in range(len(matrix)):
        column = jnp.where(jnp.arange(len(matrix)) >= k, matrix[:, k], 0) / jnp.sqrt(matrix[k, k])
        matrix -= jnp.outer(column, column)
        columns.append(column)
    return jnp.stack(columns, axis=1)


def _forward_substitute(lower: Float[Array, "r r"], b: Float[Array, " r"]) -> Float[Array, " r"]:
    """Return L^-1 b, unrolled."""
    found = jnp.zeros_like(b)
    for k in range(len(b)):
        found = found.at[k].set((b[k] - lower[k] @ found) / lower[k, k])
    return found


def of_rank(rank: int) -> Family:
    """Return the family whose V has so many columns."""

    def heads(config: ConfigDict) -> dict[str, int]:
        d = config.latent_size
        return {"mean": d, "log_variance": d, "factors": d * rank}

    def posterior(
        _config: ConfigDict, _parameters: Parameters, heads: Heads, _carry: Any
    ) -> LowRank:
        factors = heads["factors"].reshape(-1, rank)
        return LowRank(heads["mean"], heads["log_variance"], factors)

    return Family(posterior, sample, log_prob, heads=heads, kl=kl, extra_noise=lambda config: rank)


low_rank_2, low_rank_8 = of_rank(2), of_rank(8)
