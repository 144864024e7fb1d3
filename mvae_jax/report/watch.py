"""`--watch`: which runs are done, running or failed, and how long is left."""

import collections
import datetime
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from mvae_jax import files, run_folder, status
from mvae_jax.status import Status

SHOWN = ("running", "failed", "stopped", "unscored")  # with a line each; of the others, how many
MOST_LINES = 40
PLAIN_WIDTH = 200  # of what is no terminal


def watch(paths: list[Path], every: float, also: Callable[[], None]) -> None:
    """Shows the runs below the paths until none is waiting or running; once, if no terminal.

    every: seconds between two looks; also: what is done after each
    """
    console = Console()
    if not console.is_terminal:
        Console(width=PLAIN_WIDTH).print(picture(dict(look(paths))))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = dict(look(paths))
            live.update(picture(found), refresh=True)
            also()
            if not {"waiting", "running"} & {run.state for run in found.values()}:
                return
            time.sleep(every)


def look(paths: Iterable[Path]) -> Iterator[tuple[str, Status]]:
    """Yields how far every run is that a path holds or that its sweep.jsonl lists."""
    folders = set(files.find_runs(paths, holding=("config.json",)))
    for path in paths:
        if (path / "sweep.jsonl").is_file():
            lines = (path / "sweep.jsonl").read_text().splitlines()
            folders |= {path / json.loads(line)["workdir"] for line in lines}
    for folder in sorted(folders):
        try:
            yield str(folder), status.of(folder)
        except run_folder.RunFolderError as error:
            yield f"{folder} ({error})", Status("failed")


def picture(runs: dict[str, Status]) -> RenderableType:
    """Returns the summary, and a line per run that is not simply waiting or done."""
    counts = collections.Counter(run.state for run in runs.values())
    said = ", ".join(f"{counts[state]} {state}" for state in status.STATES if counts[state])
    lines = Table(box=None)
    for name in ("run", "state", "replicates", "epoch", "ELBO, nats", "left"):
        lines.add_column(name, justify="left" if name in ("run", "state") else "right")
    shown = [(name, run) for name, run in runs.items() if run.state in SHOWN]
    for name, run in sorted(shown, key=lambda pair: SHOWN.index(pair[1].state))[:MOST_LINES]:
        lines.add_row(
            name,
            run.state,
            f"{run.done}/{run.planned}",
            f"{run.epoch}/{run.num_epochs}",
            "" if math.isnan(run.elbo) else f"{run.elbo:.2f}",
            duration(run.seconds_left),
        )
    more = len(shown) - MOST_LINES
    parts = [f"{len(runs)} runs: {said}" if runs else "no runs", lines if shown else ""]
    return Group(*parts, f"and {more} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """Returns a time as h:mm:ss; empty for NaN."""
    return "" if math.isnan(seconds) else str(datetime.timedelta(seconds=round(seconds)))
