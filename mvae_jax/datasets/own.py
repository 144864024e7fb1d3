"""Your own data: `images`, and optionally `labels` and the split's indices.

They are arrays of an .npz file, columns of a Parquet or Arrow file (`tables`), or a folder of image
files (`image_folder`). They may come from anywhere, so nothing in them is believed: see
`mvae_jax.store.npz`.
"""

from pathlib import Path
from typing import NoReturn

import numpy as np

from mvae_jax import paths
from mvae_jax.datasets import image_folder, tables
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import digest
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.store import npz

SPLITS = ("train", "valid", "test")
KEYS = ("images", "labels", *(f"index_{split}" for split in SPLITS))


def read(path: Path) -> Parsed:
    """Read an .npz, .parquet or .arrow file, or a folder of images.

    Raises:
      DataError: it is not what it seems, or its arrays are not those of a data set.
    """
    if path.suffix == ".npz":
        arrays = _read_npz(path)
    elif path.suffix in paths.DATA_FILES:
        arrays = tables.read(path)
    else:
        arrays = image_folder.read(path)
        provenance = {"files": [f"{path.name}: {len(arrays['images']):,} image files"]}
        return check(path, arrays)._replace(provenance=provenance)
    provenance = {"files": [f"{path.name} sha256:{digest(path)}"]}
    return check(path, arrays)._replace(provenance=provenance)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read `images` (uint8 [N, H, W] or [N, H, W, C]) and what else of KEYS the file holds."""
    try:
        present, arrays = npz.names(path), npz.read(path, KEYS, most=None)
    except ValueError as error:
        raise DataError(str(error)) from error
    if "images" not in arrays:
        raise DataError(f"{path}: no array named images; it holds {', '.join(present)}")
    if unknown := sorted(key for key in {*present} - {*KEYS} if key.startswith("index_")):
        raise DataError(f"{path}: {unknown[0]}: no such split; allowed: {', '.join(KEYS[2:])}")
    return arrays


def check(where: object, arrays: dict[str, np.ndarray]) -> Parsed:
    """Return a data set of arrays by the names of KEYS; raise DataError as `read` does.

    where: what holds them, for the message
    """
    images = _images(where, arrays["images"])
    labels = _labels(where, arrays["labels"], len(images)) if "labels" in arrays else None
    return Parsed(images, labels, 1 / 255, {}, _splits(where, arrays, len(images)))


def _images(where: object, images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        allowed = "uint8 [N, H, W] or [N, H, W, C], values 0 to 255"
        _refuse(where, "images", f"{images.dtype} {list(images.shape)}", allowed)
    return np.ascontiguousarray(images if images.ndim == 4 else images[..., None])


def _labels(where: object, labels: np.ndarray, num_images: int) -> np.ndarray:
    if labels.shape != (num_images,) or labels.dtype.kind not in "iu":
        allowed = f"integers [{num_images}], one for each image (leave out labels if unknown)"
        _refuse(where, "labels", f"{labels.dtype} {list(labels.shape)}", allowed)
    if labels.min() < 0 or labels.max() >= 2**31:
        _refuse(where, "labels", f"{labels.min()} to {labels.max()}", "0 to 2147483647")
    return labels.astype(np.int32)


def _splits(
    where: object, arrays: dict[str, np.ndarray], num_images: int
) -> dict[str, np.ndarray] | None:
    """Return the file's own split, or None; valid is optional in it, train and test are not."""
    splits = {name: arrays[f"index_{name}"] for name in SPLITS if f"index_{name}" in arrays}
    if not splits:
        return None
    for name in ("train", "test"):
        if name not in splits:
            _refuse(where, f"index_{name}", "nothing", "index_train and index_test together")
    taken = np.zeros(num_images, bool)
    for name, indices in splits.items():
        if indices.dtype.kind not in "iu" or indices.ndim != 1 or len(indices) == 0:
            found = f"{indices.dtype} {list(indices.shape)}"
            _refuse(where, f"index_{name}", found, "int64 [m] with m above 0")
        if indices.min() < 0 or indices.max() >= num_images:
            found = f"{indices.min()} to {indices.max()}"
            _refuse(where, f"index_{name}", found, f"0 to {num_images - 1}")
        if taken[indices].any() or len(np.unique(indices)) < len(indices):
            _refuse(where, f"index_{name}", "an image taken twice", "each image at most once")
        taken[indices] = True
        splits[name] = indices.astype(np.int64)
    return splits


def _refuse(where: object, name: str, found: str, allowed: str) -> NoReturn:
    raise DataError(f"{where}: {name}: got {found}; allowed: {allowed}")
