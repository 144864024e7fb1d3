"""Encoder, coupling and decoder, for one example; the only room that knows Flax.

VAE and MVAE are one network: the MVAE has one parameter array more, C, where the VAE has I.
Parameters are a nested dict of arrays. Initial values follow torch's `nn.Linear`: weights, biases
and C are U(-1/sqrt(fan_in), 1/sqrt(fan_in)); Flax derives each array's key from its path, so both
models start from the same weights at the same seed.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict

from mvae_jax import posterior
from mvae_jax.inverse import Inverse
from mvae_jax.posterior import Coupling, Posterior

Params = dict[str, Any]
COUPLED = {"mvae": True, "vae": False}  # whether each family learns a C


class Decoded(NamedTuple):
    """p(x|z): every pixel's mean is sigmoid(logits).

    variance: of a pixel under a Gaussian likelihood; None under a Bernoulli one.
    """

    logits: Float[Array, "*batch pixels"]
    variance: Float[Array, ""] | None

    @property
    def mean(self) -> Float[Array, "*batch pixels"]:
        """The mean image, in [0, 1]."""
        return nn.sigmoid(self.logits)


class Linear(nn.Module):
    """An affine layer with torch's default initialisation."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, " fan_in"]) -> Float[Array, " features"]:
        """Returns W x + b."""
        init = _uniform(x.shape[-1])
        return nn.Dense(self.features, kernel_init=init, bias_init=init)(x)


class Hidden(nn.Module):
    """The hidden layers that encoder and decoder share the shape of."""

    size: int
    num_layers: int
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " size"]:
        """Returns the last hidden layer's activations."""
        for layer in range(self.num_layers):
            x = getattr(nn, self.activation)(Linear(self.size, name=f"layer_{layer}")(x))
        return x


class Network(nn.Module):
    """The VAE, and with `coupled` the MVAE."""

    latent_size: int
    num_pixels: int
    hidden_size: int
    num_hidden_layers: int
    activation: str
    coupled: bool
    couple_mean: bool
    likelihood: str
    likelihood_variance: float | Float[Array, ""]

    def setup(self) -> None:
        """Creates the layers."""
        hidden = (self.hidden_size, self.num_hidden_layers, self.activation)
        self.encoder = Hidden(*hidden)
        self.mean = Linear(self.latent_size)
        self.log_variance = Linear(self.latent_size)
        if self.coupled:
            shape = (self.latent_size, self.latent_size)
            self.coupling = self.param("coupling", _uniform(self.latent_size), shape)
        self.decoder = Hidden(*hidden)
        self.pixels = Linear(self.num_pixels)
        if self.likelihood == "gaussian_learned":
            initial = nn.initializers.constant(np.log(self.likelihood_variance))
            self.likelihood_log_variance = self.param("likelihood_log_variance", initial, ())

    def encode(self, x: Float[Array, " pixels"], inverse: Inverse | None) -> Posterior:
        """Returns q(z|x)."""
        hidden = self.encoder(x)
        coupling = None
        if self.coupled:
            coupling = posterior.couple(coupling_matrix(self.coupling), inverse)
        return posterior.from_heads(
            self.mean(hidden), self.log_variance(hidden), coupling, self.couple_mean
        )

    def decode(self, z: Float[Array, " d"]) -> Decoded:
        """Returns p(x|z)."""
        variance = {
            "bernoulli": lambda: None,
            "gaussian": lambda: jnp.asarray(self.likelihood_variance, z.dtype),
            "gaussian_learned": lambda: jnp.exp(self.likelihood_log_variance),
        }[self.likelihood]()
        return Decoded(self.pixels(self.decoder(z)), variance)

    def __call__(self, x: Float[Array, " pixels"]) -> Decoded:
        """Touches every layer, for the initialisation."""
        return self.decode(self.encode(x, None).loc)


def init(config: ConfigDict, key: Key[Array, ""]) -> Params:
    """Returns fresh parameters."""
    x = jnp.zeros(np.prod(config.image_shape))
    return _network(config).init(key, x)["params"]


def encode(
    config: ConfigDict,
    params: Params,
    x: Float[Array, " pixels"],
    inverse: Inverse | None = None,
) -> Posterior:
    """Returns q(z|x) of one image, its pixels scaled and flat.

    inverse: that of C, where it is known; without it log|det C| costs a factorisation.
    """
    q: Any = _network(config).apply({"params": params}, x, inverse, method="encode")
    return q


def decode(config: ConfigDict, params: Params, z: Float[Array, " d"]) -> Decoded:
    """Returns p(x|z) of one latent vector."""
    p: Any = _network(config).apply({"params": params}, z, method="decode")
    return p


def coupling(params: Params) -> Coupling | None:
    """Returns C with log|det C|, or None for the VAE."""
    if "coupling" not in params:
        return None
    return posterior.couple(coupling_matrix(params["coupling"]))


def coupling_matrix(learned: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Returns C of the matrix that is learned: the same one, for a C that may be any."""
    return learned


def has_coupling(config: ConfigDict) -> bool:
    """Return whether the configuration's model learns a C; raise ValueError of another model."""
    if config.model not in COUPLED:
        raise ValueError(f"config.model: got {config.model!r}; allowed: {', '.join(COUPLED)}")
    return COUPLED[config.model]


def scale_pixels(config: ConfigDict, image: UInt8[Array, "*shape"]) -> Float[Array, " pixels"]:
    """Returns one image's bytes as the flat floats that the network reads."""
    return image.reshape(-1).astype(jnp.float32) * config.pixel_scale


def _network(config: ConfigDict) -> Network:
    return Network(
        latent_size=config.latent_size,
        num_pixels=int(np.prod(config.image_shape)),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        activation=config.activation,
        coupled=has_coupling(config),
        couple_mean=config.couple_mean,
        likelihood=config.likelihood,
        likelihood_variance=config.likelihood_variance,
    )


def _uniform(fan_in: int) -> nn.initializers.Initializer:
    """Returns the initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / np.sqrt(fan_in)

    def initialise(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialise
