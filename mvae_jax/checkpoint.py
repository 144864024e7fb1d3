"""Save, find and restore training states with Orbax, each with a checksum of its values.

Orbax commits a checkpoint by renaming its folder, so that a killed save leaves the one before;
it does not notice a flipped bit, so the checksum stands in the checkpoint's metadata.
"""

import hashlib
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as orbax

State = TypeVar("State")


WAY_OUT = "delete that folder to train its seeds from the start, or pass --overwrite"


class CheckpointError(Exception):
    """A checkpoint that cannot be used; its message says what to do."""


def save(folder: Path, epoch: int, state: State) -> None:
    """Saves the state after `epoch` epochs, then drops the older one."""
    with _checkpointer(folder) as checkpointer:
        checkpointer.save(
            epoch, state, force=True, overwrite=True, custom_metadata={"sha256": _digest(state)}
        )


def latest(folder: Path) -> int | None:
    """Returns the epoch of the newest complete checkpoint, or None; raises CheckpointError."""
    if not folder.is_dir():
        return None
    try:
        with _checkpointer(folder) as checkpointer:
            newest = checkpointer.latest
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{folder}: unreadable ({_first_line(error)}); {WAY_OUT}") from error
    return None if newest is None else newest.step


def restore(folder: Path, epoch: int, like: State) -> State:
    """Restores the state of an epoch; `like` gives structure, shapes and dtypes.

    Raises:
      CheckpointError: the checkpoint is unreadable, of another shape, or damaged.
    """
    try:
        with _checkpointer(folder) as checkpointer:
            state = checkpointer.load(epoch, like)
            stored = checkpointer.metadata(epoch).custom_metadata
    except (ValueError, KeyError, OSError) as error:
        where = folder / str(epoch)
        raise CheckpointError(f"{where}: unreadable ({_first_line(error)}); {WAY_OUT}") from error
    if not isinstance(stored, dict) or stored.get("sha256") != _digest(state):
        raise CheckpointError(
            f"{folder / str(epoch)}: damaged, its values do not match their SHA-256; {WAY_OUT}"
        )
    return state


def _checkpointer(folder: Path) -> orbax.training.Checkpointer:
    return orbax.training.Checkpointer(
        folder.absolute(),
        preservation_policy=orbax.training.preservation_policies.LatestN(1),
        cleanup_tmp_directories=True,
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _digest(state: State) -> str:
    """Returns the SHA-256 over the values of every array, in the tree's order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()
