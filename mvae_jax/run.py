"""The host loop of one run: train every cohort of seeds, log, checkpoint, resume, embed.

A *cohort* is a range of seeds that trains in one program and has a checkpoint folder of its own.
A fresh run is one cohort; asking a finished run for more seeds adds another, and leaves the files
of the first untouched.
"""

import importlib.metadata
import json
import math
import platform
import re
import shutil
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

from mvae_jax import checkpoint, datasets, embed, files, progress, replicas
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.datasets import Dataset


class Images(NamedTuple):
    """The images that training reads, on the device."""

    train: jax.Array
    valid: jax.Array | None


class RunError(Exception):
    """A run that cannot start or go on; its message is the one line to print."""


class Interrupted(Exception):
    """The user or the machine asked the run to stop; a checkpoint has been saved."""


def run(
    config: FrozenConfigDict, workdir: Path, data_dir: Path | None = None, overwrite: bool = False
) -> None:
    """Trains what the run folder lacks and writes its files; does nothing where all is there.

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

    precision = None if config.matmul_precision == "default" else config.matmul_precision
    with jax.default_matmul_precision(precision):
        images = _device_images(dataset)
        if config.seed_mode == "auto":
            mode = replicas.choose_mode(config, *images)
            config = FrozenConfigDict({**config.to_dict(), "seed_mode": mode})
        files.write_text(workdir / "config.json", config_lib.to_json(config))
        files.write_text(workdir / "environment.json", _to_json(_environment(config, dataset)))
        log_time(workdir, "data", data_seconds)
        for cohort in _cohorts(workdir, config):
            _train_and_embed(workdir, config, cohort, dataset, images)
    manifest = _read_manifest(workdir)
    _write_manifest(workdir, manifest["replicates"])
    if all("failed" in replicate for replicate in manifest["replicates"].values()):
        reasons = "; ".join(f"{n}: {r['failed']}" for n, r in manifest["replicates"].items())
        raise RunError(f"{workdir}: every seed has failed ({reasons}); lower the learning rate?")


def log_time(workdir: Path, event: str, seconds: float, **details: Any) -> None:
    """Appends one line to timing.jsonl, where all wall-clock figures go."""
    with (workdir / "timing.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "seconds": round(seconds, 6), **details}) + "\n")


# --- one cohort --------------------------------------------------------------------------------


def _train_and_embed(
    workdir: Path, config: ConfigDict, cohort: range, dataset: Dataset, images: Images
) -> None:
    """Brings a cohort to the last epoch and writes the files of its seeds."""
    replicates = _read_manifest(workdir)["replicates"]
    names = [f"seed_{seed}" for seed in cohort]
    if all(replicates.get(name, {}).get("epoch") == config.num_epochs for name in names):
        return
    states, failed = _train(workdir, config, cohort, images)

    start = time.perf_counter()
    for seed, name, state in zip(cohort, names, replicas.unstack(states), strict=True):
        replicates[name] = {"seed": seed, "epoch": config.num_epochs}
        if name in failed:
            replicates[name]["failed"] = failed[name]
            for folder in ("embeddings", "model", "pictures"):
                (workdir / folder / f"{name}.npz").unlink(missing_ok=True)
        else:
            embed.write(workdir, name, config, seed, state, dataset)
            if state.best is not None:
                replicates[name]["selected_epoch"] = int(state.best.epoch)
    log_time(workdir, "embed", time.perf_counter() - start, seeds=len(cohort))
    _write_manifest(workdir, replicates)


def _train(
    workdir: Path, config: ConfigDict, cohort: range, images: Images
) -> tuple[replicas.TrainState, dict[str, str]]:
    """Trains a cohort from its checkpoint, or from the start, to the last epoch.

    Returns the states, with a leading axis [S], and the reason for each failed replicate.
    """
    folder = _checkpoint_folder(workdir, cohort)
    states = replicas.init(config, cohort)
    done = checkpoint.latest(folder) or 0
    if done:
        states = checkpoint.restore(folder, done, states)
    lines = _cut_back(workdir / "metrics.jsonl", cohort, done)
    failed = {line["replicate"]: line["failed"] for line in lines if "failed" in line}
    title = f"{config.dataset} {config.model} z={config.latent_size}, {len(cohort)} seeds"

    with (
        (workdir / "metrics.jsonl").open("a") as log,
        progress.epochs(title, done, config.num_epochs) as report,
        _stop_signal() as stop,
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

            last = epoch == config.num_epochs or len(failed) == len(cohort) or stop.received
            if last or epoch % config.checkpoint_every == 0:
                checkpoint.save(folder, epoch, states)
            if stop.received and epoch < config.num_epochs:
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
        print(f"{signal.Signals(signum).name}: stopping after this epoch", file=sys.stderr)

    previous = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
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
    facts = config.to_dict()
    facts["image_shape"] = tuple(dataset.images.shape[1:])
    if config.pixel_scale is None:
        facts["pixel_scale"] = dataset.pixel_scale
    return FrozenConfigDict(facts)


def _device_images(dataset: Dataset) -> Images:
    splits = dataset.splits
    valid = jax.device_put(dataset.images[splits["valid"]]) if "valid" in splits else None
    return Images(jax.device_put(dataset.images[splits["train"]]), valid)


def _settle(config: FrozenConfigDict, workdir: Path) -> FrozenConfigDict:
    """Returns the configuration to run in this folder, which may hold an earlier run."""
    if (workdir / "config.json").is_file():
        return config_lib.settle(config, config_lib.read(workdir / "config.json"))
    if workdir.exists() and (
        not workdir.is_dir() or any(not path.name.startswith(".") for path in workdir.iterdir())
    ):
        raise ConfigError(
            f"--workdir: '{workdir}' exists and holds no run (no config.json); "
            "choose another, or pass --overwrite, which moves it aside"
        )
    return config


def _move_aside(workdir: Path) -> None:
    """Renames an existing folder to .<name>.old-<n>, which no search for runs enters."""
    if workdir.exists():
        names = (workdir.parent / f".{workdir.name}.old-{n}" for n in range(1, 1_000_000))
        aside = next(path for path in names if not path.exists())
        workdir.rename(aside)
        print(f"moved {workdir} to {aside}", file=sys.stderr)


def _checkpoint_folder(workdir: Path, cohort: range) -> Path:
    return workdir / "checkpoints" / f"seed_{cohort[0]}-{cohort[-1]}"


def _cohorts(workdir: Path, config: ConfigDict) -> list[range]:
    """Returns the cohorts that have a checkpoint, then one of the seeds in none of them."""
    cohorts = []
    for folder in sorted((workdir / "checkpoints").glob("seed_*")):
        match = re.fullmatch(r"seed_(\d+)-(\d+)", folder.name)
        if match and checkpoint.latest(folder) is not None:
            cohorts.append(range(int(match[1]), int(match[2]) + 1))
        else:  # killed before its first checkpoint
            shutil.rmtree(folder)
    cohorts.sort(key=lambda cohort: cohort[0])
    first_new = cohorts[-1][-1] + 1 if cohorts else config.first_seed
    rest = range(first_new, config_lib.seeds(config)[-1] + 1)
    return [*cohorts, rest] if rest else cohorts


def _cut_back(path: Path, cohort: range, epoch: int) -> list[dict[str, Any]]:
    """Drops a cohort's lines behind its checkpoint; returns those of the cohort that stay."""
    if not path.exists():
        return []
    kept, of_cohort = [], []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the line that a kill tore
            continue
        if line["seed"] in cohort:
            if line["epoch"] > epoch:
                continue
            of_cohort.append(line)
        kept.append(text + "\n")
    files.write_text(path, "".join(kept))
    return of_cohort


def _read_manifest(workdir: Path) -> dict[str, Any]:
    path = workdir / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else {"replicates": {}}


def _write_manifest(workdir: Path, replicates: dict[str, Any]) -> None:
    """Writes which replicates are done or failed, and the SHA-256 of the files of training."""
    names = ["config.json", "environment.json", "metrics.jsonl"]
    paths = [workdir / name for name in names]
    for folder in ("embeddings", "model", "pictures"):
        paths += sorted((workdir / folder).glob("[!.]*.npz"))
    digests = {str(path.relative_to(workdir)): files.sha256(path) for path in paths}
    manifest = {"version": 1, "replicates": replicates, "sha256": digests}
    files.write_text(workdir / "manifest.json", _to_json(manifest))


def _environment(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Returns what else a result depends on: versions, revision, devices, precision, data."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "git_revision": _git_revision(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.local_devices()],
        "matmul_precision": config.matmul_precision,
        "data": dataset.provenance,
    }


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
