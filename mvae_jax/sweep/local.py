"""Run commands on this machine as child processes: a grid's, each with a GPU or cores to itself."""

import collections
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
from rich.console import Console, Group
from rich.live import Live

from mvae_jax import terminal
from mvae_jax.store import run_folder, status
from mvae_jax.sweep import watch
from mvae_jax.sweep.grid import PlannedRun

LOCKED = 3  # main's exit status where another process is training
TAIL_LINES = 15  # of a failed run's log
POLL_SECONDS = 0.1
SHOWN_PER_SECOND = 2

Process = subprocess.Popen  # of bytes


class Slot(NamedTuple):
    """A share of the machine that one run at a time has to itself."""

    environment: dict[str, str]
    cores: set[int]


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
    handed_on = 0
    command = [sys.executable, *arguments]
    # In a process group of its own, so that a Ctrl-C reaches it through this process alone.
    with (
        handling_signals(lambda signum, _: received.append(signum)),
        subprocess.Popen(command, process_group=0) as child,
    ):
        while (returned := child.poll()) is None:
            for signum in received[handed_on:]:
                child.send_signal(signum)
                handed_on += 1
            time.sleep(POLL_SECONDS)
    return terminal.INTERRUPTED if received or -returned in terminal.SIGNALS else returned


def slots(jobs: int | None) -> list[Slot]:
    """Return as many shares of the machine as there are jobs: GPUs, else cores, dealt in turn."""
    cores = sorted(os.sched_getaffinity(0))
    gpus = find_gpus()
    number = jobs or len(gpus) or joblib.cpu_count()
    if gpus:
        devices = [{"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} for job in range(number)]
        return [Slot(device, set(cores)) for device in devices]
    return [Slot({}, set(cores[job % len(cores) :: number])) for job in range(number)]


def find_gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA knows them by."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(listed.stdout.splitlines())]


def execute(
    missing: list[PlannedRun], total: int, num_refused: int, root: Path, shares: list[Slot]
) -> int:
    """Run what is missing, show how far it is, and return the command's exit status.

    total: runs of the grid, those among them that are complete or were refused
    """
    done = total - len(missing) - num_refused
    runner = Runner(root, total, num_refused, done, collections.deque(missing), list(shares))
    console = runner.console
    live = Live(get_renderable=runner.picture, console=console, refresh_per_second=SHOWN_PER_SECOND)
    shown = live if console.is_terminal else contextlib.nullcontext()
    with handling_signals(runner.interrupt), shown:
        while runner.advance():
            time.sleep(POLL_SECONDS)
    return runner.conclude()


@dataclasses.dataclass
class Runner:
    """The runs that wait, those that run, and how many have ended in which way."""

    root: Path
    total: int
    left_alone: int
    done: int
    waiting: collections.deque[PlannedRun]
    free: list[Slot]
    started: list[tuple[PlannedRun, Slot, Process]] = dataclasses.field(default_factory=list)
    failed: int = 0
    held: int = 0
    interrupts: int = 0
    handed_on: int = 0
    console: Console = dataclasses.field(default_factory=lambda: Console(stderr=True))

    def interrupt(self, *_: Any) -> None:
        """Handle a signal: `advance` starts no more, and lets the running ones save and end."""
        self.interrupts += 1

    def advance(self) -> bool:
        """Start runs in free slots and settle those that have ended; return whether any is left."""
        while self.waiting and self.free and not self.interrupts:
            self.start(self.waiting.popleft(), self.free.pop(0))
        while self.handed_on < self.interrupts:
            self.handed_on += 1
            for _, _, process in self.started:
                process.send_signal(signal.SIGINT)
        for run, slot, process in [s for s in self.started if s[2].poll() is not None]:
            self.started.remove((run, slot, process))
            self.free.append(slot)
            self.settle(run, process.returncode)
        return bool(self.started or (self.waiting and not self.interrupts))

    def start(self, run: PlannedRun, slot: Slot) -> None:
        """Start a run's command, with its output in its log."""
        log = self.log(run)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            run_folder.failure_mark(log).unlink(missing_ok=True)
            with log.open("ab") as file:  # another sweep may append to it as well
                process = subprocess.Popen(
                    run.command,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=os.environ | slot.environment | {"PYTHONIOENCODING": "utf-8"},
                    start_new_session=True,  # so that Ctrl-C reaches it only through `advance`
                )
        except OSError as error:  # a full disk, a log that cannot be opened
            self.free.append(slot)
            self.failed += 1
            self.say(f"{run.workdir}: failed ({error})")
            return
        os.sched_setaffinity(process.pid, slot.cores)  # before it has started any thread
        self.started.append((run, slot, process))
        if not self.console.is_terminal:
            self.say(f"{run.workdir}: started")

    def settle(self, run: PlannedRun, returned: int) -> None:
        """Count a run that has ended and tell how; mark a failed one for whoever watches."""
        if returned == 0:
            self.done += 1
            if not self.console.is_terminal:
                self.say(f"{run.workdir}: done, {self.done} of {self.total}")
        elif returned == LOCKED:
            self.held += 1
            self.say(f"{run.workdir}: another process is training there")
        elif not self.interrupts:
            self.failed += 1
            log, said = self.log(run), f"exit status {returned}"
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
            self.say("\n  ".join([f"{run.workdir}: failed ({said}):", *tail]))
            with contextlib.suppress(OSError):  # a full disk
                run_folder.failure_mark(log).write_text(f"{said}\n", encoding="utf-8")

    def conclude(self) -> int:
        """Tell how many runs are complete; return the command's exit status."""
        said = f"{self.done} of {self.total} runs are complete, {self.failed} failed"
        said += f", {self.held} held by other processes" if self.held else ""
        said += f", {self.left_alone} left alone" if self.left_alone else ""
        self.say(said)
        if self.interrupts:
            self.say("interrupted; the same command goes on")
            return terminal.INTERRUPTED
        return int(self.done < self.total)

    def log(self, run: PlannedRun) -> Path:
        """Return the file that a run's output goes to."""
        return self.root / "logs" / f"{run.workdir}.txt"

    def say(self, text: str) -> None:
        """Print a message as it is: the brackets of a log are not rich's markup."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def picture(self) -> Group:
        """Return how far the running runs are, and how many are done."""
        found = []
        for run, *_ in self.started:
            with contextlib.suppress(run_folder.RunFolderError):
                found.append(watch.Seen(run.workdir, status.of(self.root / run.workdir), 0.0))
        return Group(watch.lines(found), f"{self.done} of {self.total} runs are complete")
