"""The host loop of one run: train every cohort of seeds, log, checkpoint, resume, embed.

A *cohort* is a range of seeds that trains in one program and has a checkpoint folder of its own.
A fresh run is one cohort; asking a finished run for more seeds adds another, and leaves the files
of the first untouched.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import __version__, checkpoint, datasets, embed, files, progress, replicas, run_folder
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.datasets import Dataset


class Images(NamedTuple):
    """The images that training reads, on the devices."""

    train: jax.Array
    valid: jax.Array | None


class RunError(Exception):
    """A run that cannot start or go on; its message is the one line to print."""


class Interrupted(Exception):
    """The user or the machine asked the run to stop; a checkpoint has been saved."""


def run(
    config: FrozenConfigDict,
    workdir: Path,
    data_dir: Path | None = None,
    overwrite: bool = False,
    profile: Path | None = None,
) -> None:
    """Trains what the run folder lacks and writes its files; does nothing where all is there.

    profile: a folder for a jax.profiler trace of a few steps, taken before the training starts.

    Raises:
      ConfigError, DataError: nothing has been computed, nothing changed on disk.
      CheckpointError: the folder's checkpoint is damaged.
      RunError: every seed has failed.
      Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    start = time.perf_counter()
    photographs = Path(config.photographs) if config.photographs else None
    dataset = datasets.load(config.dataset, config.protocol, config.source, data_dir, photographs)
    config = _with_data_facts(config, dataset)
    if overwrite:
        _move_aside(workdir)
    config = _settle(config, workdir)
    data_seconds = time.perf_counter() - start
    workdir.mkdir(parents=True, exist_ok=True)
    with _lock(workdir), _stop_signal() as stop:
        _train_missing(config, workdir, dataset, data_seconds, stop, profile)
    replicates = _read_manifest(workdir)["replicates"]
    if all("failed" in replicate for replicate in replicates.values()):
        reasons = "; ".join(f"{name}: {r['failed']}" for name, r in replicates.items())
        raise RunError(f"{workdir}: every seed has failed ({reasons}); lower the learning rate?")


def _train_missing(
    config: FrozenConfigDict,
    workdir: Path,
    dataset: Dataset,
    data_seconds: float,
    stop: "_Stop",
    profile: Path | None,
) -> None:
    """Trains and embeds the cohorts of which something is missing.

    config.json is the first file of the folder: without it the folder would not be known as a run.
    """
    cohorts = _cohorts(workdir, config)
    if not cohorts:
        if profile is not None:
            print(f"--profile: {workdir} has nothing to train, so no trace", file=sys.stderr)
        return
    precision = None if config.matmul_precision == "default" else config.matmul_precision
    with jax.default_matmul_precision(precision):
        if config.seed_mode == "auto":
            config = config_lib.replace(config, seed_mode=replicas.choose_mode())
        described = {
            "config.json": config_lib.to_json(config),
            "environment.json": _to_json(_environment(config, dataset)),
        }
        for name, text in described.items():
            files.write_text(workdir / name, text)
        _update_manifest(workdir, {}, list(described))
        log_time(workdir, "data", data_seconds)
        if profile is not None:
            images = _device_images(dataset, config.num_seeds)
            replicas.profile(config, config.seed_mode, images.train, profile)
        for cohort in cohorts:
            _train_and_embed(workdir, config, cohort, dataset, stop)


def log_time(workdir: Path, event: str, seconds: float, **details: Any) -> None:
    """Appends one line to timing.jsonl, where all wall-clock figures go."""
    with (workdir / "timing.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "seconds": round(seconds, 6), **details}) + "\n")


@contextmanager
def timed(workdir: Path, event: str) -> Iterator[None]:
    """Logs the time that a block took."""
    start = time.perf_counter()
    yield
    log_time(workdir, event, time.perf_counter() - start)


def time_summary(workdir: Path) -> str:
    """Returns in one line where the run's time went, over all its starts.

    What an epoch behind a start takes more than the median epoch is compilation.
    """
    seconds: dict[str, float] = {}
    epochs: list[tuple[bool, float]] = []  # whether it is the first of a start
    before = ""
    for line in run_folder.read_lines(workdir / "timing.jsonl"):
        event, took = line.get("event", ""), line.get("seconds", 0)
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


def prepare_jax(num_seeds: int) -> None:
    """Sets what must be set before JAX first looks for its devices.

    A CPU's cores are divided among the seeds, and compiled programs kept on disk, so that the
    second run of a configuration starts at once. They are machine code: each kind of processor and
    jaxlib has a folder of its own, and it is the user's, not one that is shared as data may be.
    $JAX_COMPILATION_CACHE_DIR stands.
    """
    replicas.split_cores(num_seeds)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    made_for = f"{importlib.metadata.version('jaxlib')} {_instructions()}"
    cache = datasets.cache.user_folder()
    folder = cache / "programs" / hashlib.sha256(made_for.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):  # without the folder, every run compiles
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _instructions() -> str:
    """Returns the processor's instruction sets, as far as the machine tells."""
    flags = _cpuinfo("flags") or _cpuinfo("Features")
    return flags or f"{platform.machine()} {platform.processor()}"


def _cpuinfo(field: str) -> str:
    """Returns what Linux says of the first core; empty where it says nothing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


# --- one cohort --------------------------------------------------------------------------------


def _train_and_embed(
    workdir: Path,
    config: ConfigDict,
    cohort: range,
    dataset: Dataset,
    stop: "_Stop",
) -> None:
    """Brings a cohort to the last epoch and writes the files of its seeds that are missing."""
    images = _device_images(dataset, len(cohort))
    states, failed = _train(workdir, config, cohort, images, stop)
    _update_manifest(workdir, {}, ["metrics.jsonl"])
    start = time.perf_counter()
    for seed, state in zip(cohort, replicas.unstack(states, len(cohort)), strict=True):
        name = f"seed_{seed}"
        if _is_done(workdir, config, name):
            continue
        replicate = {"seed": seed, "epoch": config.num_epochs}
        paths = [f"{folder}/{name}.npz" for folder in embed.FOLDERS]
        if name in failed:
            for path in paths:
                (workdir / path).unlink(missing_ok=True)
            _update_manifest(workdir, {name: replicate | {"failed": failed[name]}}, [])
            continue
        # What is reported is not rounded as the training's products may be.
        with jax.default_matmul_precision("highest"):
            embed.write(workdir, name, config, seed, state, dataset)
        if state.best is not None:
            replicate["selected_epoch"] = int(state.best.epoch)
        _update_manifest(workdir, {name: replicate}, paths)
        if stop.received:
            raise Interrupted(f"stopped after embedding {name}; the same command resumes there")
    log_time(workdir, "embed", time.perf_counter() - start, seeds=len(cohort))


def _train(
    workdir: Path, config: ConfigDict, cohort: range, images: Images, stop: "_Stop"
) -> tuple[replicas.TrainState, dict[str, str]]:
    """Trains a cohort from its checkpoint, or from the start, to the last epoch.

    Returns the states, with a leading axis [S], and the reason for each failed replicate.
    """
    folder = _checkpoint_folder(workdir, cohort)
    done = checkpoint.latest(folder) or 0
    if done:
        on_host = checkpoint.restore(folder, done, replicas.empty(config, cohort))
        states = replicas.to_devices(on_host)
    else:
        states = replicas.init(config, cohort)
    lines = _cut_back(workdir / "metrics.jsonl", cohort, done)
    failed = {line["replicate"]: line["failed"] for line in lines if "failed" in line}
    title = f"{config.dataset} {config.model} z={config.latent_size}, {len(cohort)} seeds"

    with (
        (workdir / "metrics.jsonl").open("a") as log,
        progress.epochs(title, done, config.num_epochs) as report,
    ):
        for epoch in range(done + 1, config.num_epochs + 1):
            if len(failed) == len(cohort):
                break
            start = time.perf_counter()
            states, metrics = replicas.train_epoch(config, config.seed_mode, states, *images)
            elbos = []
            for line in _epoch_lines(cohort, epoch, jax.device_get(metrics)):
                if line["replicate"] in failed:
                    continue
                log.write(json.dumps(line) + "\n")
                if "failed" in line:
                    failed[line["replicate"]] = line["failed"]
                    print(f"{line['replicate']}: failed, {line['failed']}", file=sys.stderr)
                else:
                    elbos.append(line["elbo"])
            log.flush()
            seconds = time.perf_counter() - start
            rate = len(cohort) * len(images.train) / seconds
            log_time(workdir, "epoch", seconds, epoch=epoch, seeds=len(cohort))
            report(epoch, float(np.mean(elbos)) if elbos else math.nan, rate)

            stopped = stop.received  # once: a signal behind this line waits for the next epoch
            last = epoch == config.num_epochs or len(failed) == len(cohort)
            if last or stopped or epoch % config.checkpoint_every == 0:
                checkpoint.save(folder, epoch, replicas.to_host(states, len(cohort)))
            if stopped:
                raise Interrupted(f"stopped after epoch {epoch}; the same command resumes there")
    return states, failed


def _epoch_lines(
    cohort: range, epoch: int, metrics: replicas.EpochMetrics
) -> Iterator[dict[str, Any]]:
    """Yields one line of metrics.jsonl per seed; `failed` names the first value not finite."""
    for replicate, seed in enumerate(cohort):
        found = {k: v[replicate] for k, v in metrics._asdict().items() if v is not None}
        values = found | {"elbo": float(found["log_likelihood"]) - float(found["kl"])}
        line = {"replicate": f"seed_{seed}", "seed": seed, "split": "train", "epoch": epoch}
        bad = [f"{k} was {v} in epoch {epoch}" for k, v in values.items() if not math.isfinite(v)]
        if bad:
            line["failed"] = bad[0]
        # JSON has no NaN and no infinity.
        yield line | {k: float(v) if math.isfinite(v) else None for k, v in values.items()}


class _Stop:
    received = False


@contextmanager
def _stop_signal() -> Iterator[_Stop]:
    """Turns SIGINT and SIGTERM into a flag that the loop reads between epochs."""
    stop = _Stop()

    def handle(signum: int, _frame: Any) -> None:
        stop.received = True
        signal.signal(signum, previous[signum])  # a second one stops at once
        print(f"{signal.Signals(signum).name}: stopping after this epoch", file=sys.stderr)

    previous: dict[int, Any] = {
        signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


# --- the run folder ----------------------------------------------------------------------------


def _with_data_facts(config: FrozenConfigDict, dataset: Dataset) -> FrozenConfigDict:
    """Returns the configuration with the image's shape and scale, checked against the data."""
    num_train = len(dataset.splits["train"])
    if config.batch_size > num_train:
        raise ConfigError(
            f"config.batch_size: got {config.batch_size}; "
            f"allowed: 1 to the {num_train} training examples of {config.dataset}"
        )
    if config.select == "best_valid" and "valid" not in dataset.splits:
        raise ConfigError(
            f"config.select: got 'best_valid'; allowed: last, since the {config.protocol} protocol "
            f"of {config.dataset} has no validation split"
        )
    return config_lib.replace(
        config,
        source=dataset.source,
        image_shape=tuple(dataset.images.shape[1:]),
        pixel_scale=dataset.pixel_scale if config.pixel_scale is None else config.pixel_scale,
        data_sha256=datasets.digest(dataset),
    )


def _device_images(dataset: Dataset, num_seeds: int) -> Images:
    of_split = {
        split: replicas.share_images(dataset.images[dataset.splits[split]], num_seeds)
        for split in ("train", "valid")
        if split in dataset.splits
    }
    return Images(of_split["train"], of_split.get("valid"))


def _settle(config: FrozenConfigDict, workdir: Path) -> FrozenConfigDict:
    """Returns the configuration to run in this folder, which may hold an earlier run."""
    if (workdir / "config.json").is_file():
        return config_lib.settle(config, config_lib.read(workdir / "config.json"))
    if workdir.exists() and (
        not workdir.is_dir() or any(not path.name.startswith(".") for path in workdir.iterdir())
    ):
        raise ConfigError(
            f"--workdir: '{workdir}' exists and holds no run (no config.json); choose another"
        )
    return config


def _move_aside(workdir: Path) -> None:
    """Renames an existing folder to .<name>.old-<n>, which no search for runs enters."""
    if (workdir / "config.json").is_file():
        workdir = workdir.resolve()
        names = (workdir.parent / f".{workdir.name}.old-{n}" for n in range(1, 1_000_000))
        aside = next(path for path in names if not path.exists())
        workdir.rename(aside)
        print(f"moved {workdir} to {aside}", file=sys.stderr)


def _checkpoint_folder(workdir: Path, cohort: range) -> Path:
    return workdir / "checkpoints" / f"seed_{cohort[0]}-{cohort[-1]}"


def _cohorts(workdir: Path, config: ConfigDict) -> list[range]:
    """Returns the cohorts of which a seed is not done: those with a checkpoint folder, then new."""
    folders = (workdir / "checkpoints").glob("seed_*")
    matches = [re.fullmatch(r"seed_(\d+)-(\d+)", folder.name) for folder in folders]
    old = sorted((range(int(m[1]), int(m[2]) + 1) for m in matches if m), key=lambda c: c[0])
    in_old = {seed for cohort in old for seed in cohort}
    new: list[range] = []
    for seed in config_lib.seeds(config):
        if seed in in_old or _is_done(workdir, config, f"seed_{seed}"):
            continue
        if new and new[-1].stop == seed:
            new[-1] = range(new[-1].start, seed + 1)
        else:
            new.append(range(seed, seed + 1))
    return [
        cohort
        for cohort in (*old, *new)
        if not all(_is_done(workdir, config, f"seed_{seed}") for seed in cohort)
    ]


def _is_done(workdir: Path, config: ConfigDict, name: str) -> bool:
    """Returns whether a replicate has failed or has all its files, at the last epoch."""
    replicate = _read_manifest(workdir)["replicates"].get(name, {})
    if replicate.get("epoch") != config.num_epochs:
        return False
    expected = [f for f in embed.FOLDERS if f != "embeddings" or config.keep_embeddings]
    return "failed" in replicate or all((workdir / f / f"{name}.npz").is_file() for f in expected)


def _cut_back(path: Path, cohort: range, epoch: int) -> list[dict[str, Any]]:
    """Drops a cohort's lines behind its checkpoint; returns those of the cohort that stay."""
    if not path.exists():
        return []
    kept, of_cohort = [], []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
            in_cohort, behind = line["seed"] in cohort, line["epoch"] > epoch
        except (ValueError, KeyError, TypeError):  # the line that a kill tore
            continue
        if in_cohort and behind:
            continue
        if in_cohort:
            of_cohort.append(line)
        kept.append(text + "\n")
    files.write_text(path, "".join(kept))
    return of_cohort


def _read_manifest(workdir: Path) -> dict[str, Any]:
    path = workdir / "manifest.json"
    try:
        return {"version": 1, **run_folder.read_manifest(workdir)}
    except run_folder.RunFolderError as error:
        raise RunError(f"{path}: damaged; delete it: the files are then written anew") from error


def _update_manifest(workdir: Path, replicates: dict[str, Any], written: list[str]) -> None:
    """Records replicates that are done or failed, and the SHA-256 of files just written."""
    manifest = _read_manifest(workdir)
    manifest["replicates"] |= replicates
    manifest["sha256"] |= {name: files.sha256(workdir / name) for name in written}
    files.write_text(workdir / "manifest.json", _to_json(manifest))


@contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    """Holds the run folder; raises RunError where another process does."""
    with (workdir / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{workdir}: another process is training there; wait for it") from error
        yield


def _environment(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Returns what else a result depends on: versions, revision, devices, precision, data."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {
        "versions": {"python": platform.python_version(), "mvae_jax": __version__, **versions},
        "platform": platform.platform(),
        "processor": processor(),
        "git_revision": _git_revision(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.local_devices()],
        "matmul_precision": config.matmul_precision,
        "data": dataset.provenance,
    }


def processor() -> str:
    """Returns the host's processor and the number of its cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpuinfo('model name') or platform.machine()}, {cores} cores"


def _git_revision() -> str | None:
    """Returns the revision of the checkout that the package runs from, if it is one."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _to_json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
