"""`fit`: from arrays to a trained, embedded and scored run, in one call."""

import os
import runpy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import command_line, datasets, paths, stages
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.datasets import DataError, catalogue, own
from mvae_jax.evaluate.record import Metric
from mvae_jax.rules import PROTOCOLS, refusal
from mvae_jax.runs import run as runs
from mvae_jax.runs.stop import Interrupted
from mvae_jax.runs.workdir import DATA
from mvae_jax.store import files, npz
from mvae_jax.trained import Run


def fit(
    model: str,
    images: Any,
    labels: Any = None,
    *,
    latent_size: int = 16,
    folder: str | os.PathLike[str] | None = None,
    splits: Mapping[str, Any] | None = None,
    protocol: str = "release",
    metrics: Sequence[Metric] = (),
    **fields: Any,
) -> Run:
    """Train all seeds of a model, embed the images and score the embeddings.

    The same call on the same folder resumes what was stopped, adds seeds and epochs that are asked
    for in addition, and does nothing where nothing is missing. The command line can go on with the
    folder: `--config.dataset=<folder>/data.npz --workdir=<folder>`, with the same fields.

    Args:
      model: the posterior family, as "vae" or "mvae" (docs/families.md).
      images: uint8 [N, H, W] or [N, H, W, C], an array of any library; a Hugging Face or torch
        data set with its labels; or a path or a name (docs/data.md), as "./flowers" or "digits".
      labels: integers [N] of at least 0, or None; the probe and the clusters need them.
      latent_size: d, the number of latent variables.
      folder: the run folder, made where it is missing; None is a temporary one, which is removed
        with the Run. The arrays are kept there as `data.npz`.
      splits: `train` and `test`, and `valid` if you like: integer indices into N. By default the
        protocol splits: `release` takes 80% of every class for training.
      protocol: "release" or "paper" (README).
      metrics: metrics of your own, computed beside the package's (docs/extend.md).
      **fields: any other field of the configuration, as num_seeds=5, num_epochs=200, beta=1.0, or
        sweep={"beta": [1, 4]}, whose values train beside the seeds.

    Raises:
      ConfigError: a field is unknown or impossible, or the folder holds a run of other fields or
        data. Nothing has been computed.
      DataError: the images, labels or splits are not what is asked for. Nothing has been computed.
      RunError: every seed has failed, or the device has no room for one.
      KeyboardInterrupt: the training was interrupted, after a checkpoint; call again to resume.

    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> images = (digits.images * 15).astype("uint8")
    >>> run = mvae_jax.fit("mvae", images, digits.target, latent_size=4, num_seeds=2, num_epochs=2)
    >>> run.seeds
    [777, 778]
    >>> run.encode(images[:3]).shape
    (3, 4)
    """
    given = {"model": model, "latent_size": latent_size, **fields}
    temporary = None if folder else tempfile.TemporaryDirectory(prefix="mvae_jax-")
    path = Path(temporary.name if temporary else os.fspath(folder or ""))
    if isinstance(images, str | os.PathLike):
        if labels is not None or splits is not None:
            raise DataError("labels, splits: got some beside a data set's name, which has its own")
        place = images.absolute() if isinstance(images, Path) else images
        config = _change(_shipped(os.fspath(place), protocol), given)
        _train(config, path, metrics)
        return Run(path, temporary=temporary)
    config = _change(_base(str(path.absolute() / DATA), protocol), given)
    wrote = _write_data(path, _arrays(images, labels, splits))
    try:
        _train(config, path, metrics)
    except Exception:
        if wrote and not (path / "config.json").exists():  # a mistake, found with the data
            (path / DATA).unlink()
        raise
    return Run(path, temporary=temporary)


def _change(config: ConfigDict, fields: Mapping[str, Any]) -> FrozenConfigDict:
    if "dataset" in fields:
        raise ConfigError("config.dataset: got a field; pass the data set as `images`")
    return config_lib.change(config, fields)


def _base(dataset: str, protocol: str) -> ConfigDict:
    if protocol not in PROTOCOLS:
        raise refusal("protocol", protocol)
    return config_lib.base_config(dataset, f"vae,1,{protocol}")


def _shipped(dataset: str, protocol: str) -> ConfigDict:
    """Return a data set's own configuration, as its file in configs/ has it."""
    config = _base(dataset, protocol)
    if paths.is_data(dataset):
        return config
    catalogue.find(dataset, "")
    file = command_line.find_config_file(f"configs/{dataset}.py")
    made: ConfigDict = runpy.run_path(str(file))["get_config"](f"vae,1,{protocol}")
    return made


def _arrays(images: Any, labels: Any, splits: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Return the arrays of data.npz; raise DataError where they are none of a data set."""
    if not (hasattr(images, "shape") and hasattr(images, "dtype")):  # a table has the first
        images, found = datasets.arrays(images)
        labels = found if labels is None else labels
    arrays = {"images": np.asarray(images)}
    if labels is not None:
        arrays["labels"] = np.asarray(labels)
    arrays |= {f"index_{split}": np.asarray(indices) for split, indices in (splits or {}).items()}
    if unknown := sorted(arrays.keys() - {*own.KEYS}):
        known = ", ".join(own.SPLITS)
        raise DataError(f"splits: got {unknown[0].removeprefix('index_')!r}; allowed: {known}")
    own.check("fit", arrays)
    return arrays


def _write_data(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Write data.npz where it is missing, and return whether it was.

    Raise ConfigError where the folder's is other data.
    """
    file = path / DATA
    if not file.exists():
        if (path / "config.json").exists():
            raise ConfigError(f"folder: '{path}' holds a run of a data set elsewhere; name another")
        files.write_npz(file, arrays)
        return True
    stored = npz.read(file, most=None)
    same = stored.keys() == arrays.keys() and all(
        np.array_equal(stored[name], array) for name, array in arrays.items()
    )
    if not same:
        raise ConfigError(
            f"folder: '{path}' holds other images, labels or splits ({DATA}); name another, or "
            "remove it"
        )
    return False


def _train(config: ConfigDict, path: Path, metrics: Sequence[Metric]) -> None:
    """Train and score what the folder lacks."""
    try:
        runs.run(stages.prepare(config), path)
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from None
    stages.score(path, metrics)
