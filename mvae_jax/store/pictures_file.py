"""The format of pictures/<replicate>.npz: a few test images, their reconstructions, latent sweeps.

input, reconstruction_sampled    [N, H, W, C], pixels in [0, 1]
sweep                            [I, J, H, W, C]: decoded from a plane of two latent directions
sweep_values                     [I]: the coordinates along each of the two
sweep_leading, sweep_trailing    [I, J, H, W, C], of a model with a coupling matrix alone
"""

from pathlib import Path

import numpy as np
from jaxtyping import Num

from mvae_jax.store import npz

REQUIRED = {"input": 4, "reconstruction_sampled": 4, "sweep": 5, "sweep_values": 1}  # axes of each
OPTIONAL = {"sweep_leading": 5, "sweep_trailing": 5}
MAX_BYTES = 1 << 30  # of one replicate's pictures


def read(path: Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read and check one replicate's pictures; raise ValueError where they are not of the format.

    sha256: of the file's bytes, where it is known; those of another file are refused
    """
    pictures = npz.read(path, most=MAX_BYTES, sha256=sha256)
    for name, axes in (REQUIRED | OPTIONAL).items():
        found = pictures.get(name)
        if found is None and name in OPTIONAL:
            continue
        if found is None or found.ndim != axes or not found.size or found.dtype.kind not in "fiu":
            shape = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ValueError(f"{path}: {name} is {shape}, not numbers with {axes} axes")
    if pictures["input"].shape != pictures["reconstruction_sampled"].shape:
        raise ValueError(f"{path}: input and reconstruction_sampled differ in shape")
    return pictures


def mean_squared_error(
    inputs: Num[np.ndarray, "n h w c"], outputs: Num[np.ndarray, "n h w c"]
) -> float:
    """Return the mean over pixels and images; infinite where a square overflows."""
    if inputs.dtype.kind in "iu":  # the difference of two unsigned integers wraps around
        inputs = inputs.astype(np.float64)
    with np.errstate(over="ignore"):
        return float(np.mean((inputs - outputs) ** 2, dtype=np.float64))
