"""Trackers: told of every epoch of every replicate while a run trains.

A tracker is any callable `start(run_folder, config)`, a class for instance, that returns an object
with `log(replicate, epoch, values)` and `finish()`. `--tracker` names one by its dotted path
(docs/extend.md shows one), or is one of OURS. Trackers change no number of a run, so they are no
part of its configuration.

After a resume a tracker is told again of epochs behind the last checkpoint, which are trained
again. Each of several processes has a tracker of its own, for the replicates that it trains.
"""

import hashlib
import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict

from mvae_jax import records, terminal
from mvae_jax.config import ConfigError


class Tracker(Protocol):
    """What `start` returns. All calls come from one thread, in order."""

    def log(self, replicate: str, epoch: int, values: Mapping[str, float]) -> None:
        """Take one epoch's values, in nats but for `parameter_norm`; they may be NaN.

        replicate: as "seed_777" or "seed_777__learning_rate=0.001"
        epoch:     from 1
        """

    def finish(self) -> None:
        """End; called once, also where a signal stops the run."""


FINISH_SECONDS = 60.0  # that a tracker has behind the training, for what it has not sent yet
Start = Callable[[Path, ConfigDict], Tracker]
Log = Callable[[str, int, Mapping[str, float]], None]
Queue = queue.SimpleQueue[tuple[str, int, Mapping[str, float]] | None]


class TensorBoard:
    """Event files in `<run folder>/tensorboard/<replicate>/`, which TensorBoard shows live."""

    def __init__(self, folder: Path, _config: ConfigDict) -> None:
        from tensorboardX import SummaryWriter

        self.writer, self.folder = SummaryWriter, folder / "tensorboard"
        self.writers: dict[str, Any] = {}

    def log(self, replicate: str, epoch: int, values: Mapping[str, float]) -> None:
        """Write the epoch's values, in place of those of a later epoch of before a resume."""
        if replicate not in self.writers:
            self.writers[replicate] = self.writer(
                str(self.folder / replicate),
                purge_step=epoch,
                flush_secs=1,
                filename_suffix=f".{epoch}",  # the rest of the name is the same within a second
            )
        for name, value in values.items():
            self.writers[replicate].add_scalar(name, value, epoch)

    def finish(self) -> None:
        """Close the files."""
        for writer in self.writers.values():
            writer.close()


class WandB:
    """A run of Weights & Biases for each replicate, in a group for the run folder.

    Project, mode and server are those of the library's own variables, as WANDB_MODE=offline.
    """

    def __init__(self, folder: Path, config: ConfigDict) -> None:
        import wandb

        self.wandb, self.folder, self.config = wandb, folder.absolute(), config.to_dict()
        self.runs: dict[str, Any] = {}

    def log(self, replicate: str, epoch: int, values: Mapping[str, float]) -> None:
        """Log the epoch's values; what a resume tells again is there already and is dropped."""
        if replicate not in self.runs:
            self.runs[replicate] = self.wandb.init(
                project=os.environ.get("WANDB_PROJECT", "mvae_jax"),
                group=self.folder.name,
                name=f"{self.folder.name} {replicate}",
                id=_identify(self.folder, replicate),
                config=self.config,
                dir=self.folder,
                resume="allow",
                reinit="create_new",  # beside those of the other replicates
                settings=self.wandb.Settings(console="off", silent=True),
            )
        self.runs[replicate].log(dict(values), step=epoch)

    def finish(self) -> None:
        """Finish the runs."""
        for run in self.runs.values():
            run.finish()


class MLflow:
    """An MLflow run for each replicate, in the experiment $MLFLOW_EXPERIMENT_NAME or `mvae_jax`.

    The store is that of MLFLOW_TRACKING_URI, or the library's default.
    """

    def __init__(self, folder: Path, config: ConfigDict) -> None:
        from mlflow import MlflowClient, entities

        self.client, self.entities, self.folder = MlflowClient(), entities, folder.absolute()
        self.parameters = [entities.Param(k, str(v)) for k, v in config.to_dict().items()]
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mvae_jax")
        known = self.client.get_experiment_by_name(name)
        self.experiment = known.experiment_id if known else self.client.create_experiment(name)
        self.runs: dict[str, str] = {}

    def log(self, replicate: str, epoch: int, values: Mapping[str, float]) -> None:
        """Log the epoch's values, to the run of before a resume where there is one."""
        if replicate not in self.runs:
            self.runs[replicate] = self._find_run(replicate)
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(k, v, now, epoch) for k, v in values.items()]
        self.client.log_batch(self.runs[replicate], metrics=metrics)

    def _find_run(self, replicate: str) -> str:
        tag = {"mvae_jax.replicate": _identify(self.folder, replicate)}
        ((key, value),) = tag.items()
        found = self.client.search_runs([self.experiment], f"tags.`{key}` = '{value}'")
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        name = f"{self.folder.name} {replicate}"
        run = self.client.create_run(self.experiment, tags=tag, run_name=name).info.run_id
        self.client.log_batch(run, params=self.parameters)
        return str(run)

    def finish(self) -> None:
        """End the runs."""
        for run in self.runs.values():
            self.client.set_terminated(run)


class Ours(NamedTuple):
    """A tracker of this package: what starts it, and the library that it needs."""

    start: Start
    library: str


OURS = {
    "tensorboard": Ours(TensorBoard, "tensorboardX"),
    "wandb": Ours(WandB, "wandb"),
    "mlflow": Ours(MLflow, "mlflow"),
}


def _identify(folder: Path, replicate: str) -> str:
    """Return what names a replicate of a run folder to a server, the same after a resume."""
    return hashlib.sha256(f"{folder}/{replicate}".encode()).hexdigest()[:16]


def find(names: Sequence[str]) -> dict[str, Start]:
    """Return the trackers of --tracker by name; raise ConfigError where one cannot be imported.

    names: of each use of the flag, which may be several with commas between
    """
    found: dict[str, Start] = {}
    for name in (name for several in names for name in several.split(",")):
        if ours := OURS.get(name):
            if importlib.util.find_spec(ours.library) is None:
                raise ConfigError(
                    f"--tracker: got {name!r} without {ours.library}; "
                    f"pip install 'mvae_jax[{name}]'"
                )
            found[name] = ours.start
            continue
        if "." not in name:
            raise ConfigError(
                f"--tracker: got {name!r}; allowed: {', '.join(OURS)}, or a dotted path, as "
                "my_module.my_tracker"
            )
        found[name] = records.load("--tracker", name)
        if not callable(found[name]):
            raise ConfigError(
                f"--tracker: got {name!r}, of the class {type(found[name]).__name__}; allowed: a "
                "class or function, called with the run folder and the configuration"
            )
    return found


@contextmanager
def tracking(starts: Mapping[str, Start], folder: Path, config: ConfigDict) -> Iterator[Log]:
    """Yield the function that tells every tracker of an epoch; finish them at the end.

    Each runs in a thread, so that it can neither delay the training nor end it.
    """
    waiting: dict[str, Queue] = {name: queue.SimpleQueue() for name in starts}
    threads = [
        threading.Thread(target=_follow, args=(name, start, folder, config, waiting[name]))
        for name, start in starts.items()
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()

    def log(*told: Any) -> None:
        for one in waiting.values():
            one.put(told)

    try:
        yield log
    finally:
        for one in waiting.values():
            one.put(None)
        for name, thread in zip(starts, threads, strict=True):
            thread.join(FINISH_SECONDS)
            if thread.is_alive():
                terminal.say(f"note: the tracker {name} has not finished and is left behind")


def _follow(name: str, start: Start, folder: Path, config: ConfigDict, waiting: Queue) -> None:
    """Run one tracker to its end. If it raises, say so on stderr and tell it no more."""
    try:
        tracker = start(folder, config)
        for told in iter(waiting.get, None):
            tracker.log(*told)
        tracker.finish()
    except Exception as error:  # a user's tracker may raise any
        said = " ".join(f"{type(error).__name__}: {error}".split())
        terminal.say(f"note: the tracker {name} failed and is off ({said}); training goes on")
