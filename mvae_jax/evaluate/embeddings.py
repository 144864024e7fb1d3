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

    config: the run's config.json

    Raise FormatError.
    """
    path = folder / "embeddings" / f"{replicate}.npz"
    arrays = _arrays(path)
    if "mu_test" not in arrays:
        raise FormatError(f"{path}: mu_test is missing; it holds {', '.join(arrays) or 'nothing'}")
    mu = {
        name[3:]: _checked(path, arrays, name, None, config["latent_size"])
        for name in arrays
        if name[:3] == "mu_"
    }
    labels = {
        split: _integers(path, arrays, f"label_{split}", len(mu[split]))
        for split in mu
        if f"label_{split}" in arrays
    }
    if labels and set(labels) != set(mu):
        raise FormatError(f"{path}: label_{min(set(mu) - set(labels))} is missing")
    num_test = len(mu["test"])
    held = [name for name in PER_EXAMPLE if f"{name}_test" in arrays]
    terms = {name: _checked(path, arrays, f"{name}_test", num_test) for name in held}
    examples = None
    if "index_test" in arrays:
        indices = _integers(path, arrays, "index_test", num_test)
        examples = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    coupling, sizes = _model(folder / "model" / path.name, config["latent_size"])
    seed, iwae_k = seed_of_name(path), None
    if _scalar(arrays, "seed", seed) != seed:
        raise FormatError(f"{path}: holds seed {arrays['seed']}, not that of its name; rename it")
    if "iwae" in terms and (iwae_k := _scalar(arrays, "iwae_k", 0)) < 1:
        raise FormatError(f"{path}: iwae_test needs iwae_k, its number of samples, 1 or more")
    return Embeddings(
        *(folder, replicate, config, seed, mu, labels, terms),
        *(iwae_k, examples, coupling, sizes),
    )


def _model(path: Path, latent_size: int) -> tuple[np.ndarray | None, dict[str, int]]:
    """Return C and the sizes of the learned arrays; None and nothing where there is no file."""
    if not path.is_file():
        return None, {}
    model = {name: array for name, array in _arrays(path).items() if name.startswith(PARAMS)}
    sizes = {name: array.size for name, array in model.items()}
    if COUPLING not in model:
        return None, sizes
    return _checked(path, model, COUPLING, latent_size, latent_size), sizes


def seed_of_name(path: Path) -> int:
    """Return <n> of `seed_<n>.npz` or `seed_<n>__<field>=<value>.npz`; raise FormatError."""
    try:
        return names.seed_of(path.stem)
    except ValueError as error:
        raise FormatError(f"{path}: the name is not seed_<n>.npz; rename it") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return npz.read(path)
    except ValueError as error:
        raise FormatError(str(error)) from error


def _checked(
    path: Path, arrays: dict[str, np.ndarray], name: str, *shape: int | None
) -> np.ndarray:
    """Return an array of this shape in single precision, or in double where it needs it.

    shape: None for any number of examples but 0
    """
    array = arrays[name]
    _check_shape(path, name, array, *shape)
    if array.dtype.kind not in "fiu":
        raise FormatError(f"{path}: {name} is {array.dtype}, not numbers")
    kind = np.result_type(array, np.float32)
    with np.errstate(over="ignore"):  # of a long double, which is infinite then
        array = array.astype(np.float64 if kind.itemsize > 8 else kind)
    bad = len(array) - np.isfinite(array.reshape(len(array), -1)).all(axis=1).sum()
    if bad:
        raise FormatError(f"{path}: {name} is NaN or infinite in {bad} of {len(array)} rows")
    return array


def _integers(path: Path, arrays: dict[str, np.ndarray], name: str, length: int) -> np.ndarray:
    array = arrays[name]
    _check_shape(path, name, array, length)
    if array.dtype.kind not in "iu":
        raise FormatError(f"{path}: {name} is {array.dtype}, not integers")
    if array.max() > np.iinfo(np.int64).max:
        raise FormatError(f"{path}: {name} is up to {array.max()}; allowed: what int64 holds")
    return array.astype(np.int64)


def _check_shape(path: Path, name: str, array: np.ndarray, *shape: int | None) -> None:
    fits = len(shape) == array.ndim and all(
        n == found or (n is None and found) for n, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("N" if n is None else str(n) for n in shape)
        raise FormatError(f"{path}: {name} has shape {array.shape}, not [{wanted}]")


def _scalar(arrays: dict[str, np.ndarray], name: str, default: int) -> int:
    """Return an integer of the file, the default without one, and -1 where it is another thing."""
    held = arrays.get(name, np.asarray(default))
    return int(held) if held.shape == () and held.dtype.kind in "iu" else -1
