"""Show how far runs are, from their folders alone: on any machine that sees the file system.

    python -m mvae_jax.sweep.watch PATH...

PATH is a run folder or a root of run folders. In a terminal the page is refreshed until no run is
waiting or running; elsewhere it is printed once.

Exit status 0: done. 2: usage. 130: interrupted.
"""

import collections
import datetime
import math
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mvae_jax import escape, paths, terminal
from mvae_jax.store import files, run_folder, status
from mvae_jax.store.files import PathLike
from mvae_jax.store.status import Status
from mvae_jax.sweep import arguments

EVERY_SECONDS = 5.0
SHOWN = ("running", "failed", "stopped", "unscored")  # states with a line for each run
MOST_LINES = 40
LONGEST = 1e10  # seconds that are shown as time left
PLAIN_WIDTH = 200  # columns of the page outside a terminal


class Seen(NamedTuple):
    """A run as a look finds it.

    name: its folder, relative to the root where there is one root
    cost: as its sweep lists it; 0 where no sweep does
    """

    name: str
    status: Status
    cost: float


def main() -> None:
    """Watch the paths of the command line."""
    parser = arguments.parser("mvae_jax.sweep.watch", __doc__)
    parser.add_argument("path", nargs="+", type=paths.from_user, help="a run folder, or a root")
    args = parser.parse_args()
    try:
        files.check_folders(args.path)
    except ValueError as error:
        terminal.exit_with(error)
    watch(args.path)


def watch(paths: PathLike | Iterable[PathLike], every: float = EVERY_SECONDS) -> None:
    """Show the runs below the paths until none is waiting or running; once outside a terminal.

    every: seconds between two looks
    """
    paths, console = files.as_paths(paths), Console()
    if not console.is_terminal:
        Console(width=PLAIN_WIDTH).print(picture(list(look(paths))))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = list(look(paths))
            live.update(picture(found), refresh=True)
            if not {"waiting", "running"} & {run.status.state for run in found}:
                return
            time.sleep(every)


def look(paths: list[Path]) -> Iterator[Seen]:
    """Yield how far every run is that a path holds or that its sweep.jsonl lists."""
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
    """Return the status in view of what the sweep asks for and whether it saw the run fail."""
    more = entry.get("num_replicates", 0) > found.planned
    more |= entry.get("num_epochs", 0) > found.num_epochs
    if failed and found.state in ("waiting", "stopped", "unscored"):
        return found._replace(state="failed")
    if found.state not in ("waiting", "running") and more:
        planned = max(found.planned, entry.get("num_replicates", 0))
        epochs = max(found.num_epochs, entry.get("num_epochs", 0))
        return found._replace(state="waiting", planned=planned, num_epochs=epochs)
    return found


def seconds_left(runs: list[Seen]) -> float:
    """Return the seconds that the sweep needs if as many run as now; NaN where no run does.

    A waiting run is taken to need as long as the running ones, in proportion to its cost.
    """
    running = [run for run in runs if run.status.seconds_left >= 0]
    # Of the whole run, from its first epoch to its last.
    rates = [
        of.seconds_left * of.num_epochs / max(1, of.num_epochs - of.epoch) / cost
        for _, of, cost in running
        if cost
    ]
    if not rates:
        return math.nan
    left, rate = sum(run.status.seconds_left for run in running), statistics.median(rates)
    for _, of, cost in runs:
        if of.state in ("waiting", "stopped"):
            share = of.done / of.planned if of.done else 1.0
            left += cost * rate * (1 - share * of.epoch / max(1, of.num_epochs))
    return left / len(running)


def picture(runs: list[Seen]) -> RenderableType:
    """Return the summary, and a line for each run that is not simply waiting or done."""
    counts = collections.Counter(run.status.state for run in runs)
    said = ", ".join(f"{counts[state]} {state}" for state in status.STATES if counts[state])
    left = duration(seconds_left(runs))
    said += f"; about {left} left" if left else ""
    parts: list[RenderableType] = [f"{len(runs)} runs: {said}" if runs else "no runs"]
    shown = [run for run in runs if run.status.state in SHOWN]
    shown.sort(key=lambda run: SHOWN.index(run.status.state))
    if shown:
        parts.append(lines(shown[:MOST_LINES]))
    if len(shown) > MOST_LINES:
        parts.append(f"and {len(shown) - MOST_LINES} more")
    return Group(*parts)


def lines(runs: list[Seen]) -> Table:
    """Return a line for each run."""
    table = Table(box=None)
    for heading in ("run", "state", "replicates", "epoch", "ELBO, nats", "left"):
        table.add_column(heading, justify="left" if heading in ("run", "state") else "right")
    for name, run, _ in runs:
        table.add_row(
            Text(escape.plain(name)),  # whose brackets rich would take for markup
            run.state,
            f"{run.done}/{run.planned}",
            f"{run.epoch}/{run.num_epochs}",
            "" if math.isnan(run.elbo) else f"{run.elbo:.2f}",
            duration(run.seconds_left),
        )
    return table


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss; empty where it is unknown, or too long to be of use."""
    return "" if not abs(seconds) < LONGEST else str(datetime.timedelta(seconds=round(seconds)))


if __name__ == "__main__":
    terminal.command(main)
