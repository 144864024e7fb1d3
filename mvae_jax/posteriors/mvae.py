"""The MVAE's family: q(z|x) = N(loc, C diag(sigma^2) C^T), with one C for the whole data set.

All products with C run in full float32 precision: on accelerators the default would round C.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax import gaussian, inverse
from mvae_jax.inverse import Inverse
from mvae_jax.posteriors import Draw, Family, Heads, Parameters


class Coupling(NamedTuple):
    """The global matrix C with log|det C|, computed once for all examples."""

    matrix: Float[Array, "d d"]
    log_abs_det: Float[Array, ""]


class Coupled(NamedTuple):
    """q(z|x) = N(loc, C diag(exp(log_variance)) C^T)."""

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]
    coupling: Coupling


def init(key: Key[Array, ""], config: ConfigDict) -> dict[str, Float[Array, "d d"]]:
    """Return a fresh C of U(-1/sqrt(d), 1/sqrt(d)), as torch's `nn.Linear` begins."""
    d, bound = config.latent_size, 1 / np.sqrt(config.latent_size)
    return {"coupling": jax.random.uniform(key, (d, d), jnp.float32, -bound, bound)}


def couple(matrix: Float[Array, "d d"], inverse_of: Inverse | None = None) -> Coupling:
    """Return C together with log|det C|: from its inverse if given, else by a factorisation."""
    if inverse_of is None:
        return Coupling(matrix, jnp.linalg.slogdet(matrix)[1])
    return Coupling(matrix, inverse.log_abs_det(matrix, inverse_of))


def from_heads(
    mean: Float[Array, " d"],
    log_variance: Float[Array, " d"],
    coupling: Coupling,
    couple_mean: bool,
) -> Coupled:
    """Return the posterior of the encoder's two heads m(x) and log sigma^2(x) (Section IV.B).

    couple_mean: mu = C m(x), as in the released code and Sections I and II.c; without it
      mu = m(x), as in Eqs. 3 to 6.
    """
    return Coupled(_apply(coupling, mean) if couple_mean else mean, log_variance, coupling)


def sample(q: Coupled, noise: Float[Array, " d"]) -> Draw:
    """Draw z = loc + C (sigma * noise), with noise from N(0, I)."""
    z = q.loc + _apply(q.coupling, jnp.exp(0.5 * q.log_variance) * noise)
    return Draw(z, gaussian.log_ratio(z, noise, log_det(q)), noise)


def covariance(q: Coupled) -> Float[Array, "d d"]:
    """Return Sigma = C diag(sigma^2) C^T."""
    matrix = q.coupling.matrix
    scaled = matrix * jnp.exp(q.log_variance)[None, :]
    return jnp.matmul(scaled, matrix.T, precision="highest")


def trace(q: Coupled) -> Float[Array, ""]:
    """Return tr Sigma = sum_j ||c_j||^2 sigma_j^2, with c_j the columns of C."""
    return jnp.sum(jnp.sum(q.coupling.matrix**2, axis=0) * jnp.exp(q.log_variance))


def log_det(q: Coupled) -> Float[Array, ""]:
    """Return log|Sigma| = 2 log|det C| + sum_j log sigma_j^2."""
    return jnp.sum(q.log_variance) + 2 * q.coupling.log_abs_det


def kl(q: Coupled, _draw: Draw | None = None) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats."""
    return gaussian.kl(q.loc, trace(q), log_det(q))


def log_prob(q: Coupled, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Return log q(z|x) in nats, with the whitened residual diag(sigma)^-1 C^-1 (z - mu)."""
    residual = jnp.linalg.solve(q.coupling.matrix, z - q.loc)
    return gaussian.log_prob(residual * jnp.exp(-0.5 * q.log_variance), log_det(q))


def _apply(coupling: Coupling, vector: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return C times the vector."""
    # This way round, a batch of vectors is multiplied without a transpose.
    return jnp.matmul(vector, coupling.matrix.T, precision="highest")


def posterior(
    config: ConfigDict, parameters: Parameters, heads: Heads, carry: Inverse | None = None
) -> Coupled:
    """Return q(z|x) of the encoder's two heads; the carry is the inverse of C, if it is known."""
    coupling = couple(parameters["coupling"], carry)
    return from_heads(heads["mean"], heads["log_variance"], coupling, config.couple_mean)


def start_epoch(
    _config: ConfigDict, parameters: Parameters, kept: Float[Array, "d d"] | None
) -> Inverse:
    """Factorise each epoch, so errors cannot accumulate and resuming changes nothing."""
    return inverse.of(parameters["coupling"], kept)


def follow(
    _config: ConfigDict, before: Parameters, after: Parameters, carry: Inverse, exact: bool
) -> Inverse:
    """Return the inverse of the C after a step, followed or by a factorisation."""
    if exact:
        return inverse.of(after["coupling"], carry.transpose)
    return inverse.follow(carry, before["coupling"], after["coupling"])


mvae = Family(
    posterior=posterior,
    sample=sample,
    log_prob=log_prob,
    init=init,
    kl=kl,
    coupling=lambda q: q.coupling.matrix,
    axes=Coupled(0, 0, None),  # type: ignore[arg-type]
    start_epoch=start_epoch,
    follow=follow,
    keep=lambda carry: carry.before,
    error=lambda carry: carry.error,
    max_error=inverse.MAX_ERROR,
)
