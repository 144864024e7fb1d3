"""Encoder and decoder for one example; the only room that knows Flax.

The network of every family is the same but for the sizes of the encoder's heads. Parameters are a
nested dict of arrays: the network's, and beside them the global ones of the family and the
likelihood. Initial weights and biases follow torch's `nn.Linear`: U(-1/sqrt(fan_in),
1/sqrt(fan_in)); Flax derives each array's key from its path, so all families start from the same
weights at the same seed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict

from mvae_jax import likelihoods, posteriors
from mvae_jax.rules import ConfigError

Params = dict[str, Any]


class Decoded(NamedTuple):
    """p(x|z): the decoder's outputs, one per pixel, and the mean image in [0, 1]."""

    outputs: Float[Array, "*batch pixels"]
    mean: Float[Array, "*batch pixels"]


class Linear(nn.Module):
    """An affine layer with torch's default initialisation."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, " fan_in"]) -> Float[Array, " features"]:
        """Return W x + b."""
        init = _uniform(x.shape[-1])
        return nn.Dense(self.features, kernel_init=init, bias_init=init)(x)


class Hidden(nn.Module):
    """The hidden layers that encoder and decoder share the shape of."""

    size: int
    num_layers: int
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " size"]:
        """Return the last hidden layer's activations."""
        for layer in range(self.num_layers):
            x = getattr(nn, self.activation)(Linear(self.size, name=f"layer_{layer}")(x))
        return x


class Network(nn.Module):
    """The encoder with a family's heads, and the decoder."""

    heads: Mapping[str, int]  # the size of each by name
    num_pixels: int
    hidden_size: int
    num_hidden_layers: int
    activation: str

    def setup(self) -> None:
        """Create the layers."""
        hidden = (self.hidden_size, self.num_hidden_layers, self.activation)
        self.encoder = Hidden(*hidden)
        for name, size in self.heads.items():
            setattr(self, name, Linear(size))
        self.decoder = Hidden(*hidden)
        self.pixels = Linear(self.num_pixels)

    def encode(self, x: Float[Array, " pixels"]) -> posteriors.Heads:
        """Return the heads of q(z|x)."""
        hidden = self.encoder(x)
        return {name: getattr(self, name)(hidden) for name in self.heads}

    def decode(self, z: Float[Array, " d"]) -> Float[Array, " pixels"]:
        """Return the outputs of p(x|z)."""
        return self.pixels(self.decoder(z))

    def global_key(self) -> Key[Array, ""]:
        """Return the key of what is beside the network."""
        return self.make_rng("params")

    def __call__(self, x: Float[Array, " pixels"], z: Float[Array, " d"]) -> Any:
        """Touch every layer, for the initialisation."""
        return self.encode(x), self.decode(z)


def init(config: ConfigDict, key: Key[Array, ""]) -> Params:
    """Return fresh parameters; raise ConfigError where a name is given twice."""
    network, family = _network(config), posteriors.of(config)
    x, z = jnp.zeros(np.prod(config.image_shape)), jnp.zeros(config.latent_size)
    global_key: Any = network.apply({}, rngs={"params": key}, method="global_key")
    params: Params = {}
    for more in (
        network.init(key, x, z)["params"],
        family.init(global_key, config),
        likelihoods.of(config).init(config),
    ):
        if twice := params.keys() & more.keys():
            raise ConfigError(f"parameters: {', '.join(sorted(twice))} given twice; rename them")
        params |= more
    return params


def encode(
    config: ConfigDict, params: Params, x: Float[Array, " pixels"], carry: Any = None
) -> Any:
    """Return q(z|x) of one image, its pixels scaled and flat.

    carry: what the family carries from step to step, where it is known
    """
    heads: Any = _network(config).apply({"params": params}, x, method="encode")
    return posteriors.of(config).posterior(config, params, heads, carry)


def decode(config: ConfigDict, params: Params, z: Float[Array, " d"]) -> Decoded:
    """Return p(x|z) of one latent vector."""
    outputs: Any = _network(config).apply({"params": params}, z, method="decode")
    return Decoded(outputs, likelihoods.of(config).mean(outputs))


def scale_pixels(config: ConfigDict, image: UInt8[Array, "*shape"]) -> Float[Array, " pixels"]:
    """Return one image's bytes as the flat floats that the network reads."""
    return image.reshape(-1).astype(jnp.float32) * config.pixel_scale


def _network(config: ConfigDict) -> Network:
    return Network(
        heads=posteriors.of(config).heads(config),
        num_pixels=int(np.prod(config.image_shape)),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        activation=config.activation,
    )


def _uniform(fan_in: int) -> nn.initializers.Initializer:
    """Return the initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / np.sqrt(fan_in)

    def initialise(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialise
