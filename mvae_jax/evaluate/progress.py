"""How scoring shows itself: a bar on a terminal, one plain line per replicate elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mvae_jax import escape, terminal


@contextmanager
def replicates(total: int) -> Iterator[Callable[[str], None]]:
    """Yield the function to call with a line of text after each of `total` replicates."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        columns = (
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("replicates"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=total)

            def advance(line: str) -> None:
                line = escape.plain(line)
                console.print(line, markup=False, highlight=False, soft_wrap=True)
                bar.advance(task)

            yield advance
        return

    done = 0

    def plain_line(line: str) -> None:
        nonlocal done
        done += 1
        terminal.say(f"[{done}/{total}] {line}")

    yield plain_line
