"""Graceful shutdown: a signal sets a flag that training reads between epochs."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvae_jax import terminal


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
    """Turn the signals of terminal.SIGNALS into a flag that the loop reads between epochs.

    A second Ctrl-C ends a command's process at once, and raises KeyboardInterrupt in a program of
    the user's. SLURM may send the other signals twice. In a thread, which gets no signals, nothing
    is turned.

    shared: a file by which several processes tell each other; None where there is one
    """
    stop = Stop(shared)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    is_command = terminal.is_command()

    def handle(signum: int, _frame: Any) -> None:
        if stop.received and signum == signal.SIGINT and not is_command:
            raise KeyboardInterrupt
        stop.received = True

    # Python calls a handler once the compiled epoch has returned. A thread that reads from the
    # wake-up pipe answers at once, and counts the signals.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    previous = {signum: signal.signal(signum, handle) for signum in terminal.SIGNALS}
    listener = threading.Thread(target=_listen, args=(reading, is_command), daemon=True)
    listener.start()
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(before)
        os.close(writing)
        listener.join()


def _listen(reading: int, is_command: bool) -> None:
    """Answer each signal, whose number is one byte, until the pipe is closed."""
    interrupts = 0
    with open(reading, "rb", buffering=0) as received:
        while byte := received.read(1):
            interrupts += byte[0] == signal.SIGINT
            if interrupts > 1 and is_command:
                terminal.leave(signal.SIGINT)
            if byte[0] in terminal.SIGNALS:  # Python writes those of other handlers too
                name = signal.Signals(byte[0]).name
                print(f"{name}: stopping after this epoch", file=sys.stderr, flush=True)
