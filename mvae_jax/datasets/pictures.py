"""Images in files, in bytes or of Pillow, as uint8 arrays of one size."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mvae_jax.datasets.errors import DataError

MODES = ("1", "L", "RGB")  # of Pillow: black and white, grey, colour


def decode(where: object, stream: Any) -> UInt8[np.ndarray, "h w c"]:
    """Return the pixels of an encoded image; raise DataError where it is none, or not of 8 bits.

    stream: an open binary file
    """
    from PIL import Image

    try:
        with Image.open(stream) as image:
            return pixels(where, image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        said = " ".join(str(error).split())
        raise DataError(f"{where}: not readable as an image ({said}); replace it") from error


def pixels(where: object, image: Any) -> UInt8[np.ndarray, "h w c"]:
    """Return the pixels of a Pillow image; raise DataError where they are not of 8 bits."""
    if image.mode not in MODES:
        raise DataError(
            f"{where}: has Pillow's mode {image.mode}; allowed: L (grey) or RGB with 8 bits for "
            "each channel, as image.convert('RGB') makes it"
        )
    found = np.asarray(image.convert("L") if image.mode == "1" else image, np.uint8)
    return found if found.ndim == 3 else found[..., None]


def stack(images: Iterable[tuple[object, np.ndarray]]) -> UInt8[np.ndarray, "n h w c"]:
    """Return images of one size as one array; raise DataError where one has another.

    images: each with where it is, for the message
    """
    found: list[np.ndarray] = []
    first: object = None
    for where, image in images:
        if not found:
            first = where
        elif image.shape != found[0].shape:
            raise DataError(
                f"{where}: has {_size(image)}, but {first} has {_size(found[0])}; allowed: one "
                "size, and all grey or all RGB"
            )
        found.append(image)
    if not found:
        raise DataError("images: got none; allowed: at least one")
    return np.stack(found)


def _size(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{height} x {width} pixels of {channels} channel{'s' if channels > 1 else ''}"
