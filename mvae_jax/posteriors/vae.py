"""The VAE's family: q(z|x) = N(loc, diag(sigma^2)), with no global parameter."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax import gaussian
from mvae_jax.posteriors import Draw, Family, Heads, Parameters


class Diagonal(NamedTuple):
    """q(z|x) = N(loc, diag(exp(log_variance)))."""

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]


def posterior(
    _config: ConfigDict, _parameters: Parameters, heads: Heads, _carry: Any = None
) -> Diagonal:
    """Return q(z|x) of the encoder's two heads, mu(x) and log sigma^2(x)."""
    return Diagonal(heads["mean"], heads["log_variance"])


def sample(q: Diagonal, noise: Float[Array, " d"]) -> Draw:
    """Draw z = loc + sigma * noise, with noise from N(0, I)."""
    z = q.loc + jnp.exp(0.5 * q.log_variance) * noise
    return Draw(z, gaussian.log_ratio(z, noise, log_det(q)), noise)


def covariance(q: Diagonal) -> Float[Array, "d d"]:
    """Return Sigma = diag(sigma^2)."""
    return jnp.diag(jnp.exp(q.log_variance))


def trace(q: Diagonal) -> Float[Array, ""]:
    """Return tr Sigma = sum_j sigma_j^2."""
    return jnp.sum(jnp.exp(q.log_variance))


def log_det(q: Diagonal) -> Float[Array, ""]:
    """Return log|Sigma| = sum_j log sigma_j^2."""
    return jnp.sum(q.log_variance)


def kl(q: Diagonal, _draw: Draw | None = None) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats."""
    return gaussian.kl(q.loc, trace(q), log_det(q))


def log_prob(q: Diagonal, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Return log q(z|x) in nats, with the whitened residual (z - mu) / sigma."""
    return gaussian.log_prob((z - q.loc) * jnp.exp(-0.5 * q.log_variance), log_det(q))


vae = Family(posterior, sample, log_prob, kl=kl)
