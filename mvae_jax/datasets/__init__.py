"""Data sets by name: uint8 images, labels, splits and the pixel scale.

`load` is the room's only door. A family of files has a module of its own that reads it
(`digits`, `mnist`); `splits` holds the protocols.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, UInt8

from mvae_jax.datasets import digits, mnist, splits
from mvae_jax.datasets.errors import DataError

__all__ = ["DataError", "Dataset", "load"]


class Dataset(NamedTuple):
    """Images of one data set with the split of one protocol.

    images:      uint8 [N, H, W, C], in the original order
    labels:      int32 [N], or None where the data set has none
    pixel_scale: a pixel's value in the model is its byte times this
    splits:      `train`, `test` and, in the paper protocol, `valid`: int64 indices into N
    """

    name: str
    source: str
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"] | None
    pixel_scale: float
    splits: dict[str, Int[np.ndarray, " _"]]


LOADERS: dict[str, Callable[[Path | None], tuple[np.ndarray, np.ndarray, float]]] = {
    "digits": digits.read,
    "mnist_basic": mnist.read_basic,
}


def load(
    name: str, protocol: str = "release", source: str = "", data_dir: Path | None = None
) -> Dataset:
    """Loads a data set and splits it.

    Raises:
      DataError: the name or source is unknown, or the files are missing or damaged.
    """
    if name not in LOADERS:
        raise DataError(f"dataset: got '{name}'; allowed: {', '.join(LOADERS)}")
    images, labels, pixel_scale = LOADERS[name](data_dir)
    fractions = {"test": 0.2, "valid": 0.0 if protocol == "release" else 0.1}
    return Dataset(
        name, source, images, labels, pixel_scale, splits.stratified(labels, **fractions)
    )
