"""The run folder while a run writes it: its lock, what of it is missing, manifest and logs.

Several processes may train into one folder, each its own cohorts. Checkpoints, embeddings, models
and pictures are files of a cohort or a seed, so that no two processes write the same one. Logs and
manifest belong to process 0; the others keep theirs in `.process-<n>/`, and process 0 takes them
over at the end, or at the next start.
"""

import fcntl
import json
import math
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import files, run_folder
from mvae_jax.config import ConfigError

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
    def logs(self) -> Path:
        """The folder of this process' metrics.jsonl, timing.jsonl and manifest.json."""
        return self.path / f".process-{self.process}" if self.process else self.path

    def checkpoints(self, cohort: range) -> Path:
        """The folder of a cohort's checkpoints."""
        return self.path / "checkpoints" / f"seed_{cohort[0]}-{cohort[-1]}"


# --- before the training -----------------------------------------------------------------------


def settle(config: FrozenConfigDict, path: Path) -> FrozenConfigDict:
    """Returns the configuration to run in this folder, which may hold an earlier run."""
    if (path / "config.json").is_file():
        return config_lib.settle(config, config_lib.read(path / "config.json"))
    if path.exists() and (
        not path.is_dir() or any(not inside.name.startswith(".") for inside in path.iterdir())
    ):
        raise ConfigError(
            f"--workdir: '{path}' exists and holds no run (no config.json); choose another"
        )
    return config


def move_aside(path: Path) -> None:
    """Renames an existing folder to .<name>.old-<n>, which no search for runs enters.

    Raises LockedError where a process is training there.
    """
    if (path / "config.json").is_file():
        path = path.resolve()
        names = (path.parent / f".{path.name}.old-{n}" for n in range(1, 1_000_000))
        aside = next(name for name in names if not name.exists())
        with ExitStack() as held:
            for process in (0, *(_number(folder) for folder in path.glob(".process-*"))):
                held.enter_context(lock(Workdir(path, process)))
            path.rename(aside)
        print(f"moved {path} to {aside}", file=sys.stderr)


@contextmanager
def lock(workdir: Workdir) -> Iterator[None]:
    """Holds the folder; raises LockedError where another process does.

    The system lets go of the lock when its process ends, however it ends, so that none is stale.
    """
    workdir.logs.mkdir(parents=True, exist_ok=True)
    with (workdir.logs / ".lock").open("a+", encoding="utf-8") as file:
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
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # which tells who watches that nobody trains there


def cohorts(workdir: Workdir, config: ConfigDict, num_processes: int = 1) -> list[range]:
    """Returns the cohorts of which a seed is not done: those with a checkpoint folder, then new.

    A new one has at most `seeds_per_program` seeds, and no more than what is one process' share.
    """
    folders = (workdir.path / "checkpoints").glob("seed_*")
    matches = [re.fullmatch(r"seed_(\d+)-(\d+)", folder.name) for folder in folders]
    old = sorted((range(int(m[1]), int(m[2]) + 1) for m in matches if m), key=lambda c: c[0])
    # Of a cohort that was being halved when the run was killed, the halves stand if both are there.
    old = [c for c in old if not set(c) <= {s for part in old if set(part) < set(c) for s in part}]
    old = [c for c in old if not any(set(c) < set(whole) for whole in old)]
    in_old = {seed for cohort in old for seed in cohort}
    done = read_manifest(workdir.path)["replicates"]

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


def is_done(workdir: Workdir, config: ConfigDict, name: str, done: dict[str, Any]) -> bool:
    """Returns whether a replicate has failed or has all its files, at the last epoch.

    done: the manifest's replicates
    """
    replicate = done.get(name, {})
    if replicate.get("epoch") != config.num_epochs:
        return False
    expected = [f for f in FOLDERS if f != "embeddings" or config.keep_embeddings]
    return "failed" in replicate or all(
        (workdir.path / folder / f"{name}.npz").is_file() for folder in expected
    )


# --- manifest and logs -------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest; raises RunError where it is damaged."""
    path = folder / "manifest.json"
    try:
        return {"version": 1, **run_folder.read_manifest(folder)}
    except run_folder.RunFolderError as error:
        raise RunError(f"{path}: damaged; delete it: the files are then written anew") from error


def update_manifest(workdir: Workdir, replicates: dict[str, Any], written: list[str]) -> None:
    """Records replicates that are done or failed, and the SHA-256 of files just written."""
    before = read_manifest(workdir.logs)
    hashes = {name: files.sha256(workdir.path / name) for name in written}
    manifest = before | {
        "replicates": before["replicates"] | replicates,
        "sha256": before["sha256"] | hashes,
    }
    if manifest != before:
        files.write_text(workdir.logs / "manifest.json", to_json(manifest))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl that are whole; raises RunError where it is damaged."""
    try:
        lines = list(run_folder.read_epochs(folder))
    except run_folder.RunFolderError as error:
        raise RunError(f"{error}; delete the file to go on without its curves") from error
    return [line for line in lines if None not in (line.get("seed"), line.get("epoch"))]


def cut_back(workdir: Workdir, epochs: dict[range, int]) -> None:
    """Drops the lines of this process' metrics.jsonl that stand behind the cohorts' checkpoints.

    epochs: after how many a cohort was saved
    """
    last = {seed: epoch for cohort, epoch in epochs.items() for seed in cohort}
    found = read_metrics(workdir.logs)
    kept = [line for line in found if line["epoch"] <= last.get(line["seed"], line["epoch"])]
    if found:
        _write_lines(workdir.logs / "metrics.jsonl", kept)


def merge(workdir: Workdir) -> None:
    """Takes over what other processes have logged; only process 0 may call this, and no other run.

    Killed in between, it can be called again: a seed's lines are replaced, not added.
    """
    for folder in sorted(workdir.path.glob(".process-*")):
        with lock(Workdir(workdir.path, _number(folder))):
            theirs = read_metrics(folder)
            first: dict[int, int] = {}
            for line in theirs:
                first[line["seed"]] = min(line["epoch"], first.get(line["seed"], line["epoch"]))
            ours = [
                line
                for line in read_metrics(workdir.path)
                if line["epoch"] < first.get(line["seed"], math.inf)
            ]
            _write_lines(workdir.path / "metrics.jsonl", [*ours, *theirs])
            manifest, other = read_manifest(workdir.path), read_manifest(folder)
            for field in ("replicates", "sha256"):
                manifest[field] |= other[field]
            files.write_text(workdir.path / "manifest.json", to_json(manifest))
            shutil.rmtree(folder)


def log_time(workdir: Workdir, event: str, seconds: float, **details: Any) -> None:
    """Appends one line to timing.jsonl, where all wall-clock figures go."""
    with (workdir.logs / "timing.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": event, "seconds": round(seconds, 6), **details}) + "\n")


@contextmanager
def timed(workdir: Workdir, event: str) -> Iterator[None]:
    """Logs the time that a block took."""
    start = time.perf_counter()
    yield
    log_time(workdir, event, time.perf_counter() - start)


def time_summary(path: Path) -> str:
    """Returns in one line where the run's time went, over all its starts.

    What an epoch behind a start takes more than the median epoch is compilation.
    """
    seconds: dict[str, float] = {}
    epochs: list[tuple[bool, float]] = []  # whether it is the first of a start
    before = ""
    try:
        times = list(run_folder.read_times(path))
    except run_folder.RunFolderError as error:
        return f"seconds: unknown ({error})"
    for line in times:
        event, took = line["event"], line["seconds"]
        if event == "epoch":
            epochs.append((before != "epoch", took))
        else:
            seconds[event] = seconds.get(event, 0) + took
        before = event
    if epochs:
        later = [took for first, took in epochs if not first]
        usual = float(np.median(later or [took for _, took in epochs]))
        seconds["compile"] = sum(max(0, took - usual) for first, took in epochs if first)
        seconds["train"] = sum(took for _, took in epochs) - seconds["compile"]
    order = ("import", "data", "compile", "train", "embed", "evaluate", "report")
    parts = [f"{event} {seconds[event]:.1f}" for event in order if event in seconds]
    return f"seconds: {', '.join(parts)}"


def _number(folder: Path) -> int:
    """Returns which process' folder this is."""
    return int(folder.name.rpartition("-")[2])


def to_json(value: Any) -> str:
    """Returns the text of a .json file."""
    return json.dumps(value, indent=2) + "\n"


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
