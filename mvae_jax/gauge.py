"""The coupling as a gauge: a trained model as another one that has the same bound on every image.

C = Q L D, with Q orthogonal, L unit lower triangular and D diagonal and positive. N(0, I) does not
change under Q. So z' = Q^T z has the same KL, the decoder's first layer takes Q, and the encoder's
affine heads take the rest:

    z  = A m(x) + C (sigma(x) * eps)          with A = C (a coupled mean) or A = I
    z' = Q^T A m(x) + L (D sigma(x) * eps)

Every eps gives the same image as before. The same holds from any family whose C is global to
`triangular`, and from there to `mvae` of either kind.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import posteriors
from mvae_jax.model import Params
from mvae_jax.rules import ConfigError

GLOBAL = ("vae", "mvae", "triangular", "lu", "orthogonal", "frozen")  # whose C is one for all x
Matrix = Float[np.ndarray, "d d"]


def to_triangular(config: ConfigDict, params: Params) -> tuple[FrozenConfigDict, Params]:
    """Return the `triangular` model with the same bound on every image, and the same images.

    Raise ConfigError where the covariance is not that of one C for all images.
    """
    c, mean = _affine(config, params)
    rotation, lower = _ql(c)
    scales = np.diagonal(lower)
    new = _transform(params, rotation.T @ mean, scales, rotation)
    new["coupling"] = jnp.asarray(np.tril(lower / scales, -1), _type(params))
    return config_lib.replace(config, model="triangular", posterior=""), new


def to_mvae(
    config: ConfigDict, params: Params, couple_mean: bool
) -> tuple[FrozenConfigDict, Params]:
    """Return the `mvae` with the same bound on every image and the same z.

    couple_mean: whether its mean is to be C m(x); the mean head is then the former times C^-1

    Raise ConfigError where the covariance is not that of one C for all images.
    """
    c, mean = _affine(config, params)
    new = _transform(params, np.linalg.solve(c, mean) if couple_mean else mean, np.ones(len(c)))
    new["coupling"] = jnp.asarray(c, _type(params))
    return config_lib.replace(config, model="mvae", posterior="", couple_mean=couple_mean), new


def _affine(config: ConfigDict, params: Params) -> tuple[Matrix, Matrix]:
    """Return C and the A of mu = A m(x), in float64."""
    if config.model not in GLOBAL or config.posterior:
        raise ConfigError(
            f"config.model: got '{config.model}'; allowed: {', '.join(GLOBAL)}, because their C is "
            "the same for all images"
        )
    family = posteriors.of(config)

    def posterior(mean: Array) -> Any:
        heads = {"mean": mean, "log_variance": jnp.zeros_like(mean)}
        return family.posterior(config, params, heads, None)

    zero = jnp.zeros(config.latent_size, _type(params))
    mean = jax.jacobian(lambda m: family.embedding(posterior(m)))(zero)
    coupling = family.coupling(posterior(zero))
    c = np.eye(config.latent_size) if coupling is None else np.asarray(coupling, np.float64)
    return c, np.asarray(mean, np.float64)


def _ql(c: Matrix) -> tuple[Matrix, Matrix]:
    """Return C as an orthogonal matrix times a lower triangular one with a positive diagonal."""
    q, r = np.linalg.qr(c[:, ::-1])  # the QR decomposition from the last column to the first
    q, lower = q[:, ::-1], r[::-1, ::-1]
    signs = np.sign(np.diagonal(lower))
    return q * signs, signs[:, None] * lower


def _transform(
    params: Params, mean: Matrix, scales: Float[np.ndarray, " d"], rotation: Matrix | None = None
) -> Params:
    """Return the network with its heads times `mean` and `scales`, and the decoder of Q z'."""
    new = dict(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params))
    head, log_variance = new["mean"]["Dense_0"], new["log_variance"]["Dense_0"]
    new["mean"] = {"Dense_0": {"kernel": head["kernel"] @ mean.T, "bias": mean @ head["bias"]}}
    bias = log_variance["bias"] + 2 * np.log(scales)
    new["log_variance"] = {"Dense_0": {**log_variance, "bias": bias}}
    if rotation is not None:
        first = new["decoder"]["layer_0"]["Dense_0"]
        first = {"Dense_0": {**first, "kernel": rotation.T @ first["kernel"]}}
        new["decoder"] = {**new["decoder"], "layer_0": first}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, _type(params)), new)


def _type(params: Params) -> Any:
    return params["mean"]["Dense_0"]["bias"].dtype
