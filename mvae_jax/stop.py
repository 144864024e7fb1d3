"""A signal's wish that the run should end, read between epochs and told to the other processes."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Interrupted(Exception):
    """The user or the machine asked the run to stop; a checkpoint has been saved."""


class Stop:
    """Whether to stop: because this process was told to, or another one of the run."""

    def __init__(self, shared: Path | None) -> None:
        self.received = False
        self.shared = shared

    @property
    def asked(self) -> bool:
        """Whether a signal has come; tells the other processes."""
        if self.shared is None:
            return self.received
        if self.received:
            self.shared.touch()
        return self.shared.exists()


@contextmanager
def on_signal(shared: Path | None) -> Iterator[Stop]:
    """Turns SIGINT, SIGTERM and SIGUSR1 into a flag that the loop reads between epochs.

    SIGUSR1 is what SLURM sends before a job's time is up.

    shared: a file by which several processes tell each other; None where there is one
    """
    stop = Stop(shared)

    def handle(signum: int, _frame: Any) -> None:
        stop.received = True
        if signum == signal.SIGINT:  # a second Ctrl-C stops at once; SLURM may send others twice
            signal.signal(signum, previous[signum])
        print(f"{signal.Signals(signum).name}: stopping after this epoch", file=sys.stderr)

    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    previous: dict[int, Any] = {signum: signal.signal(signum, handle) for signum in stopping}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
