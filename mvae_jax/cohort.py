"""One cohort: a range of seeds that trains in one program, with a checkpoint folder of its own."""

import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mvae_jax import checkpoint, embed, environment, origins, progress, replicas
from mvae_jax import config as config_lib
from mvae_jax import workdir as workdir_lib
from mvae_jax.config import Replicate
from mvae_jax.datasets import Dataset
from mvae_jax.stop import Interrupted, Stop
from mvae_jax.workdir import RunError, Workdir


class Images(NamedTuple):
    """The images that training reads, on the devices."""

    train: jax.Array
    valid: jax.Array | None


def train_and_embed(
    workdir: Workdir,
    config: ConfigDict,
    cohort: range,
    dataset: Dataset,
    stop: Stop,
) -> None:
    """Brings a cohort to the last epoch and writes the files of its seeds that are missing."""
    replicates = config_lib.replicates(cohort, config.sweep)
    images = device_images(dataset, len(replicates))
    states, failed, trained_by = _train(workdir, config, cohort, images, stop)
    start = time.perf_counter()
    done = workdir_lib.read_manifest(workdir.path)["replicates"]
    for trained, state in zip(replicates, replicas.unstack(states, len(replicates)), strict=True):
        name, seed = trained.name, trained.seed
        if workdir_lib.is_done(workdir, config, name, done):
            continue
        replicate: dict[str, Any] = {"seed": seed, "epoch": config.num_epochs}
        replicate |= {"origins": trained_by}
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


def halve(config: ConfigDict, workdir: Workdir, cohort: range) -> list[range]:
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
        replicates = config_lib.replicates(cohort, config.sweep)
        states = checkpoint.restore(folder, epoch, replicas.empty(config, cohort))
        row = half * (len(replicates) // len(cohort))
        for part, rows in zip(halves, (slice(row), slice(row, None)), strict=True):
            taken = jax.tree.map(itemgetter(rows), states)
            shutil.rmtree(workdir.checkpoints(part), ignore_errors=True)  # of a killed halving
            checkpoint.save(
                workdir.checkpoints(part), epoch, taken, checkpoint.origins(folder, epoch)
            )
        shutil.rmtree(folder)
    return halves


def device_images(dataset: Dataset, num_seeds: int) -> Images:
    """Returns the images on every device that trains so many seeds."""
    of_split = {
        split: replicas.share_images(dataset.images[dataset.splits[split]], num_seeds)
        for split in ("train", "valid")
        if split in dataset.splits
    }
    return Images(of_split["train"], of_split.get("valid"))


def _train(
    workdir: Workdir, config: ConfigDict, cohort: range, images: Images, stop: Stop
) -> tuple[replicas.TrainState, dict[str, str], list[str]]:
    """Trains a cohort from its checkpoint, or from the start, to the last epoch.

    Returns the states, with a leading axis [S], the reason for each failed replicate, and the
    identifiers of the origins that trained them.
    """
    folder, replicates = workdir.checkpoints(cohort), config_lib.replicates(cohort, config.sweep)
    done = checkpoint.latest(folder) or 0
    trained_by = checkpoint.origins(folder, done) if done else []
    trained_by = list(dict.fromkeys([*trained_by, origins.identify(environment.origin())]))
    of_program = config_lib.of_program(config)
    if done:
        on_host = checkpoint.restore(folder, done, replicas.empty(of_program, cohort))
        states = replicas.to_devices(on_host)
    else:
        states = replicas.init(of_program, cohort)
    lines = [x for x in workdir_lib.read_metrics(workdir.path) if x["seed"] in cohort]
    failed = {line["replicate"]: line["failed"] for line in lines if "failed" in line}
    number = len(replicates)
    seeds = "1 seed" if len(cohort) == 1 else f"{len(cohort)} seeds"
    what = seeds if number == len(cohort) else f"{number} replicates"
    title = f"{config.dataset} {config.model} z={config.latent_size}, {what}"

    with (
        (workdir.logs / "metrics.jsonl").open("a", encoding="utf-8") as log,
        progress.epochs(title, done, config.num_epochs) as report,
    ):
        for epoch in range(done + 1, config.num_epochs + 1):
            if len(failed) == number:
                break
            start = time.perf_counter()
            states, metrics = replicas.train_epoch(of_program, config.seed_mode, states, *images)
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
                checkpoint.save(folder, epoch, replicas.to_host(states, number), trained_by)
            if stopped:
                raise Interrupted(f"stopped after epoch {epoch}; the same command resumes there")
    return states, failed, trained_by


def _likelihood(config: ConfigDict, replicate: Replicate) -> ConfigDict:
    """Returns the configuration by which a trained model is read, which has no optimiser."""
    swept = {k: v for k, v in replicate.swept.items() if k == "likelihood_variance"}
    return config_lib.of_program(config_lib.replace(config, **swept))


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
