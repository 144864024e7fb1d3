"""How far a run is, and where its time went, from its folder alone; it needs no server."""

import collections
import itertools
import math
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax.store import run_folder

# Of Status.state; `unscored` lacks metrics.json, `failed` has seeds that diverged.
STATES = ("waiting", "running", "stopped", "unscored", "failed", "done")
ALIVE_SECONDS = 120  # a run that writes nothing for so long, and for five epochs, has stopped
TAIL_BYTES = 1 << 12  # of a log: its last lines


class Status(NamedTuple):
    """How far a run is.

    state:        one of STATES
    done, planned: replicates that are trained to the last epoch, and those asked for
    epoch:        the last one that was logged, of num_epochs
    elbo:         mean over the seeds in that epoch, nats per example; NaN before the first
    seconds_left: what the seeds in training need; NaN where no seed trains, and in the first epochs
    """

    state: str
    done: int = 0
    planned: int = 0
    epoch: int = 0
    num_epochs: int = 0
    elbo: float = math.nan
    seconds_left: float = math.nan


def of(folder: Path) -> Status:
    """Return how far a run is; raise RunFolderError where one of its files is damaged."""
    if not (folder / "config.json").exists():
        return Status("waiting")
    config = run_folder.read_config(folder)
    num_epochs, planned = config.get("num_epochs", 0), len(run_folder.planned_replicates(config))
    trained = run_folder.read_manifest(folder)["replicates"]
    ended = [r for r in trained.values() if r.get("epoch", num_epochs) == num_epochs]
    if len(ended) >= planned:
        failed = any("failed" in replicate for replicate in ended)
        waits = bool(run_folder.unscored(folder, config, trained))
        state = "failed" if failed else "unscored" if waits else "done"
        if state == "done":  # whose ELBO nobody is shown; of many runs, most are done
            return Status(state, len(ended), planned, num_epochs, num_epochs)
    epoch, elbo = _last_epoch(folder)
    found = Status("stopped", len(ended), planned, epoch, num_epochs, elbo)
    if len(ended) >= planned:
        return found._replace(state=state)
    firsts, later = _laps(list(run_folder.read_times(folder, TAIL_BYTES)))
    laps = firsts + later
    if _is_alive(folder, statistics.median(laps) if laps else math.nan):
        left = statistics.median(later) * (num_epochs - epoch) if later else math.nan
        return found._replace(state="running", seconds_left=left)
    return found


def time_summary(folder: Path) -> str:
    """Return in one line where the run's time went, over all its starts.

    What an epoch after a start takes more than the median epoch is compilation.
    """
    try:
        times = list(run_folder.read_times(folder))
    except run_folder.RunFolderError as error:
        return f"seconds: unknown ({error})"
    seconds: dict[str, float] = collections.defaultdict(float)
    for line in times:
        seconds[line["event"]] += line["seconds"]
    firsts, later = _laps(times)
    if "epoch" in seconds:
        usual = statistics.median(later or firsts)
        seconds["compile"] = sum(max(0, took - usual) for took in firsts)
        seconds["train"] = seconds["epoch"] - seconds["compile"]
    order = ("import", "data", "compile", "train", "embed", "evaluate", "report")
    parts = [f"{event} {seconds[event]:.1f}" for event in order if event in seconds]
    return f"seconds: {', '.join(parts)}"


def _laps(times: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return the seconds of the first epoch of each start, which compiles too, and of others."""
    firsts: list[float] = []
    later: list[float] = []
    for before, line in itertools.pairwise([{"event": ""}, *times]):
        if line["event"] == "epoch":
            (later if before["event"] == "epoch" else firsts).append(line["seconds"])
    return firsts, later


def _last_epoch(folder: Path) -> tuple[int, float]:
    """Return the epoch that was logged last, and its mean ELBO over seeds."""
    logs = run_folder.epoch_logs(folder)
    newest = max(logs, key=lambda path: path.lstat().st_mtime_ns, default=None)
    last = {
        path: line for path in logs for line in run_folder.read_epochs(path, last_bytes=TAIL_BYTES)
    }
    if newest is None or newest not in last:
        return 0, math.nan
    epoch = last[newest]["epoch"]
    elbos = [line.get("elbo") for line in last.values() if line["epoch"] == epoch]
    known = [elbo for elbo in elbos if elbo is not None]
    return epoch, statistics.fmean(known) if known else math.nan


def _is_alive(folder: Path, lap: float) -> bool:
    """Return whether a process holds the folder and has written lately.

    The text of .lock alone does not tell, because a killed process leaves it behind. Trying the
    lock would keep the next process from taking it.
    """
    lock = folder / ".lock"
    if not lock.is_file() or not lock.stat().st_size:
        return False
    files = [path for path in (lock, folder / "timing.jsonl") if path.is_file()]
    silent = time.time() - max(path.stat().st_mtime for path in files)
    return silent < max(ALIVE_SECONDS, 5 * lap if lap > 0 else 0)
