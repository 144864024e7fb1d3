"""A competitor: the Householder flow (Tomczak and Welling, 2016), a rotation for each example.

z_t = (I - 2 v_t v_t^T / ||v_t||^2) z_(t-1) with z_0 = mu + sigma * eps. v_1 is a head of the
encoder's, and v_(t+1) = A_t v_t + b_t. Reflections keep lengths, so that KL and log|Sigma| are the
diagonal Gaussian's, and the posterior is a Gaussian of full covariance.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax.posteriors import Draw, Family, Heads, Parameters, vae
from mvae_jax.posteriors.vae import Diagonal


class Reflected(NamedTuple):
    """q(z|x): the diagonal Gaussian of z_0, and the reflections' unit vectors in their order."""

    start: Diagonal
    vectors: Float[Array, "*batch t d"]


def reflect(q: Reflected, z: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return z_T of z_0."""
    for vector in q.vectors:
        z = z - 2 * vector * (vector @ z)
    return z


def sample(q: Reflected, noise: Float[Array, " d"]) -> Draw:
    """Draw z_T, whose length is that of z_0."""
    draw = vae.sample(q.start, noise)
    return draw._replace(z=reflect(q, draw.z))


def log_prob(q: Reflected, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Return log q(z|x) in nats, that of z_0: a reflection is its own inverse."""
    return vae.log_prob(q.start, reflect(q._replace(vectors=q.vectors[::-1]), z))


def of_length(number: int) -> Family:
    """Return the family of so many reflections."""

    def heads(config: ConfigDict) -> dict[str, int]:
        d = config.latent_size
        return {"mean": d, "log_variance": d, "vector": d}

    def init(key: Key[Array, ""], config: ConfigDict) -> dict[str, Array]:
        """Return A_t and b_t, in one array each, of torch's `nn.Linear`."""
        d, bound = config.latent_size, 1 / np.sqrt(config.latent_size)
        shapes = {"reflection_kernel": (number - 1, d, d), "reflection_bias": (number - 1, d)}
        keys = jax.random.split(key, len(shapes))
        return {
            name: jax.random.uniform(k, shape, jnp.float32, -bound, bound)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def posterior(
        _config: ConfigDict, parameters: Parameters, heads: Heads, _carry: Any
    ) -> Reflected:
        vectors = [heads["vector"]]
        for t in range(number - 1):
            kernel, bias = (
                parameters[name][t] for name in ("reflection_kernel", "reflection_bias")
            )
            vectors.append(kernel @ vectors[-1] + bias)
        units = jnp.stack([v / jnp.linalg.norm(v) for v in vectors])
        return Reflected(Diagonal(heads["mean"], heads["log_variance"]), units)

    return Family(
        posterior,
        sample,
        log_prob,
        heads=heads,
        init=init if number > 1 else lambda key, config: {},
        kl=lambda q, draw: vae.kl(q.start),
        embedding=lambda q: reflect(q, q.start.loc),
    )


householder_1, householder_10 = of_length(1), of_length(10)
