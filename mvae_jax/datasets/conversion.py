"""What other libraries hold images in, as arrays: Hugging Face's, torch's, or pairs.

None of the libraries is imported here: an object is known by its module and its methods.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.datasets import own, pictures, tables
from mvae_jax.datasets.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray | None]


def arrays(source: Any) -> Arrays:
    """Return uint8 images [N, H, W, C] and int32 labels [N], None without labels.

    source: a Hugging Face `datasets.Dataset` with a column image or img, and label or labels; a
      torch data set of (image, label) or of images; the path of what `own.read` reads; an array of
      uint8 [N, H, W] or [N, H, W, C]. Images of a data set are Pillow's, or uint8: arrays [H, W] or
      [H, W, C], or tensors [H, W] or [C, H, W].

    Raises:
      DataError: it is none of these, or its images are not of one size and 8 bits.

    >>> pairs = [(np.zeros((4, 4), np.uint8), 0), (np.ones((4, 4), np.uint8), 1)]
    >>> images, labels = arrays(pairs)
    >>> images.shape, labels.tolist()
    ((2, 4, 4, 1), [0, 1])
    """
    kind = f"{type(source).__module__}.{type(source).__name__}"
    if isinstance(source, str | os.PathLike):
        found = own.read(Path(source))
        return found.images, found.labels
    if kind.startswith("datasets.") and isinstance(source, dict):
        raise DataError(
            f"{kind}: got the splits {', '.join(source)}; pass one, or "
            "datasets.concatenate_datasets([...]) of them"
        )
    if kind.startswith("datasets.") and hasattr(source, "with_format"):
        if not hasattr(source, "__len__"):
            raise DataError(f"{kind}: is streamed; load it with streaming=False")
        held = tables.of_table(kind, source.with_format("arrow")[:])
    elif hasattr(source, "dtype") and hasattr(source, "shape"):
        held = {"images": np.asarray(source)}
    else:
        held = _of_examples(kind, source)
    checked = own.check(kind, held)
    return checked.images, checked.labels


def _of_examples(kind: str, source: Any) -> dict[str, np.ndarray]:
    """Return the images and labels of a data set that is indexed, or iterated over."""
    labels: list[Any] = []

    def images() -> Iterator[tuple[str, np.ndarray]]:
        for number, example in enumerate(_examples(kind, source)):
            where = f"{kind}, example {number}"
            image, label = example if _is_pair(example) else (example, None)
            if number and (label is None) == bool(labels):
                raise DataError(f"{where}: has a label where others have none, or lacks one")
            if label is not None:
                labels.append(_label(where, label))
            yield where, _image(where, image)

    stacked = pictures.stack(images())
    return {"images": stacked} | ({"labels": np.array(labels)} if labels else {})


def _examples(kind: str, source: Any) -> Iterable[Any]:
    """Yield a data set's examples, in order; torch's need not end where they are iterated over."""
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return (source[number] for number in range(len(source)))
    if hasattr(source, "__iter__"):
        return iter(source)
    raise DataError(
        f"{kind}: no data set; allowed: a Hugging Face or torch data set, pairs of image and "
        "label, an array, or a path"
    )


def _is_pair(example: Any) -> bool:
    return isinstance(example, tuple | list) and len(example) == 2


def _label(where: str, label: Any) -> int:
    value = np.asarray(label)
    if value.shape or value.dtype.kind not in "iu":
        raise DataError(f"{where}: label {str(label)[:60]}; allowed: an integer")
    return int(value)


def _image(where: str, image: Any) -> np.ndarray:
    """Return the pixels of one image [H, W, C]."""
    if hasattr(image, "mode") and hasattr(image, "convert"):  # Pillow's
        return pictures.pixels(where, image)
    is_tensor = hasattr(image, "detach")
    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim not in (2, 3):
        raise DataError(
            f"{where}: {found.dtype} {list(found.shape)}; allowed: a Pillow image, or uint8 pixels "
            "of 0 to 255 (take ToTensor and Normalize out of the transforms)"
        )
    if is_tensor and found.ndim == 3:  # channels first
        found = found.transpose(1, 2, 0)
    return found if found.ndim == 3 else found[..., None]
