"""How a long run shows itself: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINES = 10  # per cohort of seeds


class Report(Protocol):
    """Called after every epoch."""

    def __call__(self, epoch: int, elbo: float, rate: float, /) -> None:
        """epoch: epochs done; elbo: mean over seeds, nats; rate: examples per second."""


@contextmanager
def epochs(title: str, first: int, total: int) -> Iterator[Report]:
    """Shows epochs `first` + 1 to `total`; yields the function that reports each."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.completed}/{task.total}  ELBO {task.fields[elbo]:.2f} nats"),
            TextColumn("{task.fields[rate]:,.0f} examples/s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total, completed=first, elbo=float("nan"), rate=0.0)
            yield lambda epoch, elbo, rate: bar.update(task, completed=epoch, elbo=elbo, rate=rate)
        return

    start, every = time.monotonic(), max(1, total // PLAIN_LINES)

    def plain_line(epoch: int, elbo: float, rate: float) -> None:
        if epoch % every == 0 or epoch == total:
            left = (time.monotonic() - start) / (epoch - first) * (total - epoch)
            print(
                f"{title}: epoch {epoch}/{total}, ELBO {elbo:.2f} nats, "
                f"{rate:,.0f} examples/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    yield plain_line
