"""The cache: every data set is parsed or made once, and then read in a fraction of a second.

An entry is one uncompressed .npz file, which carries a CRC-32 of each array and is moved into
place when complete: it is there whole or not at all. Processes that make the same entry at once
do so in folders of their own (hidden, and left behind only by a kill), and the last one's move
wins. A damaged entry is made anew.
"""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mvae_jax import paths
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.store import json_file, npz

# Part of the path: raise it when an entry's content or form changes.
VERSION = 1


def from_environment(variable: str) -> Path | None:
    """Return the path that an environment variable holds, if any; raise DataError."""
    try:
        return paths.from_user(os.environ[variable]) if os.environ.get(variable) else None
    except paths.PathError as error:
        raise DataError(f"{variable}: {error}") from error


def user_folder() -> Path:
    """Return $XDG_CACHE_HOME/mvae_jax, which is the user's own.

    Raises:
      DataError: the user has no home folder, and no variable names another one.
    """
    folder = from_environment("XDG_CACHE_HOME")
    try:
        return (folder or paths.from_user("~/.cache")) / "mvae_jax"
    except paths.PathError as error:
        raise DataError("cache: HOME is not set; set it, or MVAE_JAX_CACHE, to a folder") from error


def path(key: str) -> Path:
    """Return the file of an entry: below $MVAE_JAX_CACHE, which may be shared, else the user's."""
    folder = from_environment("MVAE_JAX_CACHE") or user_folder()
    return folder / f"datasets-{VERSION}" / f"{key}.npz"


def load_or_make(key: str, make: Callable[[Path], Parsed]) -> Parsed:
    """Return the entry, made first where it is missing or damaged.

    `make` is called with a scratch folder that vanishes afterwards.

    Raises:
      DataError: `make` raised it, or the cache cannot be written; nothing is left behind.
    """
    entry = path(key)
    try:
        if entry.exists():
            return _read(entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logging.getLogger(__name__).warning("%s: damaged (%s); made anew", entry, error)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{key}-", dir=entry.parent) as scratch:
            parsed = make(Path(scratch))
            complete = Path(scratch) / "complete.npz"
            _write(complete, parsed)
            os.replace(complete, entry)
    except OSError as error:
        raise DataError(
            f"cache {entry.parent}: cannot be written ({error.strerror or error}); "
            "set MVAE_JAX_CACHE to a folder that can"
        ) from error
    return parsed


def _write(file: Path, parsed: Parsed) -> None:
    facts = {"pixel_scale": parsed.pixel_scale, "provenance": parsed.provenance}
    arrays = {"images": parsed.images, "facts": np.array(json.dumps(facts))}
    if parsed.labels is not None:
        arrays["labels"] = parsed.labels
    arrays |= {f"index_{split}": indices for split, indices in (parsed.splits or {}).items()}
    np.savez(file, allow_pickle=False, **arrays)


def _read(file: Path) -> Parsed:
    arrays = npz.read(file, most=None)
    facts = json_file.loads(arrays["facts"].item().encode())
    labels = arrays.get("labels")
    splits = {k.removeprefix("index_"): v for k, v in arrays.items() if k.startswith("index_")}
    scale, provenance = facts["pixel_scale"], facts["provenance"]
    return Parsed(arrays["images"], labels, scale, provenance, splits or None)
