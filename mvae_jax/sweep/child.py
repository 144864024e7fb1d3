"""Run Python commands as child processes that get this process's signals."""

import signal
import subprocess
import sys
from typing import Any

from mvae_jax import terminal


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

    before = {signum: signal.signal(signum, hand_on) for signum in terminal.SIGNALS}
    # In a process group of its own, so that a Ctrl-C reaches it through `hand_on` alone.
    with subprocess.Popen([sys.executable, *arguments], process_group=0) as child:
        children.append(child)
        if received:  # before there was a child to hand it to
            child.send_signal(received[0])
        returned = child.wait()
    for signum, handler in before.items():
        signal.signal(signum, handler)
    return terminal.INTERRUPTED if received or -returned in terminal.SIGNALS else returned
