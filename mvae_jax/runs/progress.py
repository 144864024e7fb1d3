"""How a long run shows itself: a live line in a terminal or a notebook, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_LINES = 10  # per cohort of seeds
CELL_SECONDS = 0.2  # between two changes of a notebook's line


@contextmanager
def epochs(title: str, first: int, total: int) -> Iterator[Callable[[int, float, float], None]]:
    """Show epochs `first` + 1 to `total`; yield the function that reports each.

    It takes the number of epochs done, the mean ELBO over seeds in nats, and examples per second.
    All epochs but the first, which compiles, tell how long those to come will take.
    """
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}  {task.fields[said]}"),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(title, total=total, completed=first, said="compiling")
    every = max(1, total // PLAIN_LINES)
    show = _cell_line(f"{title}: compiling")
    compiled = shown = 0.0  # when the first epoch had ended, and when the last line was shown

    def report(epoch: int, elbo: float, rate: float) -> None:
        nonlocal compiled, shown
        said, now = f"ELBO {elbo:.2f} nats, {rate:,.0f} examples/s", time.monotonic()
        if timed := epoch - first - 1:
            said += f", {(now - compiled) / timed * (total - epoch):.0f} s left"
        else:
            compiled = now
        bar.update(task, completed=epoch, said=said)
        if show is not None:
            if now - shown > CELL_SECONDS or epoch == total:
                shown = now
                show(f"{title}: epoch {epoch}/{total}, {said}")
        elif bar.disable and (epoch % every == 0 or epoch == total):
            print(f"{title}: epoch {epoch}/{total}, {said}", file=sys.stderr, flush=True)

    with bar:
        yield report


def _cell_line(text: str) -> Callable[[str], None] | None:
    """Show a line in the notebook's cell; return what replaces it, or None outside a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    from IPython.display import display

    line = display({"text/plain": text}, raw=True, display_id=True)
    return lambda text: line.update({"text/plain": text}, raw=True)
