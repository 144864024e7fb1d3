"""A competitor: q(z|x) = N(mu, L L^T) with a lower triangular L for each example.

It has d (d + 1) / 2 numbers per example, and for d <= MOST only.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.scipy
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax import gaussian
from mvae_jax.posteriors import Draw, Family, Heads, Parameters
from mvae_jax.rules import ConfigError

MOST = 64  # latent dimensions


class Triangular(NamedTuple):
    """q(z|x) = N(loc, L L^T), with diag(L) = exp(log_variance / 2)."""

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]
    factor: Float[Array, "*batch d d"]


def heads(config: ConfigDict) -> dict[str, int]:
    """Return the sizes of the heads; raise ConfigError where L would be too large."""
    d = config.latent_size
    if d > MOST:
        raise ConfigError(
            f"config.latent_size: got {d}; allowed: 1 to {MOST}, because the model cholesky has a "
            "matrix for each example; lu has a full covariance at every size"
        )
    return {"mean": d, "log_variance": d, "below": max(1, d * (d - 1) // 2)}


def posterior(
    _config: ConfigDict, _parameters: Parameters, heads: Heads, _carry: Any = None
) -> Triangular:
    """Return q(z|x) of the encoder's heads; `below` is L below its diagonal, row by row."""
    log_variance = heads["log_variance"]
    rows, columns = jnp.tril_indices(len(log_variance), -1)
    factor = jnp.diag(jnp.exp(0.5 * log_variance))
    factor = factor.at[rows, columns].set(heads["below"][: len(rows)])
    return Triangular(heads["mean"], log_variance, factor)


def sample(q: Triangular, noise: Float[Array, " d"]) -> Draw:
    """Draw z = loc + L noise."""
    z = q.loc + q.factor @ noise
    return Draw(z, gaussian.log_ratio(z, noise, jnp.sum(q.log_variance)), noise)


def kl(q: Triangular, _draw: Draw | None = None) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats, with tr Sigma = ||L||_F^2."""
    return gaussian.kl(q.loc, jnp.sum(q.factor**2), jnp.sum(q.log_variance))


def log_prob(q: Triangular, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Return log q(z|x) in nats, with the whitened residual L^-1 (z - mu)."""
    white = jax.scipy.linalg.solve_triangular(q.factor, z - q.loc, lower=True)
    return gaussian.log_prob(white, jnp.sum(q.log_variance))


cholesky = Family(posterior, sample, log_prob, heads=heads, kl=kl)
