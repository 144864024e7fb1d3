"""A convolutional encoder and decoder, for `config.encoder` and `config.decoder`.

    --config.encoder=mvae_jax.networks.ConvEncoder --config.decoder=mvae_jax.networks.ConvDecoder

Each layer halves or doubles height and width, rounded up; what is too much in the end is cut off.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Float

KERNEL, STRIDE = (3, 3), (2, 2)


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, each with a GELU, flattened, and an affine layer with another."""

    channels: Sequence[int] = (32, 64)
    features: int = 256

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, " features"]:
        """Return the features of an image, its pixels scaled."""
        for channels in self.channels:
            x = nn.gelu(nn.Conv(channels, KERNEL, STRIDE)(x))
        return nn.gelu(nn.Dense(self.features)(x.reshape(-1)))


class ConvDecoder(nn.Module):
    """The encoder's mirror image: affine layers, then transposed convolutions of stride 2.

    image_shape: [H, W, C] of what it returns, which the run fills in
    """

    image_shape: tuple[int, int, int]
    channels: Sequence[int] = (64, 32)
    features: int = 256

    @nn.compact
    def __call__(self, z: Float[Array, " d"]) -> Float[Array, "h w c"]:
        """Return the outputs of p(x|z), one for each pixel."""
        height, width, outputs = self.image_shape
        factor = STRIDE[0] ** len(self.channels)
        small = (math.ceil(height / factor), math.ceil(width / factor), self.channels[0])
        x = nn.gelu(nn.Dense(self.features)(z))
        x = nn.gelu(nn.Dense(math.prod(small))(x)).reshape(small)
        for channels in self.channels[1:]:
            x = nn.gelu(nn.ConvTranspose(channels, KERNEL, STRIDE)(x))
        return nn.ConvTranspose(outputs, KERNEL, STRIDE)(x)[:height, :width]
