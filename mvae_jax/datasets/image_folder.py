"""A folder of image files: a subfolder for each class, or none without labels.

    DIR/cat/1.png  DIR/dog/1.png              the protocol splits
    DIR/train/cat/1.png  DIR/test/cat/7.png   your own split; valid/ is optional
    DIR/1.png  DIR/2.png                      no labels

Labels are the positions of the classes' names in sorted order. Names that begin with a dot are
left out.
"""

from pathlib import Path

import numpy as np

from mvae_jax.datasets import pictures
from mvae_jax.datasets.errors import DataError
from mvae_jax.store.files import open_binary

SPLITS = ("train", "valid", "test")


def read(folder: Path) -> dict[str, np.ndarray]:
    """Return `images`, `labels` where there are classes, and `index_<split>` of its own split.

    Raises:
      DataError: the folder or a class of it is empty, there is one class, or a file is no image of
        8 bits and of the others' size.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    inside = _listed(folder)
    if {"train", "test"} <= {path.name for path in inside if path.is_dir()}:
        return _split(folder, inside)
    if not any(path.is_dir() for path in inside):
        return {"images": _read(_files(folder))}
    names = _classes(folder)
    return _labelled(
        [(path, label) for label, name in enumerate(names) for path in _files(folder / name)]
    )


def _split(folder: Path, inside: list[Path]) -> dict[str, np.ndarray]:
    """Read a folder of `train`, `test` and perhaps `valid`, which have the same classes."""
    if other := [path.name for path in inside if path.name not in SPLITS]:
        raise DataError(f"{folder}: holds {other[0]} beside train and test; allowed: valid")
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    names = sorted({name for split in splits for name in _classes(folder / split)})
    found: list[tuple[Path, int]] = []
    indices = {}
    for split in splits:
        start = len(found)
        for name in _classes(folder / split):
            found += [(path, names.index(name)) for path in _files(folder / split / name)]
        indices[f"index_{split}"] = np.arange(start, len(found), dtype=np.int64)
    return _labelled(found) | indices


def _labelled(found: list[tuple[Path, int]]) -> dict[str, np.ndarray]:
    labels = np.array([label for _, label in found], np.int32)
    return {"images": _read([path for path, _ in found]), "labels": labels}


def _classes(folder: Path) -> list[str]:
    """Return the names of a folder's classes; raise DataError where there are not at least two."""
    inside = _listed(folder)
    if files := [path.name for path in inside if not path.is_dir()]:
        raise DataError(f"{folder}: holds the file {files[0]} beside folders; remove it")
    if len(inside) < 2:
        held = f"one class only, {inside[0].name}" if inside else "no class"
        raise DataError(
            f"{folder}: holds {held}; allowed: at least two folders, or, without labels, the "
            "images themselves"
        )
    return [path.name for path in inside]


def _files(folder: Path) -> list[Path]:
    """Return the files at and below a folder, sorted; raise DataError where there is none."""
    paths = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    found = [path for path in paths if not _is_hidden(path.relative_to(folder))]
    if not found:
        raise DataError(f"{folder}: holds no image; fill or remove it")
    return found


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(paths: list[Path]) -> np.ndarray:
    return pictures.stack((path, _image(path)) for path in paths)


def _image(path: Path) -> np.ndarray:
    try:
        with open_binary(path) as stream:
            return pictures.decode(path, stream)
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror or error})") from error
