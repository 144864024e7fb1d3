"""Any data set of images in TFDS's catalogue, as `tfds:NAME`, whose builder needs no TensorFlow.

The builder finds, downloads and reads its files; what it yields is taken before TFDS would encode
it for its own files, which needs TensorFlow for images. The cache keeps the result.
"""

import io
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.datasets import cache, own, pictures
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.store.files import open_binary

PREFIX = "tfds:"
SPLITS = {"train": "train", "validation": "valid", "test": "test"}  # TFDS's names, and ours


def load(dataset: str) -> Parsed:
    """Return the data set `tfds:NAME`, from the cache where it is there; raise DataError."""
    name = dataset.removeprefix(PREFIX)
    if not re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.]+)?", name):
        raise DataError(f"dataset: got '{dataset}'; allowed: tfds:NAME or tfds:NAME/CONFIG")
    key = re.sub(r"[^\w.-]", "-", dataset)
    return cache.load_or_make(key, partial(read, name))


def read(name: str, scratch: Path) -> Parsed:
    """Return the images and labels of a data set, and its split if it has train and test.

    name: as TFDS has it, "svhn_cropped" or "emnist/letters"

    Raises:
      DataError: TFDS does not know it, it has no labelled images of one size, its builder needs
        TensorFlow, or a download failed.
    """
    import tensorflow_datasets as tfds

    where = f"{PREFIX}{name}"
    tfds.disable_progress_bar()
    try:
        builder = tfds.builder(name, data_dir=scratch, try_gcs=False)
        image, label = _features(tfds, where, builder.info)
        manager = tfds.download.DownloadManager(
            download_dir=scratch / "downloads", url_infos=builder.url_infos
        )
        arrays = _read_splits(where, builder, manager, image, label)
    except DataError:
        raise
    except Exception as error:  # whatever a builder, TFDS or the network raise
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
            said = "its builder needs TensorFlow"
        raise DataError(
            f"{where}: cannot be read ({said}); save it as an .npz or Parquet file (docs/data.md)"
        ) from error
    provenance = {"files": sorted(builder.url_infos or ()), "tfds": builder.info.full_name}
    return own.check(where, arrays)._replace(provenance=provenance)


def _features(tfds: Any, where: str, info: Any) -> tuple[str, str | None]:
    """Return the names of the feature that is the image and of that which is its class."""
    features = dict(info.features.items())
    images = [k for k, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [k for k, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    for name in info.supervised_keys or ():
        images, labels = ([name] if name in found else found for found in (images, labels))
    if len(images) != 1 or len(labels) > 1:
        held = ", ".join(features)
        raise DataError(f"{where}: holds {held}; allowed: one image, and at most one class of it")
    return images[0], labels[0] if labels else None


def _read_splits(
    where: str, builder: Any, manager: Any, image: str, label: str | None
) -> dict[str, np.ndarray]:
    """Return `images`, `labels` and `index_<split>` of the splits that have our names."""
    found: dict[str, Iterable[tuple[Any, Any]]] = _generators(builder, manager)
    names = [name for name in SPLITS if name in found] or list(found)
    labels: list[int] = []
    counts: list[int] = []

    def images() -> Iterator[tuple[str, np.ndarray]]:
        for name in names:
            counts.append(0)
            for key, example in found[name]:
                if label is not None:
                    labels.append(int(builder.info.features[label].encode_example(example[label])))
                counts[-1] += 1
                yield f"{where}, {name} {key}", _image(f"{where}, {name} {key}", example[image])

    arrays = {"images": pictures.stack(images())}
    if label is not None:
        arrays["labels"] = np.array(labels)
    if {"train", "test"} <= {*names}:
        ends = np.cumsum(counts)
        for name, end, count in zip(names, ends, counts, strict=True):
            arrays[f"index_{SPLITS[name]}"] = np.arange(end - count, end, dtype=np.int64)
    return arrays


def _generators(builder: Any, manager: Any) -> dict[str, Iterable[tuple[Any, Any]]]:
    """Return what a builder yields by split: keys and examples."""
    made = builder._split_generators(manager)
    if not isinstance(made, dict):  # of older builders
        made = {str(of.name): builder._generate_examples(**of.gen_kwargs) for of in made}
    return {name: of.items() if isinstance(of, dict) else of for name, of in made.items()}


def _image(where: str, value: Any) -> np.ndarray:
    """Return the pixels of an array, an encoded image, or the path of one."""
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8:
            raise DataError(f"{where}: pixels of {value.dtype}; allowed: uint8")
        return value if value.ndim == 3 else value[..., None]
    if isinstance(value, bytes):
        return pictures.decode(where, io.BytesIO(value))
    if hasattr(value, "read"):
        return pictures.decode(where, io.BytesIO(value.read()))
    with open_binary(Path(value)) as stream:
        return pictures.decode(where, stream)
