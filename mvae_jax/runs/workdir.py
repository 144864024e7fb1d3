"""The run folder while a run writes it: its lock, what of it is missing, records and logs.

Every file has one writer. Several processes may train into one folder, each its own cohorts: a
seed's checkpoint, log, model, pictures, embeddings and record are written by the process that
trains it, config.json and environment.json by process 0, and each process has a lock and a
timing.jsonl of its own. Nothing is merged.
"""

import fcntl
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import resume, terminal
from mvae_jax.config import ConfigError
from mvae_jax.store import config_file, files, json_file, run_folder

DATA = "data.npz"  # the data of a run that was given arrays, which may be there before the run
# Three arrays-only files per replicate, written in this order.
FOLDERS = ("model", "pictures", "embeddings")


class RunError(Exception):
    """A run that cannot start or go on; its message is the one line to print."""


class LockedError(RunError):
    """Another process is training in the folder."""


class Workdir(NamedTuple):
    """A run folder as one of the processes sees that train into it."""

    path: Path
    process: int = 0

    @property
    def lock(self) -> Path:
        """The file that this process locks."""
        return self.path / f".lock{self._suffix}"

    @property
    def times(self) -> Path:
        """The log of this process' wall-clock times."""
        return self.path / f"timing{self._suffix}.jsonl"

    @property
    def _suffix(self) -> str:
        return f"-{self.process}" if self.process else ""

    def checkpoints(self, cohort: range) -> Path:
        """The folder of a cohort's checkpoints."""
        return self.path / "checkpoints" / f"seed_{cohort[0]}-{cohort[-1]}"

    def log(self, replicate: str) -> Path:
        """The log of a replicate's epochs."""
        return self.path / "logs" / f"{replicate}.jsonl"


# --- before the training -----------------------------------------------------------------------


def settle(config: FrozenConfigDict, path: Path) -> FrozenConfigDict:
    """Return the configuration to run in this folder, which may hold an earlier run."""
    stored = path / "config.json"
    if stored.is_file():
        return resume.settle(config, config_file.read(stored, sealed=True))
    if path.exists() and (
        not path.is_dir()
        or any(not f.name.startswith(".") and f.name != DATA for f in path.iterdir())
    ):
        raise ConfigError(
            f"--workdir: '{path}' exists and holds no run (no config.json); choose another"
        )
    return config


def move_aside(path: Path) -> None:
    """Rename an existing run's folder to .<name>.old-<n>, which no search for runs enters.

    Raise LockedError where a process is training there.
    """
    if (path / "config.json").is_file():
        path = path.absolute()  # of a link, the link itself
        names = (path.parent / f".{path.name}.old-{n}" for n in range(1, 1_000_000))
        aside = next(name for name in names if not name.exists())
        with ExitStack() as held:
            for process in sorted({0, *_processes(path)}):
                held.enter_context(lock(Workdir(path, process)))
            path.rename(aside)
        terminal.say(f"moved {path} to {aside}")


@contextmanager
def lock(workdir: Workdir, num_processes: int = 1) -> Iterator[None]:
    """Hold the folder; raise LockedError where another process does.

    The system releases the lock when its process ends, however it ends, so no lock is stale.

    num_processes: of this run; process 0 makes sure that no other process of an earlier run with
      more of them is still training
    """
    workdir.path.mkdir(parents=True, exist_ok=True)
    with files.open_own(workdir.lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise LockedError(f"{workdir.path}: {holder} is training there; wait for it") from error
        except OSError as error:
            raise RunError(
                f"{workdir.path}: its file system has no locks ({error}); choose another folder"
            ) from error
        if workdir.process == 0:
            for process in _processes(workdir.path):
                if process >= num_processes:
                    with lock(Workdir(workdir.path, process)):
                        pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # which tells who watches that nobody trains there


def _processes(path: Path) -> list[int]:
    """Return which processes but 0 have ever locked the folder."""
    matches = [re.fullmatch(r"\.lock-(\d+)", name) for name in os.listdir(path)]
    return [int(match[1]) for match in matches if match]


def cohorts(workdir: Workdir, config: ConfigDict, num_processes: int = 1) -> list[range]:
    """Return the cohorts of which a seed is not done: those with a checkpoint folder, then new.

    A new one has at most `seeds_per_program` seeds, and no more than what is one process' share.
    """
    folders = (workdir.path / "checkpoints").glob("seed_*")
    matches = [re.fullmatch(r"seed_(\d{1,10})-(\d{1,10})", folder.name) for folder in folders]
    found = [range(int(m[1]), int(m[2]) + 1) for m in matches if m]
    old = sorted((c for c in found if 0 < len(c) <= config_lib.MAX_REPLICATES), key=lambda c: c[0])
    # If a kill interrupted the halving of a cohort, use the halves only if both are there.
    old = [c for c in old if not set(c) <= {s for part in old if set(part) < set(c) for s in part}]
    old = [c for c in old if not any(set(c) < set(whole) for whole in old)]
    in_old = {seed for cohort in old for seed in cohort}
    done = read_done(workdir.path)

    def is_trained(seed: int) -> bool:
        replicates = config_lib.replicates([seed], config.sweep)
        return all(is_done(workdir, config, replicate.name, done) for replicate in replicates)

    seeds = config_lib.seeds(config)
    missing = [seed for seed in seeds if seed not in in_old and not is_trained(seed)]
    most = -(-len(missing) // num_processes)
    if config.seeds_per_program != "auto":
        most = min(most, int(config.seeds_per_program))
    new: list[range] = []
    for seed in missing:
        if new and new[-1].stop == seed and len(new[-1]) < most:
            new[-1] = range(new[-1].start, seed + 1)
        else:
            new.append(range(seed, seed + 1))
    return [cohort for cohort in (*old, *new) if not all(map(is_trained, cohort))]


# --- what is done ------------------------------------------------------------------------------


def is_done(workdir: Workdir, config: ConfigDict, name: str, done: dict[str, Any]) -> bool:
    """Return whether a replicate has failed or has all its files, at the last epoch.

    done: as `read_done` returns it
    """
    replicate = done.get(name, {})
    if replicate.get("epoch") != config.num_epochs:
        return False
    expected = [f for f in FOLDERS if f != "embeddings" or config.keep_embeddings]
    return "failed" in replicate or all(
        (workdir.path / folder / f"{name}.npz").is_file() for folder in expected
    )


def read_done(path: Path) -> dict[str, Any]:
    """Return the records of the replicates that are trained; raise RunError at a damaged one."""
    try:
        return run_folder.read_manifest(path)["replicates"]
    except run_folder.RunFolderError as error:
        raise RunError(
            f"{error}; delete that file: its seed's files are then written again"
        ) from error


def record_done(workdir: Workdir, name: str, record: dict[str, Any]) -> None:
    """Write done/<replicate>.json: what was trained, and the SHA-256 of its files.

    The log may grow behind what the record covers, if the run is trained for more epochs.
    """
    paths = [workdir.path / folder / f"{name}.npz" for folder in FOLDERS]
    sha256 = {
        path.relative_to(workdir.path).as_posix(): files.sha256(path)
        for path in paths
        if path.is_file()
    }
    record |= {"sha256": sha256, "log": log_extent(workdir.log(name))}
    json_file.write(workdir.path / "done" / f"{name}.json", record)


# --- logs --------------------------------------------------------------------------------------


def append_epoch(workdir: Workdir, line: dict[str, Any]) -> None:
    """Append an epoch's line to its replicate's log."""
    path = workdir.log(line["replicate"])
    path.parent.mkdir(exist_ok=True)
    with files.open_own(path) as file:
        file.write(json.dumps(line) + "\n")


def log_extent(path: Path) -> dict[str, Any]:
    """Return how many bytes a log has on the disk, and their SHA-256."""
    content = b""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut leaves a checkpoint without its log
            content = file.read()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def find_log_fault(workdir: Workdir, extents: dict[str, dict[str, Any]]) -> str:
    """Return which log does not begin with what was there at a checkpoint; empty if they all do.

    extents: by replicate, as `log_extent` returned them then
    """
    for name, extent in extents.items():
        if not run_folder.begins_as(workdir.log(name), extent):
            path = workdir.log(name)
            return f"{path}: damaged, it is not as it was at this checkpoint (SHA-256)"
    return ""


def cut_back(workdir: Workdir, names: list[str], extents: dict[str, dict[str, Any]]) -> None:
    """Drop what logs hold of epochs after a checkpoint, which are trained again."""
    for name in names:
        path = workdir.log(name)
        if path.exists():
            with files.open_own(path) as file:
                file.truncate(extents.get(name, {"bytes": 0})["bytes"])


def log_time(workdir: Workdir, event: str, seconds: float, **details: Any) -> None:
    """Append one line to timing.jsonl: where the wall-clock time of a run went."""
    with files.open_own(workdir.times) as file:
        file.write(json.dumps({"event": event, "seconds": round(seconds, 6), **details}) + "\n")


@contextmanager
def timed(workdir: Workdir, event: str) -> Iterator[None]:
    """Log the time that a block took."""
    start = time.perf_counter()
    yield
    log_time(workdir, event, time.perf_counter() - start)
