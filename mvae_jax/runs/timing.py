"""timing.jsonl: where the wall-clock time of a run went."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.runs.workdir import Workdir
from mvae_jax.store import files, run_folder


def log_time(workdir: Workdir, event: str, seconds: float, **details: Any) -> None:
    """Append one line to timing.jsonl."""
    with files.open_own(workdir.times) as file:
        file.write(json.dumps({"event": event, "seconds": round(seconds, 6), **details}) + "\n")


@contextmanager
def timed(workdir: Workdir, event: str) -> Iterator[None]:
    """Log the time that a block took."""
    start = time.perf_counter()
    yield
    log_time(workdir, event, time.perf_counter() - start)


def time_summary(path: Path) -> str:
    """Return in one line where the run's time went, over all its starts.

    What an epoch after a start takes more than the median epoch is compilation.
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
