"""Gaussian posteriors q(z|x) = N(loc, C diag(sigma^2) C^T) of one example, in pure jax.numpy.

C is one matrix for the whole data set, sigma belongs to the example. `coupling=None` is C = I,
the diagonal posterior of the VAE, and costs no d x d product. Everything is written for one
example; under `vmap` over examples with an unmapped coupling the determinant stays one per step.

All products with C run in full float32 precision: on accelerators the default would round C.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from mvae_jax.inverse import Inverse, log_abs_det


class Coupling(NamedTuple):
    """The global matrix C with log|det C|, computed once for all examples."""

    matrix: Float[Array, "d d"]
    log_abs_det: Float[Array, ""]


class Posterior(NamedTuple):
    """q(z|x) = N(loc, C diag(exp(log_variance)) C^T)."""

    loc: Float[Array, "*batch d"]
    log_variance: Float[Array, "*batch d"]
    coupling: Coupling | None = None


def couple(matrix: Float[Array, "d d"], inverse: Inverse | None = None) -> Coupling:
    """Returns C together with log|det C|: from its inverse if given, else by a factorisation."""
    if inverse is None:
        return Coupling(matrix, jnp.linalg.slogdet(matrix)[1])
    return Coupling(matrix, log_abs_det(matrix, inverse))


def from_heads(
    mean: Float[Array, " d"],
    log_variance: Float[Array, " d"],
    coupling: Coupling | None,
    couple_mean: bool,
) -> Posterior:
    """Returns the posterior of the encoder's two heads m(x) and log sigma^2(x) (Section IV.B).

    couple_mean: mu = C m(x), as in the released code and Sections I and II.c; without it
      mu = m(x), as in Eqs. 3 to 6.
    """
    if couple_mean:
        mean = _apply(coupling, mean)
    return Posterior(mean, log_variance, coupling)


def sample(posterior: Posterior, noise: Float[Array, " d"]) -> Float[Array, " d"]:
    """Returns z = loc + C (sigma * noise), with noise from N(0, I)."""
    scale = jnp.exp(0.5 * posterior.log_variance)
    return posterior.loc + _apply(posterior.coupling, scale * noise)


def covariance(posterior: Posterior) -> Float[Array, "d d"]:
    """Returns Sigma = C diag(sigma^2) C^T."""
    if posterior.coupling is None:
        return jnp.diag(jnp.exp(posterior.log_variance))
    matrix = posterior.coupling.matrix
    scaled = matrix * jnp.exp(posterior.log_variance)[None, :]
    return jnp.matmul(scaled, matrix.T, precision="highest")


def trace(posterior: Posterior) -> Float[Array, ""]:
    """Returns tr Sigma = sum_j ||c_j||^2 sigma_j^2, with c_j the columns of C."""
    variance = jnp.exp(posterior.log_variance)
    if posterior.coupling is None:
        return jnp.sum(variance)
    return jnp.sum(jnp.sum(posterior.coupling.matrix**2, axis=0) * variance)


def log_det(posterior: Posterior) -> Float[Array, ""]:
    """Returns log|Sigma| = 2 log|det C| + sum_j log sigma_j^2."""
    total = jnp.sum(posterior.log_variance)
    return total if posterior.coupling is None else total + 2 * posterior.coupling.log_abs_det


def kl_divergence(posterior: Posterior) -> Float[Array, ""]:
    """Returns KL(q(z|x) || N(0, I)) in nats: (tr Sigma + ||mu||^2 - d - log|Sigma|) / 2."""
    dim = posterior.loc.shape[-1]
    return 0.5 * (trace(posterior) + jnp.sum(posterior.loc**2) - dim - log_det(posterior))


def log_prob(posterior: Posterior, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Returns log q(z|x) in nats, with the whitened residual diag(sigma)^-1 C^-1 (z - mu)."""
    residual = z - posterior.loc
    if posterior.coupling is not None:
        residual = jnp.linalg.solve(posterior.coupling.matrix, residual)
    white = residual * jnp.exp(-0.5 * posterior.log_variance)
    dim = posterior.loc.shape[-1]
    return -0.5 * (jnp.sum(white**2) + dim * jnp.log(2 * jnp.pi) + log_det(posterior))


def _apply(coupling: Coupling | None, vector: Float[Array, " d"]) -> Float[Array, " d"]:
    """Returns C times the vector."""
    if coupling is None:
        return vector
    # This way round, a batch of vectors is multiplied without a transpose.
    return jnp.matmul(vector, coupling.matrix.T, precision="highest")
