"""MNIST's four idx files, and MNIST Basic made from them."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from mvae_jax.datasets.errors import DataError

BASIC_SIZE = 62_000


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped idx file of unsigned bytes, of any rank; raises DataError."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as a gzip file ({error})") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: not an idx file of unsigned bytes (it begins {data[:4]!r})")
    header = 4 + 4 * data[3]
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4).astype(np.int64)
    if len(data) - header != np.prod(shape):
        raise DataError(
            f"{path}: {len(data) - header:,} bytes of values where its header says "
            f"{' x '.join(map(str, shape))}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 images [70000, 28, 28, 1] and int32 labels, training images first."""
    names = ("train-{}-ubyte.gz", "t10k-{}-ubyte.gz")
    images = np.concatenate([read_idx(folder / n.format("images-idx3")) for n in names])
    labels = np.concatenate([read_idx(folder / n.format("labels-idx1")) for n in names])
    return images[..., None], labels.astype(np.int32)


def read_basic(data_dir: Path | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns MNIST Basic: MNIST's first 62,000 images in original order, pixels at 1/256."""
    if data_dir is None or not (data_dir / "mnist").is_dir():
        raise DataError(
            "dataset mnist_basic: no files; pass --data_dir=DIR with MNIST's four .gz files "
            "in DIR/mnist"
        )
    images, labels = read(data_dir / "mnist")
    return images[:BASIC_SIZE], labels[:BASIC_SIZE], 1 / 256
