"""One run: its folder, and the cohorts of seeds that are trained, resumed and embedded in it.

A *cohort* is a range of seeds that trains in one program and has a checkpoint folder of its own.
A fresh run is one cohort, or more where the memory or `seeds_per_program` bounds them; asking a
finished run for more seeds adds another, and leaves the files of the first untouched. Where
several processes share a run, each has cohorts of its own: no seed needs another.
"""

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import jax
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import (
    datasets,
    likelihoods,
    model,
    numerics,
    optimizers,
    paths,
    posteriors,
    records,
    replicas,
    sources,
)
from mvae_jax.config import ConfigError
from mvae_jax.datasets import Dataset
from mvae_jax.runs import checkpoint, environment
from mvae_jax.runs import cohort as cohort_lib
from mvae_jax.runs import workdir as workdir_lib
from mvae_jax.runs.stop import Interrupted, Stop, on_signal
from mvae_jax.runs.trackers import Start, tracking
from mvae_jax.runs.workdir import RunError, Workdir, log_time
from mvae_jax.store import config_file, json_file, origins

sources.hashes()  # as they are loaded: an edit of a file from here on changes nothing that runs


@numerics.fixed()
def run(
    config: FrozenConfigDict,
    path: Path,
    data_dir: Path | None = None,
    overwrite: bool = False,
    profile: Path | None = None,
    accept_changes: bool = False,
    trackers: Mapping[str, Start] | None = None,
) -> None:
    """Train what the run folder lacks and write its files; do nothing if it lacks nothing.

    accept_changes: goes on with a run that other code or settings trained, and marks it
    profile: a folder for a jax.profiler trace of a few steps, taken before the training starts
    trackers: what is told of every epoch, by name

    Raises:
      ConfigError, DataError: nothing has been computed, nothing changed on disk.
      CheckpointError: the folder's checkpoint is damaged.
      LockedError: another process is training there.
      RunError: every seed has failed, or the device has no room for one.
      Interrupted: on SIGINT, SIGTERM or SIGUSR1, after a checkpoint.
    """
    start = time.perf_counter()
    _check_named(config)  # mistakes are answered at once
    photographs = Path(config.photographs) if config.photographs else None
    dataset = datasets.load(config.dataset, config.protocol, config.source, data_dir, photographs)
    config = _with_data_facts(config, dataset)
    environment.check_platform()
    _check_named(config)
    process, num_processes = environment.processes()
    workdir = Workdir(path, process)
    if overwrite and process == 0:
        workdir_lib.move_aside(path)
    environment.wait_for_all("the old folder is out of the way")
    config = workdir_lib.settle(config, path)
    data_seconds = time.perf_counter() - start
    with (
        on_signal(path / ".stop" if num_processes > 1 else None) as stop,
        workdir_lib.lock(workdir, num_processes),
    ):
        if process == 0:
            (path / ".stop").unlink(missing_ok=True)
        environment.wait_for_all("every process holds its lock")
        interrupted = None
        try:
            _check_origin(config, workdir, num_processes, accept_changes)
            if cohorts := workdir_lib.cohorts(workdir, config, num_processes):
                config = _describe_start(config, workdir, dataset, data_seconds)
                if profile is not None:
                    _profile(config, dataset, profile)
                mine = cohorts[process::num_processes]
                _train_cohorts(config, workdir, mine, dataset, stop, trackers or {})
            else:
                _record_nothing_to_train(config, workdir, profile)
        except Interrupted as error:
            interrupted = error
        environment.wait_for_all("all have trained")  # or have been stopped
        if stop.asked and num_processes > 1:
            interrupted = interrupted or Interrupted(
                "another process was stopped; the same command resumes there"
            )
        if interrupted:
            raise interrupted
    done = workdir_lib.read_done(path)
    if process == 0 and done and all("failed" in record for record in done.values()):
        reasons = "; ".join(f"{name}: {r['failed']}" for name, r in done.items())
        raise RunError(f"{path}: every seed has failed ({reasons}); lower the learning rate?")


def _check_named(config: FrozenConfigDict) -> None:
    """Raise ConfigError where what the configuration names by dotted path cannot be trained.

    More is tried where the image's shape is known.
    """
    posteriors.of(config).heads(config), likelihoods.of(config)
    model.check(config)
    optimizers.check(config)
    sources.hashes(records.modules(config))


def _check_origin(
    config: FrozenConfigDict, workdir: Workdir, num_processes: int, accepted: bool
) -> None:
    """Raise ConfigError where other code or settings trained what is in the folder."""
    cohorts = workdir_lib.cohorts(workdir, config, num_processes)
    earlier = origins.named_by(workdir_lib.read_done(workdir.path).values())
    for cohort in cohorts:
        details = checkpoint.newest_details(workdir.checkpoints(cohort))
        earlier |= set(details.get("origins", ()))
    if earlier:
        origins.check(workdir.path, earlier, environment.origin(config), bool(cohorts), accepted)


def _describe_start(
    config: FrozenConfigDict, workdir: Workdir, dataset: Dataset, data_seconds: float
) -> FrozenConfigDict:
    """Write what a start of the run begins with; return the configuration, its mode chosen.

    config.json is the first file of the folder: without it the folder would not be known as a run.
    """
    if config.seed_mode == "auto":
        config = config_lib.replace(config, seed_mode=replicas.choose_mode())
    _describe(config, workdir, dataset)
    if workdir.process == 0:
        log_time(workdir, "data", data_seconds)
    environment.wait_for_all("config.json is written")
    return config


def _profile(config: FrozenConfigDict, dataset: Dataset, profile: Path) -> None:
    number = len(config_lib.replicates(config_lib.seeds(config), config.sweep))
    images, _ = cohort_lib.device_images(dataset, number)
    with _precision(config), paths.plain(profile) as folder:
        replicas.profile(config, config.seed_mode, images, folder)


def _train_cohorts(
    config: FrozenConfigDict,
    workdir: Workdir,
    left: list[range],
    dataset: Dataset,
    stop: Stop,
    starts: Mapping[str, Start],
) -> None:
    """Train and embed this process' share of the cohorts of which something is missing."""
    with _precision(config), tracking(starts, workdir.path, config) as track:
        while left:
            cohort = left.pop(0)
            try:
                cohort_lib.train_and_embed(workdir, config, cohort, dataset, stop, track)
                continue
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            # Behind the `except`, which would keep the arrays of the failed try alive.
            left[:0] = halves = cohort_lib.halve(config, workdir, cohort)
            config = config_lib.replace(config, seeds_per_program=str(len(halves[0])))
            _describe(config, workdir, dataset)


def _precision(config: ConfigDict) -> AbstractContextManager[None]:
    default = config.matmul_precision == "default"
    return jax.default_matmul_precision(None if default else config.matmul_precision)


def _record_nothing_to_train(config: ConfigDict, workdir: Workdir, profile: Path | None) -> None:
    """Write config.json again where a finished run's harmless fields have other values now."""
    if profile is not None:
        print(f"--profile: {workdir.path} has nothing to train, so no trace", file=sys.stderr)
    path = workdir.path / "config.json"
    stored = config_file.read(path, sealed=True)
    harmless = {field: config[field] for field in config_lib.HARMLESS}
    changed = {k: value for k, value in harmless.items() if value != stored.get(k, value)}
    if changed and workdir.process == 0:
        json_file.write(path, config_lib.replace(stored, **changed).to_dict())


def _describe(config: ConfigDict, workdir: Workdir, dataset: Dataset) -> None:
    """Write config.json and environment.json, which keeps the origins of earlier starts.

    A process other than 0 writes its origins alone, because its device may be another one.
    """
    origin = environment.origin(config)
    described = {"origins": {**origins.read(workdir.path), origins.identify(origin): origin}}
    if workdir.process:
        json_file.write(workdir.path / f"environment-{workdir.process}.json", described)
        return
    json_file.write(workdir.path / "config.json", config.to_dict())
    described = environment.describe(config, dataset) | described
    json_file.write(workdir.path / "environment.json", described)


def _with_data_facts(config: FrozenConfigDict, dataset: Dataset) -> FrozenConfigDict:
    """Return the configuration with the image's shape and scale, checked against the data."""
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
    if config.patience and "valid" not in dataset.splits:
        raise ConfigError(
            f"config.patience: got {config.patience}; allowed: 0, since the {config.protocol} "
            f"protocol of {config.dataset} has no validation split"
        )
    return config_lib.replace(
        config,
        source=dataset.source,
        image_shape=tuple(dataset.images.shape[1:]),
        pixel_scale=dataset.pixel_scale if config.pixel_scale is None else config.pixel_scale,
        data_sha256=datasets.digest(dataset),
    )
