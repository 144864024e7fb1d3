"""What every command shares: its terminal's characters, closed pipes, interrupts, the exit status.

`prepare` comes before a command's slow imports, `command` runs it. What is slow to import is
imported here where it is used: until `prepare`, an interrupt is a traceback.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO

INTERRUPTED = 130  # exit status
# SIGUSR1 is what SLURM sends before a job's time is up.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GO_ON = "what is finished is kept, and the same command goes on"
EXIT_SECONDS = 5.0  # that an interrupted process has for its end

_received: list[int] = []  # the signals that have raised KeyboardInterrupt

READABLE = "mvae_jax.readable"  # the name of the error handler below
SUBSTITUTES = {"→": "->", "←": "<-", "↑": "^", "↓": "v", "±": "+/-", "†": "+", "‡": "++"}


def is_starting() -> bool:
    """Return whether Python is on its way to a command of the package: `python -m mvae_jax...`."""
    started_with = " ".join(sys.orig_argv)
    ours = " -m mvae_jax" in started_with or " -mmvae_jax" in started_with
    return ours and sys.argv[:1] == ["-m"]  # which is so until the command's module is found


def prepare() -> None:
    """Make the standard streams take every character, and signals end the process at once.

    A later write to a pipe that nobody reads, as behind `| head`, is dropped: the work goes on.
    """
    if signal.getsignal(signal.SIGINT) is leave:
        return
    codecs.register_error(READABLE, _substitute)
    sys.stdout, sys.stderr = _stream(sys.stdout), _stream(sys.stderr)
    for signum in SIGNALS:
        signal.signal(signum, leave)
    atexit.register(_end)  # the first to be registered is the last to be called


def command(main: Callable[[], object]) -> NoReturn:
    """Run a command, and exit with the status that it returns or exits with.

    A signal raises KeyboardInterrupt, so that temporary files go; a second one ends at once. Either
    gives one line and the status INTERRUPTED.
    """
    prepare()
    sys.unraisablehook = _unraisable
    for signum in SIGNALS:
        signal.signal(signum, _interrupt)
    status: Any
    try:
        status = main()
    except SystemExit as error:
        status = error.code
    except BaseException as error:  # KeyboardInterrupt, or what a library has made of it
        if _received:
            status = INTERRUPTED
            print(_line(_received[0]), file=sys.stderr)
            threading.Thread(target=_end_late, daemon=True).start()
        elif isinstance(error, OSError):  # a full disk, a folder that cannot be written
            status = f"error: {error}"
        else:
            raise
    if not _received:  # all is done
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
    unwritten = _flush()
    status = status or unwritten
    if isinstance(status, str):
        say(status)
        status = 1
    sys.exit(status)


def _interrupt(signum: int, _frame: Any) -> None:
    _received.append(signum)
    signal.signal(signum, leave)
    raise KeyboardInterrupt


def _unraisable(error: Any) -> None:
    """Leave where KeyboardInterrupt was raised in a library's callback, which swallows it."""
    if _received:
        leave(_received[0])
    sys.__unraisablehook__(error)


def _end() -> None:
    """End an interrupted process before the interpreter takes itself apart.

    Compiled code may be running still, and a signal would have its default action there.
    """
    if _received:
        os._exit(INTERRUPTED)


def _end_late() -> None:
    """End the process though a library's threads, of a download say, keep it from ending."""
    time.sleep(EXIT_SECONDS)
    os._exit(INTERRUPTED)


def is_command() -> bool:
    """Return whether this process runs a command of the package, and not a program of the user's.

    A notebook, say, which is not to end because an import or a training is interrupted.
    """
    return signal.getsignal(signal.SIGINT) in (_interrupt, leave)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Let signals end the process at once while a command imports libraries.

    They may swallow an exception from a signal's handler, or crash by it.
    """
    if not is_command():
        yield
        return
    previous = {signum: signal.signal(signum, leave) for signum in SIGNALS}
    yield
    for signum, handler in previous.items():
        signal.signal(signum, handler)


@contextlib.contextmanager
def starting_processes() -> Iterator[None]:
    """Start processes that leave Ctrl-C, which reaches every process of a terminal, to this one.

    They inherit the signal mask. A signal that arrives meanwhile is answered after the block, so
    that none of them is half started. Python's signals are the main thread's alone.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # whose start would end the mask
    received: list[int] = []
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            previous[signum] = signal.signal(signum, lambda number, _: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if received:
        signal.raise_signal(received[0])


def leave(signum: int, _frame: Any = None) -> NoReturn:
    """End the process at once, with one line.

    Nothing is lost, because every file is written whole or not at all. No exception has to travel
    through a library that would swallow it, or through compiled code that it would crash.
    """
    with contextlib.suppress(OSError):
        shown = "\x1b[?25h\n" if os.isatty(2) else ""  # a progress bar hides the cursor
        os.write(2, f"{shown}{_line(signum)}\n".encode())
    os._exit(INTERRUPTED)


def _line(signum: int) -> str:
    return f"{signal.Signals(signum).name}: interrupted; {GO_ON}"


def exit_with(error: Exception | str, status: int = 2) -> NoReturn:
    """Print the error as one line and exit; status 2 is a mistake of usage."""
    say(f"error: {error}")
    sys.exit(status)


def say(line: object) -> None:
    """Print one line to standard error, on which no terminal acts whatever a file put into it."""
    from mvae_jax import escape

    print(escape.plain(line), file=sys.stderr, flush=True)


class _Pipe(io.FileIO):
    """A stream's file, for which it is no error that nobody reads it any more."""

    given_up = False  # once an error was said

    def write(self, data: Any) -> int:
        if not self.given_up:
            with contextlib.suppress(BrokenPipeError):
                return super().write(data)
        return memoryview(data).nbytes


def _stream(stream: TextIO | None) -> TextIO:
    """Return a standard stream that takes every character and outlives its reader."""
    if stream is None:  # closed by who started the process
        return open(os.devnull, "w", encoding="utf-8")
    stream.flush()
    file = io.BufferedWriter(_Pipe(stream.fileno(), "wb", closefd=False))
    at_once = getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False)
    return io.TextIOWrapper(file, stream.encoding, READABLE, line_buffering=at_once)


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that an encoding lacks, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(sign: str) -> str:
    if sign in SUBSTITUTES:
        return SUBSTITUTES[sign]
    if "\udc80" <= sign <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    import unicodedata

    decomposed = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return decomposed or sign.encode("ascii", "backslashreplace").decode()


def _flush() -> str | None:
    """Let out all that was printed; return why that failed, if it did."""
    stdout: Any = sys.stdout
    try:
        stdout.flush()
        return None
    except OSError as error:
        stdout.buffer.raw.given_up = True  # or the interpreter tries again, and says so
        return f"error: standard output: {error}"
