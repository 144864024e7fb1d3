"""Reads and checks one file of embeddings, whoever wrote it."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

PER_EXAMPLE = ("log_likelihood", "kl", "squared_error_sampled", "squared_error_mean")


class FormatError(Exception):
    """A file that is not what its format says; the message names file, array and way out."""


class Embeddings(NamedTuple):
    """One replicate's embeddings.

    mu:     float [N, d] of `train` and `test` (and `valid`), the posterior means
    labels: int [N] of the same splits; empty where the data set has none
    terms:  float [N] per test example, those of PER_EXAMPLE that the file holds
    """

    seed: int
    mu: dict[str, Float[np.ndarray, "n d"]]
    labels: dict[str, Int[np.ndarray, " n"]]
    terms: dict[str, Float[np.ndarray, " n"]]


def read(path: Path, latent_size: int) -> Embeddings:
    """Reads `embeddings/<replicate>.npz`; raises FormatError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: not a readable .npz of plain arrays ({error})") from error
    if "mu_test" not in arrays:
        raise FormatError(f"{path}: mu_test is missing; it holds {', '.join(arrays) or 'nothing'}")
    mu = {
        name[3:]: _matrix(path, name, arrays, latent_size) for name in arrays if name[:3] == "mu_"
    }
    labels = {}
    for split in mu:
        if f"label_{split}" in arrays:
            labels[split] = _vector(path, f"label_{split}", arrays, len(mu[split]))
            if labels[split].dtype.kind not in "iu":
                raise FormatError(f"{path}: label_{split} is {labels[split].dtype}, not integers")
    if labels and set(labels) != set(mu):
        raise FormatError(f"{path}: label_{min(set(mu) - set(labels))} is missing")
    terms = {
        name: _vector(path, f"{name}_test", arrays, len(mu["test"]))
        for name in PER_EXAMPLE
        if f"{name}_test" in arrays
    }
    return Embeddings(_seed(path, arrays), mu, labels, terms)


def _matrix(path: Path, name: str, arrays: dict[str, np.ndarray], latent_size: int) -> np.ndarray:
    array = arrays[name]
    if array.ndim != 2 or array.shape[1] != latent_size or not len(array):
        raise FormatError(
            f"{path}: {name} has shape {array.shape}, not [N, {latent_size}] "
            "(latent_size in config.json)"
        )
    return _finite(path, name, array)


def _vector(path: Path, name: str, arrays: dict[str, np.ndarray], length: int) -> np.ndarray:
    array = arrays[name]
    if array.shape != (length,):
        raise FormatError(f"{path}: {name} has shape {array.shape}, not [{length}] as its mu")
    return _finite(path, name, array)


def _finite(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise FormatError(f"{path}: {name} is {array.dtype}, not numbers")
    bad = len(array) - np.isfinite(array.reshape(len(array), -1)).all(axis=1).sum()
    if bad:
        raise FormatError(f"{path}: {name} is NaN or infinite in {bad} of {len(array)} rows")
    return array


def _seed(path: Path, arrays: dict[str, np.ndarray]) -> int:
    """Returns the seed that the file holds or, in a foreign file, the one in its name."""
    if "seed" in arrays and arrays["seed"].shape == () and arrays["seed"].dtype.kind in "iu":
        return int(arrays["seed"])
    digits = path.stem.removeprefix("seed_")
    if not digits.isdecimal():
        raise FormatError(f"{path}: no array 'seed', and the name is not seed_<n>.npz")
    return int(digits)
