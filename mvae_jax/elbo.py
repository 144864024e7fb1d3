"""The evidence lower bound of one example, in nats, and the likelihoods it is made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax import model, posterior
from mvae_jax.inverse import Inverse
from mvae_jax.model import Decoded, Params


class ElboTerms(NamedTuple):
    """ELBO = log_likelihood - kl, in nats; the bound itself, so higher is better."""

    log_likelihood: Float[Array, "*batch"]
    kl: Float[Array, "*batch"]

    @property
    def elbo(self) -> Float[Array, "*batch"]:
        """The bound on log p(x)."""
        return self.log_likelihood - self.kl


def elbo_terms(
    config: ConfigDict,
    params: Params,
    x: Float[Array, " pixels"],
    noise: Float[Array, " d"],
    inverse: Inverse | None = None,
) -> tuple[ElboTerms, Decoded]:
    """Returns the one-sample ELBO of one example, and p(x|z) at that sample.

    x: scaled pixels; noise: a draw from N(0, I), which becomes z = mu + C (sigma * noise).
    inverse: that of C, where it is known; without it log|det C| costs a factorisation.
    """
    q = model.encode(config, params, x, inverse)
    p = model.decode(config, params, posterior.sample(q, noise))
    return ElboTerms(log_likelihood(p, x), posterior.kl_divergence(q)), p


def iwae_bound(
    config: ConfigDict,
    params: Params,
    x: Float[Array, " pixels"],
    key: Key[Array, ""],
    num_samples: int,
) -> Float[Array, ""]:
    """Returns the importance-weighted bound L_K of one example, in nats (Burda et al. 2016, Eq. 8).

    L_K = log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x) with z_k = mu + C (sigma * eps_k). L_1 is a
    one-sample ELBO with a sampled KL; L_K grows with K, in expectation, towards log p(x).

    The weights need no solve and one determinant: log p(z) - log q(z|x) =
    (||eps||^2 - ||z||^2 + log|Sigma|) / 2. Samples are drawn one after the other, so the memory
    is that of one.
    """
    q = model.encode(config, params, x)
    log_det = posterior.log_det(q)

    def add_sample(log_sum: Array, k: Array) -> tuple[Array, None]:
        noise = jax.random.normal(jax.random.fold_in(key, k), q.loc.shape)
        z = posterior.sample(q, noise)
        log_prior_ratio = 0.5 * (jnp.sum(noise**2) - jnp.sum(z**2) + log_det)
        log_weight = log_likelihood(model.decode(config, params, z), x) + log_prior_ratio
        return jnp.logaddexp(log_sum, log_weight), None

    log_sum, _ = jax.lax.scan(add_sample, jnp.array(-jnp.inf), jnp.arange(num_samples))
    return log_sum - jnp.log(num_samples)


def log_likelihood(p: Decoded, x: Float[Array, " pixels"]) -> Float[Array, ""]:
    """Returns log p(x|z) in nats, summed over pixels.

    Bernoulli: the negative binary cross-entropy of pixels in [0, 1] (not a normalised density
    between 0 and 1, so it is comparable with other Bernoulli ELBOs only). Gaussian: a density.
    """
    if p.variance is None:
        return jnp.sum(x * p.logits - jax.nn.softplus(p.logits))
    squared_error = jnp.sum((x - p.mean) ** 2)
    return -0.5 * (squared_error / p.variance + x.size * jnp.log(2 * jnp.pi * p.variance))
