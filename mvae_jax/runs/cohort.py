"""One cohort: a range of seeds that trains in one program, with a checkpoint folder of its own."""

import math
import shutil
import statistics
import sys
import time
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mvae_jax import config as config_lib
from mvae_jax import embed, replicas
from mvae_jax.config import Replicate
from mvae_jax.datasets import Dataset
from mvae_jax.runs import checkpoint, environment, progress
from mvae_jax.runs import workdir as workdir_lib
from mvae_jax.runs.stop import Interrupted, Stop
from mvae_jax.runs.trackers import Log
from mvae_jax.runs.workdir import RunError, Workdir, log_time
from mvae_jax.store import origins


class Progress(NamedTuple):
    """What is known of a cohort's training beside its state, at a checkpoint.

    logs:          by replicate, the bytes that its log had and their SHA-256
    failed:        by replicate, why its training failed
    origins:       the identifiers of what trained it, as `origins.identify` gives them
    epoch_seconds: median time of an epoch per seed, without those that compile; None if unknown
    stopped:       by replicate, the epoch after which its patience ended
    """

    logs: dict[str, dict[str, Any]]
    failed: dict[str, str]
    origins: list[str]
    epoch_seconds: float | None
    stopped: Mapping[str, int] = MappingProxyType({})

    def of(self, names: list[str]) -> "Progress":
        """Return what concerns these replicates."""
        logs = {name: extent for name, extent in self.logs.items() if name in names}
        failed = {name: reason for name, reason in self.failed.items() if name in names}
        stopped = {name: epoch for name, epoch in self.stopped.items() if name in names}
        return self._replace(logs=logs, failed=failed, stopped=stopped)


def train_and_embed(
    workdir: Workdir,
    config: ConfigDict,
    cohort: range,
    dataset: Dataset,
    stop: Stop,
    track: Log,
) -> None:
    """Bring a cohort to the last epoch and write the files of its seeds that are missing."""
    replicates = config_lib.replicates(cohort, config.sweep)
    states, known = _train(workdir, config, cohort, dataset, stop, track)
    start = time.perf_counter()
    done = workdir_lib.read_done(workdir.path)
    for trained, state in zip(replicates, replicas.unstack(states, len(replicates)), strict=True):
        name, seed = trained.name, trained.seed
        if workdir_lib.is_done(workdir, config, name, done):
            continue
        record: dict[str, Any] = {"seed": seed, "epoch": config.num_epochs}
        record["origins"] = known.origins
        if trained.swept:
            record["swept"] = trained.swept
        if known.epoch_seconds is not None:
            record["epoch_seconds"] = known.epoch_seconds
        if name in known.stopped:
            record["stopped_epoch"] = known.stopped[name]
        if name in known.failed:
            for folder in workdir_lib.FOLDERS:
                (workdir.path / folder / f"{name}.npz").unlink(missing_ok=True)
            record["failed"] = known.failed[name]
        else:
            # What is reported is not rounded as the training's products may be.
            with jax.default_matmul_precision("highest"):
                embed.write(workdir.path, name, _likelihood(config, trained), seed, state, dataset)
            if config.select == "best_valid":
                record["selected_epoch"] = int(state.best.epoch)
        workdir_lib.record_done(workdir, name, record)
        if stop.asked:
            raise Interrupted(f"stopped after embedding {name}; the same command resumes there")
    checkpoint.prune(workdir.checkpoints(cohort), keep=1)
    log_time(workdir, "embed", time.perf_counter() - start, seeds=len(cohort))


def halve(config: ConfigDict, workdir: Workdir, cohort: range) -> list[range]:
    """Return the halves of a cohort that does not fit the device's memory, checkpoint included."""
    if len(cohort) == 1:
        raise RunError(
            f"{workdir.path}: one seed does not fit the device's memory; lower the batch_size"
        )
    half = -(-len(cohort) // 2)
    print(f"{len(cohort)} seeds do not fit the device's memory; trying {half}", file=sys.stderr)
    log_time(workdir, "out of memory", 0.0, seeds=len(cohort))
    halves = [cohort[:half], cohort[half:]]
    folder = workdir.checkpoints(cohort)
    if found := checkpoint.restore(folder, replicas.empty(config_lib.of_program(config), cohort)):
        replicates = config_lib.replicates(cohort, config.sweep)
        row = half * (len(replicates) // len(cohort))
        for part, rows in zip(halves, (slice(row), slice(row, None)), strict=True):
            taken = jax.tree.map(itemgetter(rows), found.state)
            names = [replicate.name for replicate in replicates[rows]]
            shutil.rmtree(workdir.checkpoints(part), ignore_errors=True)  # of a killed halving
            details = Progress(**found.details).of(names)._asdict()
            checkpoint.save(workdir.checkpoints(part), found.epoch, taken, details)
        shutil.rmtree(folder)
    return halves


def device_images(dataset: Dataset, num_seeds: int) -> tuple[jax.Array, jax.Array | None]:
    """Return the images of `train` and `valid` on every device that trains so many seeds."""

    def share(split: str) -> jax.Array:
        return replicas.share_images(dataset.images[dataset.splits[split]], num_seeds)

    return share("train"), share("valid") if "valid" in dataset.splits else None


def _train(
    workdir: Workdir,
    config: ConfigDict,
    cohort: range,
    dataset: Dataset,
    stop: Stop,
    track: Log,
) -> tuple[replicas.TrainState, Progress]:
    """Train a cohort from its newest good checkpoint, or from the start, to the last epoch.

    Return the states, with a leading axis [S], and what else is known of them.
    """
    replicates = config_lib.replicates(cohort, config.sweep)
    number, of_program = len(replicates), config_lib.of_program(config)
    images = device_images(dataset, number)
    done, states, so_far = _start(workdir, config, cohort)
    failed, stopped = dict(so_far.failed), dict(so_far.stopped)
    laps: list[float] = []  # seconds per epoch and seed, without the first epoch, which compiles

    with progress.epochs(_title(config, cohort, number), done, config.num_epochs) as report:
        for epoch in range(done + 1, config.num_epochs + 1):
            if len(failed | stopped) == number:
                break
            start = time.perf_counter()
            states, metrics = replicas.train_epoch(of_program, config.seed_mode, states, *images)
            metrics = jax.device_get(metrics)
            going = [(n, r) for n, r in enumerate(replicates) if r.name not in failed | stopped]
            elbos = _log_epoch(workdir, config, going, epoch, metrics, failed, track)
            if metrics.stopped is not None:
                stopped |= {r.name: epoch for n, r in going if metrics.stopped[n]}
            seconds = time.perf_counter() - start
            if epoch > done + 1:
                laps.append(seconds / len(cohort))
            log_time(workdir, "epoch", seconds, epoch=epoch, seeds=len(cohort))
            rate = number * len(dataset.splits["train"]) / seconds
            report(epoch, float(np.mean(elbos)) if elbos else math.nan, rate)

            interrupted = stop.asked  # once: a signal after this line waits for the next epoch
            last = epoch == config.num_epochs or len(failed | stopped) == number
            if last or interrupted or epoch % config.checkpoint_every == 0:
                logs = {r.name: workdir_lib.log_extent(workdir.log(r.name)) for r in replicates}
                lap = statistics.median(laps) if laps else so_far.epoch_seconds
                so_far = Progress(logs, dict(failed), so_far.origins, lap, dict(stopped))
                on_host = replicas.to_host(states, number)
                checkpoint.save(workdir.checkpoints(cohort), epoch, on_host, so_far._asdict())
            if interrupted:
                raise Interrupted(f"stopped after epoch {epoch}; the same command resumes there")
    return states, so_far


def _start(
    workdir: Workdir, config: ConfigDict, cohort: range
) -> tuple[int, replicas.TrainState, Progress]:
    """Return the epochs that are done, the states after them, and what else is known of them."""
    of_program = config_lib.of_program(config)
    names = [replicate.name for replicate in config_lib.replicates(cohort, config.sweep)]

    def find_fault(details: dict[str, Any]) -> str:
        return workdir_lib.find_log_fault(workdir, details["logs"])

    like = replicas.empty(of_program, cohort)
    if found := checkpoint.restore(workdir.checkpoints(cohort), like, find_fault):
        done, states = found.epoch, replicas.to_devices(found.state)
        so_far = Progress(**found.details)
    else:
        done, states = 0, replicas.init(of_program, cohort)
        so_far = Progress({}, {}, [], None)
    workdir_lib.cut_back(workdir, names, so_far.logs)
    now = origins.identify(environment.origin(config))
    return done, states, so_far._replace(origins=list(dict.fromkeys([*so_far.origins, now])))


def _title(config: ConfigDict, cohort: range, number: int) -> str:
    seeds = "1 seed" if len(cohort) == 1 else f"{len(cohort)} seeds"
    what = seeds if number == len(cohort) else f"{number} replicates"
    return f"{Path(config.dataset).name} {config.model} z={config.latent_size}, {what}"


def _likelihood(config: ConfigDict, replicate: Replicate) -> ConfigDict:
    """Return the configuration by which a trained model is read, which has no optimiser."""
    swept = {k: v for k, v in replicate.swept.items() if k == "likelihood_variance"}
    return config_lib.of_program(config_lib.replace(config, **swept))


def _log_epoch(
    workdir: Workdir,
    config: ConfigDict,
    replicates: list[tuple[int, Replicate]],
    epoch: int,
    metrics: replicas.EpochMetrics,
    failed: dict[str, str],
    track: Log,
) -> list[float]:
    """Log the epoch of the replicates that were trained, each with its row; return their ELBOs.

    A value that is not finite is a failure, which is added to `failed`.
    """
    elbos = []
    told = {k: v for k, v in metrics._asdict().items() if v is not None and k != "stopped"}
    for row, replicate in replicates:
        name = replicate.name
        values = {k: float(v[row]) for k, v in told.items()}
        values["elbo"] = values["log_likelihood"] - values["kl"]
        beta = replicate.swept.get("beta", config.beta)
        values["loss"] = beta * values["kl"] - values["log_likelihood"]
        line = {"replicate": name, "seed": replicate.seed, "split": "train"}
        line |= {"epoch": epoch, **replicate.swept}
        bad = [f"{k} was {v} in epoch {epoch}" for k, v in values.items() if not math.isfinite(v)]
        if bad:
            line["failed"] = failed[name] = bad[0]
            print(f"{name}: failed, {bad[0]}", file=sys.stderr)
        else:
            elbos.append(values["elbo"])
        # JSON has no NaN and no infinity.
        line |= {k: v if math.isfinite(v) else None for k, v in values.items()}
        workdir_lib.append_epoch(workdir, line)
        track(name, epoch, values)
    return elbos
