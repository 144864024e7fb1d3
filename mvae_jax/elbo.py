"""The evidence lower bound of one example, in nats, and the likelihoods it is made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax import model, posterior
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
    config: ConfigDict, params: Params, x: Float[Array, " pixels"], noise: Float[Array, " d"]
) -> tuple[ElboTerms, Decoded]:
    """Returns the one-sample ELBO of one example, and p(x|z) at that sample.

    x: scaled pixels; noise: a draw from N(0, I), which becomes z = mu + C (sigma * noise).
    """
    q = model.encode(config, params, x)
    p = model.decode(config, params, posterior.sample(q, noise))
    return ElboTerms(log_likelihood(p, x), posterior.kl_divergence(q)), p


def log_likelihood(p: Decoded, x: Float[Array, " pixels"]) -> Float[Array, ""]:
    """Returns log p(x|z) in nats, summed over pixels.

    Bernoulli: the negative binary cross-entropy of pixels in [0, 1] (not a normalised density
    between 0 and 1, so it is comparable with other Bernoulli ELBOs only). Gaussian: a density.
    """
    if p.variance is None:
        return jnp.sum(x * p.logits - jax.nn.softplus(p.logits))
    squared_error = jnp.sum((x - p.mean) ** 2)
    return -0.5 * (squared_error / p.variance + x.size * jnp.log(2 * jnp.pi * p.variance))
