"""Runs a grid of configurations on this machine: each a process of its own, on a device of its own.

    python launch/sweep.py --dataset=mnist_basic,cifar10 --model=vae,mvae --latent=2,4,16 \\
        --num_seeds=10 --root=runs [--data_dir=DIR] [--config.FIELD=VALUE ...]

The grid is written to ROOT/sweep.jsonl: a line per configuration, with its run folder below ROOT,
its command and what it costs relative to the others. Whatever runs commands can execute it; this
does on one machine, `launch/slurm.py` on a cluster. Called again, it runs what is not finished,
and with more --num_seeds the new seeds alone.

Exit status 0: everything is there, 1: a run failed, its folder holds another configuration or
another process trains there, 2: usage, 130: interrupted; the same command goes on.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grid
import joblib
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mvae_jax import config as config_lib
from mvae_jax import datasets, paths
from mvae_jax.config import ConfigError
from mvae_jax.report.watch import duration
from mvae_jax.store import run_folder, status

LOCKED = 3  # main's exit status where another process is training
TAIL_LINES = 15  # of a failed run's log


class Slot(NamedTuple):
    """A share of the machine that one run at a time has to itself."""

    environment: dict[str, str]
    cores: set[int]


def main() -> None:
    """Expands the grid, writes it and runs it."""
    args, passed = parse()
    try:
        entries = grid.expand(args, passed)
    except (ConfigError, datasets.DataError) as error:
        terminal.exit_with(error)
    if args.dry_run:
        print(grid.to_lines(entries), end="")
        return
    missing, refused = grid.sort_out(args.root, entries, args.overwrite)
    for workdir, reason in refused:
        terminal.say(f"{workdir}: {reason}")
    try:
        number = grid.add(args, [e for e in entries if e.workdir not in dict(refused)])
    except (OSError, ValueError) as error:
        terminal.exit_with(error)
    if args.manifest_only:
        print(f"{args.root / 'sweep.jsonl'}: {number} runs")
        sys.exit(int(bool(refused)))
    sys.exit(execute(missing, len(entries), len(refused), args.root, slots(args.jobs)))


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Returns the sweep's own arguments, and the flags to be passed to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=_list, required=True, help="configs' names or paths")
    both = ",".join(config_lib.MODELS)
    parser.add_argument("--model", type=_list, default=both, help=f"by default {both}")
    parser.add_argument("--latent", type=_list, required=True, help="latent sizes: 2,16,32")
    parser.add_argument(
        "--protocol", type=_list, default="release", help="release (default), paper"
    )
    parser.add_argument("--num_seeds", type=int, help="of every run; by default the config's, 5")
    parser.add_argument(
        "--root", type=paths.from_user, default="runs", help="of the run folders; runs"
    )
    parser.add_argument("--order", choices=("cheapest", "longest"), default="cheapest")
    parser.add_argument("--jobs", type=int, help="runs at a time; by default a GPU or a core each")
    parser.add_argument("--overwrite", action="store_true", help="move differing runs aside")
    parser.add_argument("--manifest_only", action="store_true", help="write the grid, run nothing")
    parser.add_argument("--dry_run", action="store_true", help="print the grid and do nothing")
    args, passed = parser.parse_known_args()
    for flag in passed:
        if flag != grid.ACCEPT and not flag.startswith(("--config.", "--data_dir=")):
            parser.error(
                f"got {flag!r}; allowed: --config.FIELD=VALUE, --data_dir=DIR and {grid.ACCEPT}, "
                "which every run is given; lists have commas, as in --latent=2,16"
            )
    for name in ("dataset", "model", "latent", "protocol"):
        values = getattr(args, name)
        if not values or len(set(values)) < len(values):
            parser.error(
                f"--{name}: got {','.join(values)!r}; allowed: one value or more, once each"
            )
    try:
        passed = [_absolute(flag) for flag in passed]
    except paths.PathError as error:
        parser.error(str(error))
    if args.num_seeds is not None:
        passed.append(f"--config.num_seeds={args.num_seeds}")
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs: got {args.jobs}; allowed: an integer above 0")
    return args, passed


def slots(jobs: int | None) -> list[Slot]:
    """Returns as many shares of the machine as there are jobs: GPUs, else cores, dealt in turn."""
    cores = sorted(os.sched_getaffinity(0))
    gpus = find_gpus()
    number = jobs or len(gpus) or joblib.cpu_count()
    shares = []
    for job in range(number):
        environment = {"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if gpus else {}
        mine = set(cores) if gpus else set(cores[job % len(cores) :: number])
        shares.append(Slot(environment, mine))
    return shares


def find_gpus() -> list[str]:
    """Returns the GPUs that this process may use, by the names that CUDA knows them by."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError:
        return []
    return (
        [str(n) for n, _ in enumerate(listed.stdout.splitlines())] if not listed.returncode else []
    )


class Sweep:
    """The state that the slots' threads share."""

    def __init__(self, entries: list[grid.Entry], root: Path) -> None:
        self.root = root
        self.waiting: queue.SimpleQueue[grid.Entry] = queue.SimpleQueue()
        for e in entries:
            self.waiting.put(e)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        # Its exit status, why it could not run, or None where it has but started.
        self.events: queue.SimpleQueue[tuple[grid.Entry, int | str | None]] = queue.SimpleQueue()
        self.stopped = False

    def log(self, entry: grid.Entry) -> Path:
        """The file that a run's output goes to."""
        return self.root / "logs" / f"{entry.workdir}.txt"

    def work(self, slot: Slot) -> None:
        """Runs one entry after the other until none is left."""
        while not self.stopped:
            try:
                e = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self.events.put((e, self.run(e, slot)))
            except OSError as error:  # a full disk, a log that cannot be opened
                self.events.put((e, f"{error}"))

    def run(self, entry: grid.Entry, slot: Slot) -> int:
        """Runs one entry to its end; returns its exit status."""
        log = self.log(entry)
        log.parent.mkdir(parents=True, exist_ok=True)
        failed = run_folder.failure_mark(log)  # for whoever watches
        failed.unlink(missing_ok=True)
        with log.open("ab") as file:  # which a sweep beside this one may write as well
            process = subprocess.Popen(
                entry.command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | slot.environment | {"PYTHONIOENCODING": "utf-8"},
                start_new_session=True,  # a Ctrl-C comes from here, once
            )
        os.sched_setaffinity(process.pid, slot.cores)  # before it has started any thread
        self.running[entry.workdir] = process
        if self.stopped:  # between the two lines above
            process.send_signal(signal.SIGINT)
        self.events.put((entry, None))
        returned = process.wait()
        self.running.pop(entry.workdir)
        if returned not in (0, LOCKED) and not self.stopped:
            failed.write_text(f"exit status {returned}\n", encoding="utf-8")
        return returned

    def stop(self, *_: Any) -> None:
        """Starts nothing more and lets the running ones save and end."""
        self.stopped = True
        for process in list(self.running.values()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)


def execute(
    entries: list[grid.Entry], total: int, num_refused: int, root: Path, shares: list[Slot]
) -> int:
    """Runs the entries, shows how they and those that are done go, returns the exit status."""
    sweep = Sweep(entries, root)
    for signum in terminal.SIGNALS:
        signal.signal(signum, sweep.stop)
    threads = [threading.Thread(target=sweep.work, args=(slot,)) for slot in shares]
    console = Console(stderr=True)

    def say(text: str) -> None:  # as it stands: a log's brackets are no markup
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    done, failed, held = total - len(entries) - num_refused, 0, 0
    with display(console, sweep, total) as show:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or not sweep.events.empty():
            show(done)
            try:
                e, returned = sweep.events.get(timeout=0.5)
            except queue.Empty:
                continue
            if returned is None:
                if not console.is_terminal:
                    say(f"{e.workdir}: started")
                continue
            done += returned == 0
            held += returned == LOCKED
            if returned == LOCKED:
                say(f"{e.workdir}: another process is training there")
            elif returned == 0:
                if not console.is_terminal:
                    say(f"{e.workdir}: done, {done} of {total}")
            elif isinstance(returned, str):
                failed += 1
                say(f"{e.workdir}: failed ({returned})")
            elif not sweep.stopped:
                failed += 1
                tail = (
                    sweep.log(e)
                    .read_text(encoding="utf-8", errors="replace")
                    .splitlines()[-TAIL_LINES:]
                )
                say("\n  ".join([f"{e.workdir}: failed (exit status {returned}):", *tail]))
        show(done)
    counts = {"failed": failed, "held by other processes": held}
    counts["left alone"] = num_refused
    said = "".join(f", {n} {what}" for what, n in counts.items() if n or what == "failed")
    say(f"{done} of {total} runs are complete{said}")
    if sweep.stopped:
        say("interrupted; the same command goes on")
        return 130
    return int(done < total)


@contextlib.contextmanager
def display(console: Console, sweep: Sweep, total: int) -> Iterator[Any]:
    """Yields the function that shows the running runs and how many are done."""
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("all runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns)
    task = bar.add_task("", total=total)
    with Live(console=console, auto_refresh=False) as live:

        def show(done: int) -> None:
            bar.update(task, completed=done)
            live.update(Group(table(sweep), bar), refresh=True)

        yield show


def table(sweep: Sweep) -> Table:
    """Returns a line per running run."""
    lines = Table(box=None)
    for name in ("run", "epoch", "ELBO, nats", "left"):
        lines.add_column(name, justify="left" if name == "run" else "right")
    for workdir in sorted(sweep.running):
        with contextlib.suppress(run_folder.RunFolderError):
            found = status.of(sweep.root / workdir)
            lines.add_row(
                workdir,
                f"{found.epoch}/{found.num_epochs}" if found.epoch else "starting",
                f"{found.elbo:.2f}" if found.epoch else "",
                duration(found.seconds_left),
            )
    return lines


def _absolute(flag: str) -> str:
    """Return a flag whose value is a path as it may be given in any folder."""
    name, _, value = flag.partition("=")
    is_path = name in ("--data_dir", "--config.photographs") and value != ""
    if is_path or (name == "--config.dataset" and value.endswith(".npz")):
        return f"{name}={paths.from_user(value).absolute()}"
    return flag


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


if __name__ == "__main__":
    terminal.command(main)
