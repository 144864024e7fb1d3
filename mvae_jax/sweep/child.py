"""Run Python commands as child processes that get this process's signals."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from mvae_jax import terminal


@contextlib.contextmanager
def handling_signals(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function handle the signals that would stop this process."""
    before = {signum: signal.signal(signum, handler) for signum in terminal.SIGNALS}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


def call(*arguments: str) -> int:
    """Run Python with the arguments to its end; return its exit status.

    A signal that would stop this process is handed on, and the child is waited for.
    """
    received: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def hand_on(signum: int, _frame: Any) -> None:
        received.append(signum)
        for child in children:
            child.send_signal(signum)

    # In a process group of its own, so that a Ctrl-C reaches it through `hand_on` alone.
    command = [sys.executable, *arguments]
    with handling_signals(hand_on), subprocess.Popen(command, process_group=0) as child:
        children.append(child)
        if received:  # before there was a child to hand it to
            child.send_signal(received[0])
        returned = child.wait()
    return terminal.INTERRUPTED if received or -returned in terminal.SIGNALS else returned
