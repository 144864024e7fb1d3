"""A control: z = mu + Q (sigma * eps) with Q orthogonal and trained, which adds nothing to a VAE.

N(0, I) does not change under Q, so that the decoder's first layer absorbs it. Q = exp(A - A^T); the
exponential is a fixed number of products, since a step on an accelerator is to have no loop.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax.posteriors import Family, Heads, Parameters, mvae
from mvae_jax.posteriors.mvae import Coupled, Coupling

SQUARINGS = 5  # of the exponential of a 32nd, which the terms below give to float32's accuracy
TERMS = 8  # while the matrix' spectral norm is below 32: a random start has 1.6


def matrix(weights: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return exp(A - A^T), orthogonal, by scaling and squaring (Higham 2005) of a Taylor series."""
    identity = jnp.eye(len(weights), dtype=weights.dtype)
    skew = (weights - weights.T) / 2**SQUARINGS
    result = identity
    for k in range(TERMS, 0, -1):
        result = identity + jnp.matmul(skew, result, precision="highest") / k
    for _ in range(SQUARINGS):
        result = jnp.matmul(result, result, precision="highest")
    return result


def posterior(
    _config: ConfigDict, parameters: Parameters, heads: Heads, _carry: Any = None
) -> Coupled:
    """Return q(z|x) of the encoder's two heads, mu(x) and log sigma^2(x)."""
    coupling = Coupling(matrix(parameters["coupling"]), jnp.zeros(()))
    return Coupled(heads["mean"], heads["log_variance"], coupling)


orthogonal = Family(
    posterior=posterior,
    sample=mvae.sample,
    log_prob=mvae.log_prob,
    init=mvae.init,
    kl=mvae.kl,
    coupling=lambda q: q.coupling.matrix,
    axes=mvae.mvae.axes,
)
