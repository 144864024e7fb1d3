"""`--watch`: which runs are done, running or failed, and how long is left."""

import collections
import datetime
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mvae_jax import escape
from mvae_jax.store import files, run_folder, status
from mvae_jax.store.files import PathLike
from mvae_jax.store.status import Status

SHOWN = ("running", "failed", "stopped", "unscored")  # with a line each; of the others, how many
MOST_LINES = 40
LONGEST = 1e10  # seconds that are shown as time left
PLAIN_WIDTH = 200  # of what is no terminal


class Seen(NamedTuple):
    """A run: its folder, below the root where there is one root; its cost as its sweep has it."""

    name: str
    status: Status
    cost: float


def watch(paths: PathLike | Iterable[PathLike], every: float, also: Callable[[], None]) -> None:
    """Shows the runs below the paths until none is waiting or running; once, if no terminal.

    every: seconds between two looks; also: what is done after each
    """
    paths, console = files.as_paths(paths), Console()
    if not console.is_terminal:
        Console(width=PLAIN_WIDTH).print(picture(list(look(paths))))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = list(look(paths))
            live.update(picture(found), refresh=True)
            also()
            if not {"waiting", "running"} & {run.status.state for run in found}:
                return
            time.sleep(every)


def look(paths: list[Path]) -> Iterator[Seen]:
    """Yields how far every run is that a path holds or that its sweep.jsonl lists."""
    for path in paths:
        try:
            listed = run_folder.read_sweep(path)
        except run_folder.RunFolderError as error:
            yield Seen(f"sweep.jsonl ({error})", Status("failed"), 0.0)
            listed = {}
        for folder in sorted({*files.find_runs([path], holding=("config.json",)), *listed}):
            name = str(folder.relative_to(path)) if len(paths) == 1 else str(folder)
            entry = listed.get(folder, {})
            cost = entry.get("cost", 0.0)
            log = path / "logs" / f"{entry.get('workdir')}.txt"
            failed = run_folder.failure_mark(log).is_file()
            try:
                found = _as_asked(status.of(folder), entry, failed)
                if failed and found.state == "failed":
                    name += f" ({log} says why)"
                yield Seen(name, found, cost)
            except Exception as error:  # whatever its files hold: the other runs are shown
                yield Seen(f"{name} ({error})", Status("failed"), cost)


def _as_asked(found: Status, entry: dict[str, Any], failed: bool) -> Status:
    """Returns the status, seen from what the sweep asks for and whether it saw the run fail."""
    more = entry.get("num_replicates", 0) > found.planned
    more |= entry.get("num_epochs", 0) > found.num_epochs
    if failed and found.state in ("waiting", "stopped", "unscored"):
        return found._replace(state="failed")
    if found.state not in ("waiting", "running") and more:
        planned = max(found.planned, entry.get("num_replicates", 0))
        epochs = max(found.num_epochs, entry.get("num_epochs", 0))
        return found._replace(state="waiting", planned=planned, num_epochs=epochs)
    return found


def seconds_left(runs: Iterable[Seen]) -> float:
    """Returns what the sweep will need if as many run as now; NaN where none runs.

    A run that waits takes as long, by its cost, as those that run.
    """
    runs = list(runs)
    running = [run for run in runs if run.status.seconds_left >= 0]
    rates = [_whole(run.status) / run.cost for run in running if run.cost]
    if not rates:
        return math.nan
    left = sum(run.status.seconds_left for run in running)
    for run in runs:
        if run.status.state in ("waiting", "stopped"):
            done = run.status.epoch / max(1, run.status.num_epochs)
            if run.status.done:
                done *= run.status.done / run.status.planned
            left += run.cost * statistics.median(rates) * (1 - done)
    return left / len(running)


def _whole(found: Status) -> float:
    """Returns the seconds of a running run, from its first epoch to its last."""
    return found.seconds_left * found.num_epochs / max(1, found.num_epochs - found.epoch)


def picture(runs: list[Seen]) -> RenderableType:
    """Returns the summary, and a line per run that is not simply waiting or done."""
    counts = collections.Counter(run.status.state for run in runs)
    said = ", ".join(f"{counts[state]} {state}" for state in status.STATES if counts[state])
    left = duration(seconds_left(runs))
    said += f"; about {left} left" if left else ""
    lines = Table(box=None)
    for name in ("run", "state", "replicates", "epoch", "ELBO, nats", "left"):
        lines.add_column(name, justify="left" if name in ("run", "state") else "right")
    shown = [run for run in runs if run.status.state in SHOWN]
    for name, run, _ in sorted(shown, key=lambda seen: SHOWN.index(seen.status.state))[:MOST_LINES]:
        lines.add_row(
            Text(escape.plain(name)),  # which rich would take for markup
            run.state,
            f"{run.done}/{run.planned}",
            f"{run.epoch}/{run.num_epochs}",
            "" if math.isnan(run.elbo) else f"{run.elbo:.2f}",
            duration(run.seconds_left),
        )
    parts: list[RenderableType] = [f"{len(runs)} runs: {said}" if runs else "no runs"]
    if shown:
        parts.append(lines)
    if len(shown) > MOST_LINES:
        parts.append(f"and {len(shown) - MOST_LINES} more")
    return Group(*parts)


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss; empty where there is none, or none that anybody lives to see."""
    return "" if not abs(seconds) < LONGEST else str(datetime.timedelta(seconds=round(seconds)))
