"""Reads and checks one replicate's files, whoever wrote them."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvae_jax.store import names, npz

PER_EXAMPLE = ("log_likelihood", "kl", "iwae", "squared_error_sampled", "squared_error_mean")
PARAMS = "params/"  # begins the paths of the learned arrays in a model's file
COUPLING = f"{PARAMS}coupling"


class FormatError(ValueError):
    """A file that is not what its format says; the message names file, array and way out."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """What one replicate's files hold, and the argument of every metric.

    folder:    the run folder; `replicate` is the stem of the replicate's files in it
    config:    the run's config.json: dataset, protocol, model, latent_size, and more of an own run
    seed:      the model's seed
    mu:        float [N, d] of `test` and, where known, `train` and `valid`: the posterior means
    labels:    int [N] of the same splits; empty where the data set has none
    terms:     float [N] per test example, those of PER_EXAMPLE that the file holds: in nats, the
               squared errors per pixel
    iwae_k:    the number of samples behind `iwae`; None without it
    examples:  SHA-256 of `index_test`, which says which images were tested; None without it
    coupling:  the MVAE's C; None where the model has none, or left no file
    sizes:     elements of each learned array by its path in the model's file; empty without one
    computed:  what several metrics share, by `shared.once`
    """

    folder: Path
    replicate: str
    config: Mapping[str, Any]
    seed: int
    mu: dict[str, Float[np.ndarray, "_ d"]]
    labels: dict[str, Int[np.ndarray, " _"]]
    terms: dict[str, Float[np.ndarray, " _"]]
    iwae_k: int | None
    examples: str | None
    coupling: Float[np.ndarray, "d d"] | None
    sizes: dict[str, int]
    computed: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False)


def read(folder: Path, replicate: str, config: Mapping[str, Any]) -> Embeddings:
    """Read `embeddings/<replicate>.npz` of a run and, where it exists, `model/<replicate>.npz`.

    config: the run's config.json, of which `latent_size` is read here

    Raise FormatError.
    """
    latent_size = config["latent_size"]
    path = folder / "embeddings" / f"{replicate}.npz"
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
    examples = None
    if "index_test" in arrays:
        indices = _labels(path, "index_test", arrays, len(mu["test"]))
        examples = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    coupling, sizes = _model(folder / "model" / path.name, latent_size)
    return Embeddings(
        folder=folder,
        replicate=replicate,
        config=config,
        seed=_seed(path, arrays),
        mu=mu,
        labels=labels,
        terms=terms,
        iwae_k=_iwae_k(path, arrays) if "iwae" in terms else None,
        examples=examples,
        coupling=coupling,
        sizes=sizes,
    )


def _model(path: Path, latent_size: int) -> tuple[np.ndarray | None, dict[str, int]]:
    """Return C and the sizes of the learned arrays; None and nothing where there is no file."""
    if not path.is_file():
        return None, {}
    try:
        learned = [name for name in npz.names(path) if name.startswith(PARAMS)]
    except ValueError as error:
        raise FormatError(str(error)) from error
    model = _arrays(path, learned)
    sizes = {name: array.size for name, array in model.items()}
    if COUPLING not in model:
        return None, sizes
    coupling = _matrix(path, COUPLING, model, latent_size)
    if len(coupling) != latent_size:
        raise FormatError(f"{path}: {COUPLING} is not square but {coupling.shape}")
    return coupling, sizes


def seed_of_name(path: Path) -> int:
    """Return <n> of `seed_<n>.npz` or `seed_<n>__<field>=<value>.npz`; raise FormatError."""
    try:
        return names.seed_of(path.stem)
    except ValueError as error:
        raise FormatError(f"{path}: the name is not seed_<n>.npz; rename it") from error


def _seed(path: Path, arrays: dict[str, np.ndarray]) -> int:
    """Return the seed in the file's name, which a seed in the file must equal."""
    seed = seed_of_name(path)
    held = arrays.get("seed", np.asarray(seed))
    if held.shape != () or held.dtype.kind not in "iu" or held != seed:
        raise FormatError(f"{path}: holds seed {held}, not that of its name; rename the file")
    return seed


def _arrays(path: Path, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """Return the file's arrays, of the names asked for if any."""
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
    """Return the array in single precision, or in double where it needs it."""
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
