"""MNIST and Fashion-MNIST: four gzipped idx files each, 70,000 images of 28 x 28 grey pixels."""

import gzip
import math
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from mvae_jax.datasets import cache, files
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import Inputs
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.store.files import open_binary

MAX_BYTES = 1 << 28  # of an unpacked file; MNIST's largest has 47 MB
# MNIST Basic and its variants: the number of images that the ICML 2007 files hold.
BASIC_SIZE = 62_000


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped idx file of unsigned bytes, of any rank; raise DataError."""
    try:
        with open_binary(path) as file, gzip.GzipFile(fileobj=file) as unpacked:
            data = unpacked.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as a gzip file ({error})") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES:,} bytes")
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: not an idx file of unsigned bytes (it begins {data[:4]!r})")
    header = 4 + 4 * data[3]
    shape = tuple(map(int, np.frombuffer(data, ">u4", count=data[3], offset=4)))
    if len(data) - header != math.prod(shape):
        raise DataError(
            f"{path}: {len(data) - header:,} bytes of values where its header says "
            f"{' x '.join(map(str, shape))}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def make_basic(inputs: Inputs, _scratch: Path) -> Parsed:
    """Return MNIST's first 62,000 images in original order, as MNIST Basic has them.

    Its pixels are v/256: only so does the released ELBO come out.
    """
    mnist = cache.load_or_make("mnist", partial(make, "mnist", inputs))
    assert mnist.labels is not None
    return Parsed(mnist.images[:BASIC_SIZE], mnist.labels[:BASIC_SIZE], 1 / 256, mnist.provenance)


def make(dataset: str, inputs: Inputs, scratch: Path) -> Parsed:
    """Return `mnist` or `fashion_mnist`: 70,000 images, training images first."""
    published = files.registered(dataset)
    parts = {}
    for kind in ("images-idx3", "labels-idx1"):
        names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k")]
        paths = [files.obtain(published[name], dataset, inputs, scratch) for name in names]
        parts[kind] = np.concatenate([read_idx(path) for path in paths])
    return Parsed(
        images=parts["images-idx3"][..., None],
        labels=parts["labels-idx1"].astype(np.int32),
        pixel_scale=1 / 255,
        provenance={"files": [file.url for file in published.values()]},
    )
