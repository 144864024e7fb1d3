"""FreyFace: 1,965 video frames of one face, 28 x 20 grey pixels, without labels."""

import struct
from pathlib import Path

import numpy as np

from mvae_jax.datasets import files
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import File, Inputs
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.store.files import read_bytes

MAT = File(
    url="https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
    digest="265a83a23adb081755cd3de375509828e690324d1d60f076b8ecebc840d59c64",
)
MAX_BYTES = 1 << 24
# After a text of 124 bytes: the version; then type and size of the matrix, of its flags (whose
# first word is its class), of its shape and, in half a word each, of its name; of its values.
HEADER = struct.Struct("<124x4sI4xI4xI4xI4x2I2H4s2I")
FF = (b"\0\1IM", 14, 6, 9, 5, 1, 2, b"ff\0\0", 2)  # version, types, class, name


def make(inputs: Inputs, scratch: Path) -> Parsed:
    """Return uint8 images [1965, 28, 20, 1] in the film's order, and no labels."""
    frames = read_mat(files.obtain(MAT, "frey_face", inputs, scratch))
    return Parsed(frames.T.reshape(-1, 28, 20, 1), None, 1 / 255, {"files": [MAT.url]})


def read_mat(path: Path) -> np.ndarray:
    """Return the variable `ff` of the MATLAB 5 file: uint8 [560, N]; raise DataError.

    SciPy's reader takes any MATLAB file, but crashes on damaged ones. This one reads a single
    uncompressed matrix.
    """
    try:
        data = read_bytes(path, MAX_BYTES)
        found = HEADER.unpack_from(data)
    except (OSError, struct.error) as error:
        raise DataError(f"{path}: not a MATLAB 5 file ({error})") from error
    rows, columns, size = found[5], found[6], found[11]
    pixels = data[HEADER.size : HEADER.size + size]
    if found[:5] + found[7:11] != FF:
        raise DataError(f"{path}: not a MATLAB 5 file of one uint8 matrix ff")
    if rows != 28 * 20 or not rows * columns == size == len(pixels):
        raise DataError(
            f"{path}: ff is uint8 ({rows}, {columns}), {len(pixels):,} bytes of it there"
        )
    return np.frombuffer(pixels, np.uint8).reshape(columns, rows).T
