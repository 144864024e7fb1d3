"""FreyFace: 1,965 video frames of one face, 28 x 20 grey pixels, without labels."""

from pathlib import Path

import numpy as np

from mvae_jax.datasets import files
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import File, Inputs
from mvae_jax.datasets.parsed import Parsed

MAT = File(
    url="https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
    digest="265a83a23adb081755cd3de375509828e690324d1d60f076b8ecebc840d59c64",
)


def make(inputs: Inputs, scratch: Path) -> Parsed:
    """Returns uint8 images [1965, 28, 20, 1] in the film's order, and no labels."""
    frames = read_mat(files.obtain(MAT, "frey_face", inputs, scratch))
    return Parsed(frames.T.reshape(-1, 28, 20, 1), None, 1 / 255, {"files": [MAT.url]})


def read_mat(path: Path) -> np.ndarray:
    """Returns the variable `ff` of a MATLAB 5 file: uint8 [560, N]; raises DataError."""
    from scipy.io import loadmat  # unpickles nothing: a MATLAB file holds no Python objects

    try:
        frames = loadmat(path, variable_names=["ff"])["ff"]
    except Exception as error:  # scipy's reader raises whatever the damaged bytes lead it to
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a MATLAB 5 file with a variable ff ({reason})") from error
    if frames.dtype != np.uint8 or frames.ndim != 2 or frames.shape[0] != 28 * 20:
        raise DataError(f"{path}: ff is {frames.dtype} {frames.shape}; allowed: uint8 (560, N)")
    return frames
