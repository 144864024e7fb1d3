"""Data sets by name: uint8 images, labels, splits and the pixel scale.

`load` is the room's only door. `catalogue` holds the data sets; a family of files has a module of
its own that reads it (`mnist`, `cifar`, `icml2007`, `frey_face`, `digits`, `own`), `regenerated`
makes the MNIST variants, `files` finds or downloads, `cache` keeps the result, and `splits` holds
the protocols. `python -m mvae_jax.datasets` shows it all.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from mvae_jax import paths
from mvae_jax.datasets import cache, catalogue, own, splits, tfds_builders
from mvae_jax.datasets.conversion import arrays
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import Inputs
from mvae_jax.datasets.parsed import Parsed

__all__ = ["DataError", "Dataset", "arrays", "digest", "find_inputs", "find_source", "load"]


class Dataset(NamedTuple):
    """Images of one data set with the split of one protocol.

    images:      uint8 [N, H, W, C], in the original order
    labels:      int32 [N], or None where the data set has none
    pixel_scale: a pixel's value in the model is its byte times this
    splits:      `train`, `test` and, in the paper protocol, `valid`: int64 indices into N
    num_classes: the number of distinct labels; 0 without labels
    provenance:  where the bytes come from and what was done to them, as JSON would hold it
    """

    name: str
    source: str
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"] | None
    pixel_scale: float
    splits: splits.Splits
    num_classes: int
    provenance: dict[str, Any]


def load(
    name: str,
    protocol: str = "release",
    source: str = "",
    data_dir: Path | None = None,
    photographs: Path | None = None,
) -> Dataset:
    """Load a data set and split it.

    Args:
      name: one of the catalogue's, the path of data of your own (see `own`), or `tfds:NAME`.
      protocol: `release` or `paper`.
      source: for the MNIST variants `regenerated` (the default) or `icml2007`.
      data_dir: published files that are there, read before any is downloaded; without it
        $MVAE_JAX_DATA_DIR.
      photographs: a folder of .jpg or .png files for mnist_background_images, regenerated.

    Raises:
      DataError: the data are missing, damaged or not what was asked for.
    """
    inputs = find_inputs(data_dir, photographs)
    if protocol not in ("release", "paper"):
        raise DataError(f"protocol: got '{protocol}'; allowed: release, paper")
    rule: splits.Rule = splits.fractions
    if paths.is_data(name):
        if source or photographs:
            raise DataError(f"{name}: got source '{source or photographs}'; allowed: none")
        parsed = own.read(Path(name))
    elif name.startswith(tfds_builders.PREFIX):
        if source or photographs:
            raise DataError(f"{name}: got source '{source or photographs}'; allowed: none")
        parsed = tfds_builders.load(name)
    else:
        entry, source = catalogue.find(name, source)
        if photographs and (name, source) != ("mnist_background_images", "regenerated"):
            raise DataError(
                f"photographs: got '{photographs}' for {name} {source}; "
                "allowed: only for mnist_background_images, source regenerated"
            )
        parsed, rule = catalogue.read(name, source, inputs), entry.paper
    if protocol == "release":
        rule = splits.release
    return Dataset(
        name=name,
        source=source,
        images=parsed.images,
        labels=parsed.labels,
        pixel_scale=parsed.pixel_scale,
        splits=_split(name, protocol, parsed, rule),
        num_classes=0 if parsed.labels is None else len(np.unique(parsed.labels)),
        provenance=parsed.provenance,
    )


def find_source(config: ConfigDict) -> str:
    """Return the source that a configuration means; raise DataError where there is none such."""
    if paths.is_data(config.dataset) or config.dataset.startswith(tfds_builders.PREFIX):
        return config.source
    return catalogue.find(config.dataset, config.source)[1]


def digest(dataset: Dataset) -> str:
    """Return the SHA-256 over images, labels and splits: equal for equal data."""
    sha = hashlib.sha256(np.ascontiguousarray(dataset.images).data)
    for array in (dataset.labels, *(dataset.splits[name] for name in sorted(dataset.splits))):
        if array is not None:
            sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def find_inputs(data_dir: Path | None, photographs: Path | None) -> Inputs:
    """Return the user's folders; raise DataError where the data folder is none."""
    field = "--data_dir" if data_dir else "MVAE_JAX_DATA_DIR"
    if data_dir is None:
        data_dir = cache.from_environment(field)
    data_dir = Path(data_dir) if data_dir else None
    if data_dir and not data_dir.is_dir():
        raise DataError(f"{field}: got '{data_dir}', which is no folder")
    return Inputs(data_dir, photographs)


def _split(name: str, protocol: str, parsed: Parsed, rule: splits.Rule) -> splits.Splits:
    """Return the file's own splits where it has them (release: no `valid`), else the rule's."""
    if parsed.splits:
        unused = "valid" if protocol == "release" else ""
        return {split: i for split, i in parsed.splits.items() if split != unused}
    labels = parsed.labels
    if labels is None:  # one class
        labels = np.zeros(len(parsed.images), np.int32)
    result = rule(labels)
    for split, indices in result.items():
        if len(indices) == 0:
            raise DataError(
                f"{name}: images: {len(labels)} leave nothing for the {split} split; "
                "allowed: more of them, or index_train and index_test in the file"
            )
    return result
