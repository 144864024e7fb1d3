"""The evidence lower bound of one example, in nats."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax import likelihoods, model, posteriors
from mvae_jax.model import Decoded, Params


class ElboTerms(NamedTuple):
    """ELBO = log_likelihood - kl, in nats; the bound itself, so higher is better."""

    log_likelihood: Float[Array, "*batch"]
    kl: Float[Array, "*batch"]

    @property
    def elbo(self) -> Float[Array, "*batch"]:
        """The bound on log p(x)."""
        return self.log_likelihood - self.kl


def draw_noise(config: ConfigDict, key: Key[Array, ""], *batch: int) -> Float[Array, "*batch n"]:
    """Draw the family's noise from N(0, I).

    Of every family the first latent_size numbers are the same, so that families are paired.
    """
    family, d = posteriors.of(config), config.latent_size
    if not (extra := family.extra_noise(config)):
        return jax.random.normal(key, (*batch, d))
    shared = jax.random.normal(jax.random.clone(key), (*batch, d))
    more = jax.random.normal(jax.random.fold_in(key, 1), (*batch, extra))
    return jnp.concatenate([shared, more], axis=-1)


def elbo_terms(
    config: ConfigDict,
    params: Params,
    x: Float[Array, " pixels"],
    noise: Float[Array, " n"],
    carry: Any = None,
) -> tuple[ElboTerms, Decoded]:
    """Return the one-sample ELBO of one example, and p(x|z) at that sample.

    x:     scaled pixels
    noise: of `draw_noise`
    carry: what the family carries from step to step; None costs what it saves
    """
    family = posteriors.of(config)
    q = model.encode(config, params, x, carry)
    draw = family.sample(q, noise)
    p = model.decode(config, params, draw.z)
    return ElboTerms(log_likelihood(config, params, p, x), family.kl(q, draw)), p


def iwae_bound(
    config: ConfigDict,
    params: Params,
    x: Float[Array, " pixels"],
    key: Key[Array, ""],
    num_samples: int,
) -> Float[Array, ""]:
    """Return the importance-weighted bound L_K of one example, in nats (Burda et al. 2016, Eq. 8).

    L_K = log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x) with z_k of q(z|x). L_1 is a one-sample ELBO
    with a sampled KL; L_K grows with K, in expectation, towards log p(x). Samples are drawn one
    after the other, so the memory is that of one.
    """
    family = posteriors.of(config)
    q = model.encode(config, params, x)

    def add_sample(log_sum: Array, k: Array) -> tuple[Array, None]:
        draw = family.sample(q, draw_noise(config, jax.random.fold_in(key, k)))
        p = model.decode(config, params, draw.z)
        log_weight = log_likelihood(config, params, p, x) - draw.log_ratio
        return jnp.logaddexp(log_sum, log_weight), None

    log_sum, _ = jax.lax.scan(add_sample, jnp.array(-jnp.inf), jnp.arange(num_samples))
    return log_sum - jnp.log(num_samples)


def log_likelihood(
    config: ConfigDict, params: Params, p: Decoded, x: Float[Array, " pixels"]
) -> Float[Array, ""]:
    """Return log p(x|z) in nats, summed over pixels."""
    return likelihoods.of(config).log_prob(config, params, p.outputs, x)
