"""Encoder and decoder for one example; the only room that knows Flax.

The network of every family is the same but for the sizes of the encoder's heads, which are affine
in whatever the encoder gives. `config.encoder` and `config.decoder` name modules in place of the
hidden layers: the first is given an image [H, W, C] and returns any number of features, the second
is given z and returns the outputs of p(x|z), one for each pixel.

Parameters are a nested dict of arrays: the network's, and beside them the global ones of the family
and the likelihood. Initial weights and biases follow torch's `nn.Linear`: U(-1/sqrt(fan_in),
1/sqrt(fan_in)); Flax derives each array's key from its path, so all families start from the same
weights at the same seed.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict

from mvae_jax import config as config_lib
from mvae_jax import likelihoods, posteriors
from mvae_jax.escape import shown
from mvae_jax.records import load, said
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

    sizes: Sequence[int]
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " size"]:
        """Return the last hidden layer's activations."""
        for layer, size in enumerate(self.sizes):
            x = getattr(nn, self.activation)(Linear(size, name=f"layer_{layer}")(x))
        return x


class Network(nn.Module):
    """The encoder with a family's heads, and the decoder."""

    heads: Mapping[str, int]  # the size of each by name
    image_shape: tuple[int, ...]
    make_encoder: Callable[[], nn.Module]
    make_decoder: Callable[[], nn.Module]
    is_dense: tuple[bool, bool]  # whether encoder and decoder are hidden layers

    def setup(self) -> None:
        """Create the layers."""
        self.encoder = self.make_encoder()
        for name, size in self.heads.items():
            setattr(self, name, Linear(size))
        self.decoder = self.make_decoder()
        if self.is_dense[1]:
            self.pixels = Linear(math.prod(self.image_shape))

    def features(self, x: Float[Array, " pixels"]) -> Any:
        """Return what the encoder gives."""
        return self.encoder(x if self.is_dense[0] else x.reshape(self.image_shape))

    def outputs(self, z: Float[Array, " d"]) -> Any:
        """Return what the decoder gives."""
        return self.pixels(self.decoder(z)) if self.is_dense[1] else self.decoder(z)

    def encode(self, x: Float[Array, " pixels"]) -> posteriors.Heads:
        """Return the heads of q(z|x)."""
        features = self.features(x).reshape(-1)
        return {name: getattr(self, name)(features) for name in self.heads}

    def decode(self, z: Float[Array, " d"]) -> Float[Array, " pixels"]:
        """Return the outputs of p(x|z)."""
        return self.outputs(z).reshape(-1)

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


def check(config: ConfigDict) -> None:
    """Raise ConfigError where a module that the configuration names cannot be trained.

    It is applied to a random image, or a random z, which takes a moment. Where the image's
    shape is not known yet, it is only looked for.
    """
    for field in ("encoder", "decoder"):
        if config[field]:
            found, given = _named(config, field)
            if config.image_shape is not None:
                _try(config, field, found, given)


def _try(config: ConfigDict, field: str, found: type[nn.Module], given: dict[str, Any]) -> None:
    """Raise ConfigError where a module fails, or does not give what it should."""
    got, shape = f"config.{field}: got {shown(config[field])}", tuple(config.image_shape)
    x = jax.random.uniform(jax.random.key(0), shape if field == "encoder" else config.latent_size)
    try:
        gives, variables = jax.jit(found(**given).init_with_output)(jax.random.key(0), x)
    except Exception as error:  # a user's module may raise any
        raise ConfigError(f"{got}, which fails on {_form(x)}: {said(error)}") from error
    if extra := sorted(variables.keys() - {"params", "intermediates"}):
        raise ConfigError(
            f"{got}, which keeps {', '.join(extra)}; allowed: parameters alone, because each image "
            "is seen alone (GroupNorm or LayerNorm, say, in place of BatchNorm)"
        )
    allowed = f"float32{list(shape)}, an output for each pixel"
    fits = isinstance(gives, jax.Array) and gives.dtype == jnp.float32
    if field == "encoder":
        allowed, fits = "an array of float32, of any shape", fits and gives.size > 0
    else:
        fits = fits and gives.shape in (shape, (math.prod(shape),))
    if not fits:
        raise ConfigError(f"{got}, which gives {_form(gives)}; allowed: {allowed}")
    if not jnp.isfinite(gives).all():
        raise ConfigError(f"{got}, which gives NaN or infinity at its initial parameters")


def _form(value: Any) -> str:
    is_array = isinstance(value, jax.Array)
    return f"{value.dtype}{list(value.shape)}" if is_array else f"a {type(value).__name__}"


def _named(config: ConfigDict, field: str) -> tuple[type[nn.Module], dict[str, Any]]:
    """Return the class that a field names, and what it is made with; raise ConfigError.

    Where its class has a field `image_shape`, that is [H, W, C] of the data.
    """
    got, found = (
        f"config.{field}: got {shown(config[field])}",
        load(f"config.{field}", config[field]),
    )
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        kind = f"of the class {type(found).__name__}"
        raise ConfigError(f"{got}, {kind}; allowed: a class that is a flax.linen.Module")
    fields = [
        f.name for f in dataclasses.fields(found) if f.init and f.name not in ("parent", "name")
    ]
    given = config[f"{field}_args"].to_dict()
    if unknown := sorted(given.keys() - fields):
        raise ConfigError(
            f"config.{field}_args.{unknown[0]}: {config[field]} has no such field; allowed: "
            f"{', '.join(fields) or 'none'}"
        )
    if "image_shape" in fields and config.image_shape is not None:
        given.setdefault("image_shape", tuple(config.image_shape))
    return found, given


def _network(config: ConfigDict) -> Network:
    def make(field: str, sizes: Sequence[int]) -> Callable[[], nn.Module]:
        if config[field]:
            found, given = _named(config, field)
            return partial(found, **given)
        return partial(Hidden, sizes, config.activation)

    sizes = config_lib.hidden_sizes(config)
    return Network(
        heads=posteriors.of(config).heads(config),
        image_shape=tuple(config.image_shape),
        make_encoder=make("encoder", sizes),
        make_decoder=make("decoder", sizes[::-1]),
        is_dense=(not config.encoder, not config.decoder),
    )


def _uniform(fan_in: int) -> nn.initializers.Initializer:
    """Return the initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / np.sqrt(fan_in)

    def initialise(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialise
