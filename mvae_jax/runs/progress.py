"""How a long run shows itself: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_LINES = 10  # per cohort of seeds


class Report(Protocol):
    """Called after every epoch."""

    def __call__(self, epoch: int, elbo: float, rate: float, /) -> None:
        """epoch: epochs done; elbo: mean over seeds, nats; rate: examples per second."""


class Pace:
    """How long the epochs to come will take, told by all but the first, which compiles."""

    def __init__(self, first: int, total: int) -> None:
        self.first, self.total = first, total
        self.compiled = 0.0  # when the first epoch had ended

    def left(self, epoch: int) -> str:
        """Return the time left at the end of an epoch; empty while nobody knows."""
        now = time.monotonic()
        known = epoch - self.first - 1  # epochs that were timed
        if known == 0:
            self.compiled = now
            return ""
        return f"{(now - self.compiled) / known * (self.total - epoch):.0f} s left"


@contextmanager
def epochs(title: str, first: int, total: int) -> Iterator[Report]:
    """Show epochs `first` + 1 to `total`; yield the function that reports each."""
    console, pace = Console(file=sys.stderr), Pace(first, total)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("epoch {task.completed}/{task.total}  {task.fields[said]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total, completed=first, said="compiling")

            def live_line(epoch: int, elbo: float, rate: float) -> None:
                said = f"ELBO {elbo:.2f} nats  {rate:,.0f} examples/s  {pace.left(epoch)}"
                bar.update(task, completed=epoch, said=said)

            yield live_line
        return

    every = max(1, total // PLAIN_LINES)

    def plain_line(epoch: int, elbo: float, rate: float) -> None:
        left = pace.left(epoch)
        if epoch % every == 0 or epoch == total:
            said = [f"ELBO {elbo:.2f} nats", f"{rate:,.0f} examples/s", *([left] if left else [])]
            print(f"{title}: epoch {epoch}/{total}, {', '.join(said)}", file=sys.stderr, flush=True)

    yield plain_line
