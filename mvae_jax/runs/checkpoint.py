"""Save and restore training states with Orbax, each beside a record that says whether it is whole.

A cohort's folder holds, for the newest two checkpoints, Orbax's folder `<epoch>/` and the record
`<epoch>.json`. Orbax commits a checkpoint by renaming its folder; it does not notice a flipped
bit, a file that is gone, or that its own removal of an old checkpoint was cut off. So the record,
written last, has the SHA-256 of every file: a checkpoint is good if it has a record and all of
that matches, and training goes on from the newest good one.
"""

import contextlib
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tensorstore
from orbax import checkpoint as orbax

from mvae_jax import paths
from mvae_jax.store import files, json_file

KEPT = 2  # checkpoints of a cohort while it trains
MARGIN = 1 << 20  # bytes of a checkpoint beside its arrays
OS_ERROR = re.compile(r"os_error_code='(\d+)'")


class CheckpointError(Exception):
    """A checkpoint that cannot be used; its message says what to do."""


class Restored(NamedTuple):
    """A state that was saved after so many epochs, and what `save` was given to remember."""

    epoch: int
    state: Any
    details: dict[str, Any]


def save(folder: Path, epoch: int, state: Any, details: dict[str, Any]) -> None:
    """Save the state after `epoch` epochs, and drop the oldest checkpoint.

    details: what else a resumed run has to know, as JSON holds it

    Raise OSError where it cannot be written; the checkpoints before it stay.
    """
    where = folder / str(epoch)
    _remove(where)  # what a kill, or a fallback to an earlier epoch, has left there
    folder.mkdir(parents=True, exist_ok=True)
    # Asked before, because Orbax's threads do not fail in one line.
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + MARGIN
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(where))
    try:
        with _manager(folder, create=True) as manager:
            manager.save(epoch, args=orbax.args.PyTreeSave(state), force=True)
        record = {"epoch": epoch, "details": details, "files": _digests(where)}
        json_file.write(_record(where), record)
    except BaseException as error:
        for left in (where, *folder.glob(f"{epoch}.orbax-checkpoint-tmp*")):
            shutil.rmtree(left, ignore_errors=True)
        if code := OS_ERROR.search(str(error)):  # TensorStore's, which are ValueErrors
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(where)) from error
        raise
    prune(folder, KEPT)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` whole checkpoints, and records without a checkpoint."""
    epochs = _epochs(folder)
    kept = [epoch for epoch in epochs if _record(folder / str(epoch)).is_file()][:keep]
    for epoch in set(epochs).difference(kept):
        _remove(folder / str(epoch))
    for record in folder.glob("*.json"):
        if not record.with_suffix("").is_dir():
            record.unlink()


def restore(
    folder: Path, like: Any, find_fault: Callable[[dict[str, Any]], str] = lambda details: ""
) -> Restored | None:
    """Restore the newest good checkpoint; return None where there was never a whole one.

    Damaged ones that are newer are named on stderr and removed, because their epochs are trained
    again.

    like: gives structure, shapes and dtypes
    find_fault: given a checkpoint's details, says why it cannot be used; empty where it can

    Raises:
      CheckpointError: there are checkpoints, and none is good.
    """
    faults: list[str] = []
    for epoch in _epochs(folder):
        where = folder / str(epoch)
        if not _record(where).is_file():  # killed between Orbax's commit and the record
            continue
        try:
            details = _check(where)
            if fault := find_fault(details):
                raise CheckpointError(f"{where}: {fault}")
            with _manager(folder) as manager:
                state = _read(manager, epoch, like)
        except CheckpointError as error:
            faults.append(str(error))
        except (ValueError, KeyError, OSError) as error:
            faults.append(f"{where}: unreadable ({_first_line(error)})")
        else:
            for fault in faults:
                print(f"{fault}; going on from epoch {epoch}", file=sys.stderr)
            for newer in (e for e in _epochs(folder) if e > epoch):
                _remove(folder / str(newer))
            return Restored(epoch, state, details)
    if faults:
        raise CheckpointError(
            f"{'; '.join(faults)}; delete {folder} to train its seeds from the start, or pass "
            "--overwrite"
        )
    return None


def newest_details(folder: Path) -> dict[str, Any]:
    """Return the details of the newest checkpoint with a readable record; {} without one."""
    for epoch in _epochs(folder):
        with contextlib.suppress(json_file.RunFolderError):
            found = json_file.read_json(_record(folder / str(epoch)), sealed=True)
            details: dict[str, Any] = found["details"]
            return details
    return {}


def _epochs(folder: Path) -> list[int]:
    """Return the epochs of the checkpoints that Orbax has committed, the newest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if re.fullmatch(r"\d{1,7}", name)), reverse=True)


def _record(where: Path) -> Path:
    return where.with_name(f"{where.name}.json")


def _remove(where: Path) -> None:
    """Remove a checkpoint, its record first: half removed, it is not taken for whole."""
    _record(where).unlink(missing_ok=True)
    if where.is_dir():
        shutil.rmtree(where)


def _digests(where: Path) -> dict[str, str]:
    paths = sorted(path for path in where.rglob("*") if path.is_file())
    return {path.relative_to(where).as_posix(): files.sha256(path) for path in paths}


def _check(where: Path) -> dict[str, Any]:
    """Return a checkpoint's details; raise CheckpointError where a file of it is not as saved."""
    try:
        record = json_file.read_json(_record(where), sealed=True)
    except json_file.RunFolderError as error:
        raise CheckpointError(str(error)) from error
    found, saved = _digests(where), record["files"]
    for name in sorted(found.keys() | saved.keys()):
        if found.get(name) != saved.get(name):
            how = "missing" if name not in found else "not as it was saved (SHA-256)"
            raise CheckpointError(f"{where}: damaged, {name} is {how}")
    details: dict[str, Any] = record["details"]
    return details


class _HostArrays(orbax.type_handlers.NumpyHandler):
    """Writes numpy arrays in every process, where Orbax's own handler writes in process 0 alone."""

    async def serialize(self, values: Any, infos: Any, args: Any = None) -> list[Any]:
        """Write each array below `ocdbt.process_<n>`, from where Orbax merges them at the end."""
        for value, info in zip(values, infos, strict=True):
            await info.await_path_creation()
            folder = info.parent_dir / f"ocdbt.process_{jax.process_index()}"
            base = {"driver": "file", "path": f"{folder}/"}
            kvstore = {"driver": "ocdbt", "base": base, "path": f"{info.name}/"}
            store = await tensorstore.open(
                {"driver": "zarr", "kvstore": kvstore},
                create=True,
                dtype=value.dtype,
                shape=value.shape,
                context=info.ts_context,
            )
            await store.write(value)
        return []


@contextlib.contextmanager
def _manager(folder: Path, create: bool = False) -> Iterator[orbax.CheckpointManager]:
    """Yield what writes and reads this folder, for this process alone.

    Each of several processes has cohorts of its own, so Orbax waits for none of the others.
    """
    process = jax.process_index()
    alone = orbax.options.MultiprocessingOptions(
        primary_host=process,
        active_processes={process},
        barrier_sync_key_prefix=f"process_{process}",
    )
    handler = orbax.PyTreeCheckpointHandler(
        multiprocessing_options=alone,
        type_handler_registry=orbax.type_handlers.create_type_handler_registry(
            (np.ndarray, _HostArrays()),
            (jax.Array, orbax.type_handlers.ArrayHandler()),  # which a state has none of
        ),
    )
    options = orbax.CheckpointManagerOptions(
        max_to_keep=None,  # `prune` removes the older ones
        create=False,
        cleanup_tmp_directories=create,
        enable_async_checkpointing=False,
        multiprocessing_options=alone,
    )
    with (
        paths.plain(folder) as path,
        orbax.CheckpointManager(path, item_handlers=handler, options=options) as manager,
    ):
        yield manager


def _read(manager: orbax.CheckpointManager, epoch: int, like: Any) -> Any:
    """Return the saved state; raise ValueError where it is not of the structure of `like`."""
    as_numpy = jax.tree.map(lambda _: orbax.RestoreArgs(restore_type=np.ndarray), like)
    state = manager.restore(
        epoch,
        # In part: an older version's state may have had a field more, without a value.
        args=orbax.args.PyTreeRestore(item=like, restore_args=as_numpy, partial_restore=True),
    )
    for (path, saved), leaf in zip(
        jax.tree.leaves_with_path(state), jax.tree.leaves(like), strict=True
    ):
        if (saved.shape, saved.dtype) != (leaf.shape, leaf.dtype):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ValueError(f"{name} is {saved.dtype}{list(saved.shape)}, not {list(leaf.shape)}")
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
