"""Save, find and restore training states with Orbax, each with a checksum of its values.

Orbax commits a checkpoint by renaming its folder, so that a killed save leaves the one before;
it does not notice a flipped bit, so the checksum stands in the checkpoint's metadata.
"""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from unittest import mock

import jax
import numpy as np
from orbax import checkpoint as orbax

from mvae_jax.origins import UNKNOWN

State = TypeVar("State")


WAY_OUT = "delete that folder to train its seeds from the start, or pass --overwrite"


class CheckpointError(Exception):
    """A checkpoint that cannot be used; its message says what to do."""


def save(folder: Path, epoch: int, state: State, origins: Sequence[str] = ()) -> None:
    """Saves the state after `epoch` epochs, then drops the older one.

    origins: the identifiers of what trained it (`mvae_jax.origins`)
    """
    with _manager(folder, create=True) as manager:
        manager.save(
            epoch,
            args=orbax.args.StandardSave(state),
            force=True,
            custom_metadata={"sha256": _digest(state), "origins": list(origins)},
        )


def latest(folder: Path) -> int | None:
    """Returns the epoch of the newest complete checkpoint, or None; raises CheckpointError."""
    if not folder.is_dir():
        return None
    try:
        with _manager(folder) as manager:
            return manager.latest_step()
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{folder}: unreadable ({_first_line(error)}); {WAY_OUT}") from error


def origins(folder: Path, epoch: int) -> list[str]:
    """Returns the identifiers that were saved with the state; `unknown` of an older version's."""
    try:
        with _manager(folder) as manager:
            found = manager.metadata(epoch).custom_metadata["origins"]
    except (ValueError, KeyError, TypeError, OSError):
        return [UNKNOWN]
    return list(map(str, found))


def restore(folder: Path, epoch: int, like: State) -> State:
    """Restores the state of an epoch; `like` gives structure, shapes and dtypes.

    Raises:
      CheckpointError: the checkpoint is unreadable, of another shape, or damaged.
    """
    try:
        with _manager(folder) as manager:
            state: State = manager.restore(epoch, args=orbax.args.StandardRestore(like))
            stored = manager.metadata(epoch).custom_metadata
    except (ValueError, KeyError, OSError) as error:
        where = folder / str(epoch)
        raise CheckpointError(f"{where}: unreadable ({_first_line(error)}); {WAY_OUT}") from error
    if not isinstance(stored, dict) or stored.get("sha256") != _digest(state):
        raise CheckpointError(
            f"{folder / str(epoch)}: damaged, its values do not match their SHA-256; {WAY_OUT}"
        )
    return state


@contextlib.contextmanager
def _manager(folder: Path, create: bool = False) -> Iterator[orbax.CheckpointManager]:
    """Yields what writes and reads this folder, for this process alone.

    Of several processes each has cohorts of its own. Orbax, asked in process 1, would leave out
    what is numpy, refuse what lies on one process's devices, and wait for the others; so it is
    told that there is one process.
    """
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    options = orbax.CheckpointManagerOptions(
        max_to_keep=1,
        create=False,
        cleanup_tmp_directories=create,
        enable_async_checkpointing=False,
    )
    handler = orbax.StandardCheckpointHandler()  # without it, reading metadata alone warns
    with (
        mock.patch.object(jax, "process_index", return_value=0),
        mock.patch.object(jax, "process_count", return_value=1),
        _plain_path(folder.absolute()) as path,
        orbax.CheckpointManager(path, options=options, item_handlers=handler) as manager,
    ):
        yield manager


@contextlib.contextmanager
def _plain_path(folder: Path) -> Iterator[Path]:
    """Yield a path of the folder that Orbax and TensorStore take as it is written.

    They read `[1]` as a pattern, `\\` as a separator and `gs:/` as a scheme, and they cannot encode
    a name that is not UTF-8. Such a folder gets a symbolic link with a plain name.
    """
    if re.fullmatch(r"[\w/. +=,@-]*", str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mvae_jax-") as links:
        link = Path(links) / "checkpoints"
        link.symlink_to(folder)
        yield link


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _digest(state: State) -> str:
    """Returns the SHA-256 over the values of every array, in the tree's order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()
