"""The host loop of one run: train every cohort of seeds, log, checkpoint, resume, embed.

A *cohort* is a range of seeds that trains in one program and has a checkpoint folder of its own.
A fresh run is one cohort, or more where the memory or `seeds_per_program` bounds them; asking a
finished run for more seeds adds another, and leaves the files of the first untouched. Where
several processes share a run, each has cohorts of its own: no seed needs another.
"""

import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import checkpoint, datasets, embed, environment, files, progress, replicas
from mvae_jax import config as config_lib
from mvae_jax import workdir as workdir_lib
from mvae_jax.config import ConfigError, Replicate
from mvae_jax.datasets import Dataset
from mvae_jax.workdir import RunError, Workdir


class Images(NamedTuple):
    """The images that training reads, on the devices."""

    train: jax.Array
    valid: jax.Array | None


class Interrupted(Exception):
    """The user or the machine asked the run to stop; a checkpoint has been saved."""


def run(
    config: FrozenConfigDict,
    path: Path,
    data_dir: Path | None = None,
    overwrite: bool = False,
    profile: Path | None = None,
) -> None:
    """Trains what the run folder lacks and writes its files; does nothing where all is there.

    profile: a folder for a jax.profiler trace of a few steps, taken before the training starts.

    Raises:
      ConfigError, DataError: nothing has been computed, nothing changed on disk.
      CheckpointError: the folder's checkpoint is damaged.
      LockedError: another process is training there.
      RunError: every seed has failed, or the device has no room for one.
      Interrupted: on SIGINT, SIGTERM or SIGUSR1, after a checkpoint.
    """
    start = time.perf_counter()
    photographs = Path(config.photographs) if config.photographs else None
    dataset = datasets.load(config.dataset, config.protocol, config.source, data_dir, photographs)
    config = _with_data_facts(config, dataset)
    process, num_processes = environment.processes()
    workdir = Workdir(path, process)
    if overwrite and process == 0:
        workdir_lib.move_aside(path)
    environment.wait_for_all("the old folder is out of the way")
    config = workdir_lib.settle(config, path)
    data_seconds = time.perf_counter() - start
    with _stop_signal(path / ".stop" if num_processes > 1 else None) as stop, ExitStack() as held:
        if process == 0:
            held.enter_context(workdir_lib.lock(workdir))
            (path / ".stop").unlink(missing_ok=True)
            workdir_lib.merge(workdir)
        environment.wait_for_all("what an earlier run left is merged")
        if process:
            held.enter_context(workdir_lib.lock(workdir))
        interrupted = None
        try:
            _train_missing(config, workdir, num_processes, dataset, data_seconds, stop, profile)
        except Interrupted as error:
            interrupted = error
        if process:
            held.close()
        environment.wait_for_all("all have trained")  # or have been stopped
        if stop.asked and num_processes > 1:
            interrupted = interrupted or Interrupted(
                "another process was stopped; the same command resumes there"
            )
        if interrupted:
            raise interrupted
        if process:
            return
        workdir_lib.merge(workdir)
        if (path / "metrics.jsonl").is_file():
            workdir_lib.update_manifest(workdir, {}, ["metrics.jsonl"])
    replicates = workdir_lib.read_manifest(path)["replicates"]
    if all("failed" in replicate for replicate in replicates.values()):
        reasons = "; ".join(f"{name}: {r['failed']}" for name, r in replicates.items())
        raise RunError(f"{path}: every seed has failed ({reasons}); lower the learning rate?")


def _train_missing(
    config: FrozenConfigDict,
    workdir: Workdir,
    num_processes: int,
    dataset: Dataset,
    data_seconds: float,
    stop: "_Stop",
    profile: Path | None,
) -> None:
    """Trains and embeds this process' share of the cohorts of which something is missing.

    config.json is the first file of the folder: without it the folder would not be known as a run.
    """
    cohorts = workdir_lib.cohorts(workdir, config, num_processes)
    if not cohorts:
        if profile is not None:
            print(f"--profile: {workdir.path} has nothing to train, so no trace", file=sys.stderr)
        return
    epochs = {cohort: checkpoint.latest(workdir.checkpoints(cohort)) or 0 for cohort in cohorts}
    precision = None if config.matmul_precision == "default" else config.matmul_precision
    with jax.default_matmul_precision(precision):
        if config.seed_mode == "auto":
            config = config_lib.replace(config, seed_mode=replicas.choose_mode())
        if workdir.process == 0:
            _describe(config, workdir, dataset)
            workdir_lib.log_time(workdir, "data", data_seconds)
            workdir_lib.cut_back(workdir, epochs)
        environment.wait_for_all("the cohorts are dealt out")
        if profile is not None:
            images = _device_images(dataset, len(_replicates(config, config_lib.seeds(config))))
            replicas.profile(config, config.seed_mode, images.train, profile)
        left = cohorts[workdir.process :: num_processes]
        while left:
            cohort = left.pop(0)
            try:
                _train_and_embed(workdir, config, cohort, dataset, stop)
                continue
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            # Behind the `except`, which would keep the arrays of the failed try alive.
            left[:0] = halves = _halve(config, workdir, cohort)
            config = config_lib.replace(config, seeds_per_program=str(len(halves[0])))
            if workdir.process == 0:
                _describe(config, workdir, dataset)


def _halve(config: ConfigDict, workdir: Workdir, cohort: range) -> list[range]:
    """Returns the halves of a cohort that does not fit the device's memory, checkpoint included."""
    if len(cohort) == 1:
        raise RunError(
            f"{workdir.path}: one seed does not fit the device's memory; lower the batch_size"
        )
    half = -(-len(cohort) // 2)
    print(f"{len(cohort)} seeds do not fit the device's memory; trying {half}", file=sys.stderr)
    workdir_lib.log_time(workdir, "out of memory", 0.0, seeds=len(cohort))
    halves = [cohort[:half], cohort[half:]]
    folder = workdir.checkpoints(cohort)
    epoch = checkpoint.latest(folder) or 0
    workdir_lib.cut_back(workdir, {cohort: epoch})
    if epoch:
        replicates = _replicates(config, cohort)
        states = checkpoint.restore(folder, epoch, replicas.empty(config, cohort))
        row = half * (len(replicates) // len(cohort))
        for part, rows in zip(halves, (slice(row), slice(row, None)), strict=True):
            taken = jax.tree.map(lambda leaf: leaf[rows], states)  # noqa: B023
            shutil.rmtree(workdir.checkpoints(part), ignore_errors=True)  # of a killed halving
            checkpoint.save(workdir.checkpoints(part), epoch, taken)
        shutil.rmtree(folder)
    return halves


def _describe(config: ConfigDict, workdir: Workdir, dataset: Dataset) -> None:
    """Writes config.json and environment.json."""
    described = {
        "config.json": config_lib.to_json(config),
        "environment.json": workdir_lib.to_json(environment.describe(config, dataset)),
    }
    for name, text in described.items():
        files.write_text(workdir.path / name, text)
    workdir_lib.update_manifest(workdir, {}, list(described))


# --- one cohort --------------------------------------------------------------------------------


def _train_and_embed(
    workdir: Workdir,
    config: ConfigDict,
    cohort: range,
    dataset: Dataset,
    stop: "_Stop",
) -> None:
    """Brings a cohort to the last epoch and writes the files of its seeds that are missing."""
    replicates = _replicates(config, cohort)
    images = _device_images(dataset, len(replicates))
    states, failed = _train(workdir, config, cohort, images, stop)
    start = time.perf_counter()
    done = workdir_lib.read_manifest(workdir.path)["replicates"]
    for trained, state in zip(replicates, replicas.unstack(states, len(replicates)), strict=True):
        name, seed = trained.name, trained.seed
        if workdir_lib.is_done(workdir, config, name, done):
            continue
        replicate: dict[str, Any] = {"seed": seed, "epoch": config.num_epochs}
        if trained.swept:
            replicate["swept"] = trained.swept
        paths = [f"{folder}/{name}.npz" for folder in workdir_lib.FOLDERS]
        if name in failed:
            for path in paths:
                (workdir.path / path).unlink(missing_ok=True)
            workdir_lib.update_manifest(workdir, {name: replicate | {"failed": failed[name]}}, [])
            continue
        # What is reported is not rounded as the training's products may be.
        with jax.default_matmul_precision("highest"):
            embed.write(workdir.path, name, _likelihood(config, trained), seed, state, dataset)
        if state.best is not None:
            replicate["selected_epoch"] = int(state.best.epoch)
        workdir_lib.update_manifest(workdir, {name: replicate}, paths)
        if stop.asked:
            raise Interrupted(f"stopped after embedding {name}; the same command resumes there")
    workdir_lib.log_time(workdir, "embed", time.perf_counter() - start, seeds=len(cohort))


def _train(
    workdir: Workdir, config: ConfigDict, cohort: range, images: Images, stop: "_Stop"
) -> tuple[replicas.TrainState, dict[str, str]]:
    """Trains a cohort from its checkpoint, or from the start, to the last epoch.

    Returns the states, with a leading axis [S], and the reason for each failed replicate.
    """
    folder, replicates = workdir.checkpoints(cohort), _replicates(config, cohort)
    done = checkpoint.latest(folder) or 0
    if done:
        on_host = checkpoint.restore(folder, done, replicas.empty(config, cohort))
        states = replicas.to_devices(on_host)
    else:
        states = replicas.init(config, cohort)
    lines = [x for x in workdir_lib.read_metrics(workdir.path) if x["seed"] in cohort]
    failed = {line["replicate"]: line["failed"] for line in lines if "failed" in line}
    number = len(replicates)
    seeds = "1 seed" if len(cohort) == 1 else f"{len(cohort)} seeds"
    what = seeds if number == len(cohort) else f"{number} replicates"
    title = f"{config.dataset} {config.model} z={config.latent_size}, {what}"

    with (
        (workdir.logs / "metrics.jsonl").open("a") as log,
        progress.epochs(title, done, config.num_epochs) as report,
    ):
        for epoch in range(done + 1, config.num_epochs + 1):
            if len(failed) == number:
                break
            start = time.perf_counter()
            states, metrics = replicas.train_epoch(config, config.seed_mode, states, *images)
            elbos = []
            for line in _epoch_lines(replicates, epoch, jax.device_get(metrics)):
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
            rate = number * len(images.train) / seconds
            workdir_lib.log_time(workdir, "epoch", seconds, epoch=epoch, seeds=len(cohort))
            report(epoch, float(np.mean(elbos)) if elbos else math.nan, rate)

            stopped = stop.asked  # once: a signal behind this line waits for the next epoch
            last = epoch == config.num_epochs or len(failed) == number
            if last or stopped or epoch % config.checkpoint_every == 0:
                checkpoint.save(folder, epoch, replicas.to_host(states, number))
            if stopped:
                raise Interrupted(f"stopped after epoch {epoch}; the same command resumes there")
    return states, failed


def _replicates(config: ConfigDict, seeds: range) -> list[Replicate]:
    return config_lib.replicates(seeds, config.sweep)


def _likelihood(config: ConfigDict, replicate: Replicate) -> ConfigDict:
    """Returns the configuration by which a trained model is read, which has no optimiser."""
    swept = {k: v for k, v in replicate.swept.items() if k == "likelihood_variance"}
    return config_lib.replace(config, **swept) if swept else config


def _epoch_lines(
    replicates: list[Replicate], epoch: int, metrics: replicas.EpochMetrics
) -> Iterator[dict[str, Any]]:
    """Yields one line of metrics.jsonl per replicate; `failed` names the first value not finite."""
    for row, replicate in enumerate(replicates):
        found = {k: v[row] for k, v in metrics._asdict().items() if v is not None}
        values = found | {"elbo": float(found["log_likelihood"]) - float(found["kl"])}
        line = {"replicate": replicate.name, "seed": replicate.seed, "split": "train"}
        line |= {"epoch": epoch, **replicate.swept}
        bad = [f"{k} was {v} in epoch {epoch}" for k, v in values.items() if not math.isfinite(v)]
        if bad:
            line["failed"] = bad[0]
        # JSON has no NaN and no infinity.
        yield line | {k: float(v) if math.isfinite(v) else None for k, v in values.items()}


class _Stop:
    """Whether to stop: because this process was told to, or another one of the run."""

    def __init__(self, shared: Path | None) -> None:
        self.received = False
        self.shared = shared

    @property
    def asked(self) -> bool:
        """Whether a signal has come; tells the other processes."""
        if self.shared is None:
            return self.received
        if self.received:
            self.shared.touch()
        return self.shared.exists()


@contextmanager
def _stop_signal(shared: Path | None) -> Iterator[_Stop]:
    """Turns SIGINT, SIGTERM and SIGUSR1 into a flag that the loop reads between epochs.

    SIGUSR1 is what SLURM sends before a job's time is up.

    shared: a file by which several processes tell each other; None where there is one
    """
    stop = _Stop(shared)

    def handle(signum: int, _frame: Any) -> None:
        stop.received = True
        if signum == signal.SIGINT:  # a second Ctrl-C stops at once; SLURM may send others twice
            signal.signal(signum, previous[signum])
        print(f"{signal.Signals(signum).name}: stopping after this epoch", file=sys.stderr)

    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    previous: dict[int, Any] = {signum: signal.signal(signum, handle) for signum in stopping}
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
