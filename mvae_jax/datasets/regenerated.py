"""The MNIST variants of Larochelle et al. (ICML 2007), made again from MNIST.

The factors of variation are the published ones (Section III of the MVAE paper), the digits are
MNIST's first 62,000, and the random draws are ours: a twin of the original data set, not a copy.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mvae_jax.datasets import mnist, photographs
from mvae_jax.datasets.files import Inputs
from mvae_jax.datasets.parsed import Parsed

# The splits' generator is seeded with 777: another seed keeps the draws apart from the split.
SEED = 2007

Images = UInt8[np.ndarray, "n 28 28"]


def make_rotated(inputs: Inputs, scratch: Path) -> Parsed:
    """Return every digit turned by an angle of its own, uniform over a full turn."""
    return _vary(rotate, inputs, scratch)


def make_background_random(inputs: Inputs, scratch: Path) -> Parsed:
    """Return the larger of digit and uniform noise, pixel by pixel."""
    return _vary(add_noise, inputs, scratch)


def make_background_images(inputs: Inputs, scratch: Path) -> Parsed:
    """Return the larger of digit and a patch of a natural photograph, pixel by pixel."""
    pictures = photographs.read(inputs)
    facts = {"photographs": len(pictures), "photographs_digest": photographs.digest(inputs)}
    return _vary(partial(add_patches, pictures=pictures), inputs, scratch, **facts)


def _vary(vary: Callable[..., Images], inputs: Inputs, scratch: Path, **facts: Any) -> Parsed:
    basic = mnist.make_basic(inputs, scratch)
    images = vary(basic.images[..., 0], np.random.default_rng(SEED))
    provenance = {**basic.provenance, "generator_seed": SEED, **facts}
    return Parsed(images[..., None], basic.labels, 1 / 255, provenance)


def rotate(digits: Images, rng: np.random.Generator) -> Images:
    """Turn each digit counter-clockwise about the image's centre, interpolating bilinearly."""
    from scipy.ndimage import affine_transform  # a third of a second that only this set needs

    angles = rng.uniform(0, 2 * np.pi, len(digits))
    centre = (np.array(digits.shape[1:]) - 1) / 2
    turned = np.empty_like(digits)
    for digit, angle, target in zip(digits, angles, turned, strict=True):
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        # Output pixel p shows the input at turn (p - centre) + centre.
        values = affine_transform(digit, turn, centre - turn @ centre, output=np.float64, order=1)
        np.rint(values, out=target, casting="unsafe")
    return turned


def add_noise(digits: Images, rng: np.random.Generator) -> Images:
    """Put each digit on noise that is uniform over the 256 grey levels."""
    return np.maximum(digits, rng.integers(256, size=digits.shape, dtype=np.uint8))


def add_patches(
    digits: Images, rng: np.random.Generator, pictures: list[photographs.Photograph]
) -> Images:
    """Put each digit on a textured patch of a random photograph."""
    return np.maximum(digits, photographs.patches(pictures, len(digits), rng))
