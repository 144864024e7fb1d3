"""Reads and checks one replicate's files, whoever wrote them."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mvae_jax.store import names, npz

PER_EXAMPLE = ("log_likelihood", "kl", "iwae", "squared_error_sampled", "squared_error_mean")
COUPLING = "params/coupling"


class FormatError(ValueError):
    """A file that is not what its format says; the message names file, array and way out."""


class Embeddings(NamedTuple):
    """One replicate's embeddings, and C.

    mu:       float [N, d] of `test` and, where known, `train` and `valid`: the posterior means
    labels:   int [N] of the same splits; empty where the data set has none
    terms:    float [N] per test example, those of PER_EXAMPLE that the file holds
    iwae_k:   the number of samples behind `iwae`; None without it
    coupling: the MVAE's C; None where the model has none, or left no file
    examples: SHA-256 of `index_test`, which says which images were tested; None without it
    """

    seed: int
    mu: dict[str, Float[np.ndarray, "n d"]]
    labels: dict[str, Int[np.ndarray, " n"]]
    terms: dict[str, Float[np.ndarray, " n"]]
    iwae_k: int | None
    coupling: Float[np.ndarray, "d d"] | None
    examples: str | None


def read(path: Path, model_path: Path, latent_size: int) -> Embeddings:
    """Reads `embeddings/<replicate>.npz` and, where it exists, `model/<replicate>.npz`.

    Raises FormatError.
    """
    arrays = _arrays(path)
    if "mu_test" not in arrays:
        raise FormatError(f"{path}: mu_test is missing; it holds {', '.join(arrays) or 'nothing'}")
    mu = {
        name[3:]: _matrix(path, name, arrays, latent_size) for name in arrays if name[:3] == "mu_"
    }
    labels = {
        split: _labels(path, f"label_{split}", arrays, len(mu[split]))
        for split in mu
        if f"label_{split}" in arrays
    }
    if labels and set(labels) != set(mu):
        raise FormatError(f"{path}: label_{min(set(mu) - set(labels))} is missing")
    terms = {
        name: _vector(path, f"{name}_test", arrays, len(mu["test"]))
        for name in PER_EXAMPLE
        if f"{name}_test" in arrays
    }
    iwae_k = _iwae_k(path, arrays) if "iwae" in terms else None
    coupling = None
    if model_path.is_file():
        model = _arrays(model_path, [COUPLING])
        if COUPLING in model:
            coupling = _matrix(model_path, COUPLING, model, latent_size)
            if len(coupling) != latent_size:
                raise FormatError(f"{model_path}: {COUPLING} is not square but {coupling.shape}")
    examples = None
    if "index_test" in arrays:
        indices = _labels(path, "index_test", arrays, len(mu["test"]))
        examples = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    return Embeddings(_seed(path, arrays), mu, labels, terms, iwae_k, coupling, examples)


def seed_of_name(path: Path) -> int:
    """Returns <n> of `seed_<n>.npz` or `seed_<n>__<field>=<value>.npz`; raises FormatError."""
    try:
        return names.seed_of(path.stem)
    except ValueError as error:
        raise FormatError(f"{path}: the name is not seed_<n>.npz; rename it") from error


def _seed(path: Path, arrays: dict[str, np.ndarray]) -> int:
    """Returns the seed in the file's name, which a seed in the file must equal."""
    seed = seed_of_name(path)
    held = arrays.get("seed", np.asarray(seed))
    if held.shape != () or held.dtype.kind not in "iu" or held != seed:
        raise FormatError(f"{path}: holds seed {held}, not that of its name; rename the file")
    return seed


def _arrays(path: Path, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the file's arrays, of the names asked for if any."""
    try:
        return npz.read(path, names)
    except ValueError as error:
        raise FormatError(str(error)) from error


def _matrix(path: Path, name: str, arrays: dict[str, np.ndarray], latent_size: int) -> np.ndarray:
    array = arrays[name]
    if array.ndim != 2 or array.shape[1] != latent_size or not len(array):
        raise FormatError(
            f"{path}: {name} has shape {array.shape}, not [N, {latent_size}] "
            "(latent_size in config.json)"
        )
    return _finite_floats(path, name, array)


def _vector(path: Path, name: str, arrays: dict[str, np.ndarray], length: int) -> np.ndarray:
    return _finite_floats(path, name, _of_length(path, name, arrays[name], length))


def _labels(path: Path, name: str, arrays: dict[str, np.ndarray], length: int) -> np.ndarray:
    array = _of_length(path, name, arrays[name], length)
    if array.dtype.kind not in "iu":
        raise FormatError(f"{path}: {name} is {array.dtype}, not integers")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise FormatError(f"{path}: {name} is up to {array.max()}; allowed: what int64 holds")
    return array.astype(np.int64)


def _of_length(path: Path, name: str, array: np.ndarray, length: int) -> np.ndarray:
    if array.shape != (length,):
        raise FormatError(f"{path}: {name} has shape {array.shape}, not [{length}] as its mu")
    return array


def _finite_floats(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Returns the array in single precision, or in double where it needs it."""
    if array.dtype.kind not in "fiu":
        raise FormatError(f"{path}: {name} is {array.dtype}, not numbers")
    kind = np.result_type(array, np.float32)
    with np.errstate(over="ignore"):  # of a long double, which is infinite then
        array = array.astype(np.float64 if kind.itemsize > 8 else kind)
    bad = len(array) - np.isfinite(array.reshape(len(array), -1)).all(axis=1).sum()
    if bad:
        raise FormatError(f"{path}: {name} is NaN or infinite in {bad} of {len(array)} rows")
    return array


def _iwae_k(path: Path, arrays: dict[str, np.ndarray]) -> int:
    k = arrays.get("iwae_k", np.asarray(0))
    if k.shape != () or k.dtype.kind not in "iu" or k < 1:
        raise FormatError(f"{path}: iwae_test needs iwae_k, its number of samples, 1 or more")
    return int(k)
