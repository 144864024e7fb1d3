"""Trackers: told of every epoch of every replicate while a run trains.

A tracker is any callable `start(run_folder, config)`, a class for instance, that returns an object
with `log(replicate, epoch, values)` and `finish()`. `--tracker` names one by its dotted path
(docs/extend.md shows one), or is `tensorboard`. Trackers change no number of a run, so they are no
part of its configuration.

After a resume a tracker is told again of epochs behind the last checkpoint, which are trained
again. Each of several processes has a tracker of its own, for the replicates that it trains.
"""

import importlib.util
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

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


def find(names: Sequence[str]) -> dict[str, Start]:
    """Return the trackers of --tracker by name; raise ConfigError where one cannot be imported.

    names: of each use of the flag, which may be several with commas between
    """
    found: dict[str, Start] = {}
    for name in (name for several in names for name in several.split(",")):
        if name == "tensorboard":
            if importlib.util.find_spec("tensorboardX") is None:
                raise ConfigError(
                    "--tracker: got 'tensorboard' without tensorboardX; "
                    "pip install 'mvae_jax[tensorboard]'"
                )
            found[name] = TensorBoard
            continue
        if "." not in name:
            raise ConfigError(
                f"--tracker: got {name!r}; allowed: tensorboard, or a dotted path, as "
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
