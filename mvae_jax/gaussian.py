"""What Gaussian posteriors N(mu, Sigma) share: all follows from mu, tr Sigma and log|Sigma|."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def log_ratio(
    z: Float[Array, " d"], noise: Float[Array, " d"], log_det: Float[Array, ""]
) -> Float[Array, ""]:
    """Return log q(z|x) - log N(z; 0, I) in nats, of a z that was made of noise from N(0, I).

    It is (||z||^2 - ||noise||^2 - log|Sigma|) / 2, which needs no solve.
    """
    return 0.5 * (jnp.sum(z**2) - jnp.sum(noise**2) - log_det)


def kl(
    loc: Float[Array, " d"], trace: Float[Array, ""], log_det: Float[Array, ""]
) -> Float[Array, ""]:
    """Return KL(q(z|x) || N(0, I)) in nats: (tr Sigma + ||mu||^2 - d - log|Sigma|) / 2."""
    return 0.5 * (trace + jnp.sum(loc**2) - loc.shape[-1] - log_det)


def log_prob(white: Float[Array, " d"], log_det: Float[Array, ""]) -> Float[Array, ""]:
    """Return log q(z|x) in nats from the whitened residual, Sigma^(-1/2) (z - mu)."""
    return -0.5 * (jnp.sum(white**2) + len(white) * jnp.log(2 * jnp.pi) + log_det)
