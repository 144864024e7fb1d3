"""A few real images of each data set in one file, from which Figure 1 is drawn.

The .npz file holds, for each data set NAME (in the catalogue's order):

    names           str [D], the data sets in the file
    images_NAME     uint8 [10, H, W, C], real pixels: the first image, in the original order, of
                    each of the first 10 classes; without labels 10 images evenly spaced
    label_NAME      int32 [10]; absent where the data set has no labels
    index_NAME      int64 [10], the images' positions in the data set
    source_NAME     str, '' where the data set has one origin
"""

from pathlib import Path

import numpy as np

from mvae_jax.datasets import DataError, Dataset, load
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.store import npz
from mvae_jax.store.files import write_npz

NUM_IMAGES = 10


def write(
    path: Path,
    source: str = "",
    data_dir: Path | None = None,
    photographs: Path | None = None,
) -> dict[str, DataError]:
    """Write the file; return why a data set is not in it, by name.

    A data set that an earlier file holds and that cannot be had now is kept.

    Args:
      path: the .npz file.
      source: the MNIST variants'; the other arguments are `load`'s, as far as a data set has them.

    Raises:
      DataError: the file cannot be written, or what is there is no file of samples.
    """
    earlier = _read(path)
    arrays: dict[str, np.ndarray] = {}
    missing: dict[str, DataError] = {}
    names = []
    for name, entry in CATALOGUE.items():
        try:
            dataset = load(
                name,
                source=source if source in entry.sources else "",
                data_dir=data_dir,
                photographs=photographs if name == "mnist_background_images" else None,
            )
        except DataError as error:
            if name in earlier["names"]:
                names.append(name)
                arrays |= {k: v for k, v in earlier.items() if k.endswith(f"_{name}")}
            else:
                missing[name] = error
            continue
        names.append(name)
        chosen = choose(dataset)
        arrays[f"images_{name}"] = dataset.images[chosen]
        arrays[f"index_{name}"] = chosen
        arrays[f"source_{name}"] = np.array(dataset.source)
        if dataset.labels is not None:
            arrays[f"label_{name}"] = dataset.labels[chosen]
    try:
        write_npz(path, {"names": np.array(names), **arrays})
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    return missing


def _read(path: Path) -> dict[str, np.ndarray]:
    """Read an earlier file of samples; without one there are no `names` in it."""
    if not path.exists():
        return {"names": np.array([])}
    try:
        arrays = npz.read(path)
    except ValueError as error:
        raise DataError(f"{error}; choose another name") from error
    if "names" not in arrays:
        raise DataError(f"{path}: holds no samples, and is kept; choose another name")
    return arrays


def choose(dataset: Dataset) -> np.ndarray:
    """Return the int64 positions of the images to show."""
    if dataset.labels is None:
        return np.linspace(0, len(dataset.images) - 1, NUM_IMAGES).astype(np.int64)
    _, first = np.unique(dataset.labels, return_index=True)
    return first[:NUM_IMAGES].astype(np.int64)
