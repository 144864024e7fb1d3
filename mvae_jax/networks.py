"""A convolutional encoder and decoder, for `config.encoder` and `config.decoder`.

    --config.encoder=mvae_jax.networks.ConvEncoder --config.decoder=mvae_jax.networks.ConvDecoder

Each layer halves or doubles height and width, rounded up; what is too much in the end is cut off.

A convolution is an affine layer on patches, and not XLA's own: over seeds that would be a grouped
convolution, and inside a scan on a CPU a step was measured 10 times as slow.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Conv(nn.Module):
    """A convolution with a kernel of 3 x 3 and a margin of one pixel of zeros."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 features"]:
        """Return [H / stride, W / stride, features], sizes rounded up."""
        height, width = (n * self.stride for n in _sizes(x.shape[:2], self.stride))
        x = jnp.pad(x, ((1, 1 + height - x.shape[0]), (1, 1 + width - x.shape[1]), (0, 0)))
        rows, columns = (
            [slice(first, first + size, self.stride) for first in range(3)]
            for size in (height, width)
        )
        patches = [x[row, column] for row in rows for column in columns]
        return nn.Dense(self.features)(jnp.concatenate(patches, axis=-1))


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, each with a GELU, flattened, and an affine layer with another."""

    channels: Sequence[int] = (32, 64)
    features: int = 256

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, " features"]:
        """Return the features of an image, its pixels scaled."""
        for channels in self.channels:
            x = nn.gelu(Conv(channels, stride=2)(x))
        return nn.gelu(nn.Dense(self.features)(x.reshape(-1)))


class ConvDecoder(nn.Module):
    """Affine layers, then convolutions whose outputs are the pixels of squares of 2 x 2.

    image_shape: [H, W, C] of what it returns, which the run fills in
    """

    image_shape: tuple[int, int, int]
    channels: Sequence[int] = (64, 32)
    features: int = 256

    @nn.compact
    def __call__(self, z: Float[Array, " d"]) -> Float[Array, "h w c"]:
        """Return the outputs of p(x|z), one for each pixel."""
        height, width, outputs = self.image_shape
        small = (*_sizes((height, width), 2 ** len(self.channels)), self.channels[0])
        x = nn.gelu(nn.Dense(self.features)(z))
        x = nn.gelu(nn.Dense(math.prod(small))(x)).reshape(small)
        for channels in self.channels[1:]:
            x = nn.gelu(_double(Conv(4 * channels)(x)))
        return _double(Conv(4 * outputs)(x))[:height, :width]


def _double(x: Float[Array, "h w c4"]) -> Float[Array, "h2 w2 c"]:
    """Return [2 H, 2 W, C] of [H, W, 4 C]: each pixel's channels as a square of 2 x 2."""
    height, width, channels = x.shape
    x = x.reshape(height, width, 2, 2, channels // 4).swapaxes(1, 2)
    return x.reshape(2 * height, 2 * width, channels // 4)


def _sizes(shape: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(math.ceil(size / factor) for size in shape)
