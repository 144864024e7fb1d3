"""Submit a sweep to SLURM as job arrays; called again, submit what is neither done nor queued.

    python -m mvae_jax.sweep ... --root=runs --manifest_only
    python -m mvae_jax.sweep.slurm runs/sweep.jsonl --partition=gpu --gpus=1 --time=4:00:00 --follow

Each task of an array is one run, a command of sweep.jsonl. A run saves its state before its time
is up, and when a job of higher priority wants its node; its task is then queued again. sbatch gets
only the options that are given here, since some centres refuse options that others demand.

Exit status 0: submitted; with --follow, every run is complete. 1: with --follow, a run is missing.
2: usage, or SLURM refused.
"""

import argparse
import collections
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jinja2

from mvae_jax import paths, terminal
from mvae_jax.store import files, json_file
from mvae_jax.sweep import arguments, grid

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own
FOLLOW_SECONDS = 2  # between two looks at the queue
SCRIPT = Path(__file__).with_name("job.sh")  # a template of jinja2
# Options of this command that sbatch knows by the same name.
OPTIONS = ("partition", "qos", "account", "gpus", "cpus_per_task", "mem", "time", "nodes")


class SlurmError(Exception):
    """SLURM refused; its message is the one line to print."""


def main() -> None:
    """Submit what is missing, and follow it if asked to."""
    args = parse()
    try:
        root, planned = args.manifest.parent, grid.read(args.manifest)
        missing, refused = grid.sort_out(root, planned, overwrite=False)
        for workdir, reason in refused:
            terminal.say(f"{workdir}: {reason}")
        queued = find_queued(root)
        new = [run for run in missing if run.workdir not in queued]
        size = args.max_array_size or max_array_size()
        for start in range(0, len(new), size):
            submit(args, new[start : start + size], start // size)
        done = "would be submitted" if args.dry_run else "submitted"
        print(f"{len(planned)} runs: {len(new)} {done}, {len(queued)} queued before")
        if args.follow and not args.dry_run:
            sys.exit(follow(root, planned))
    except (SlurmError, OSError, ValueError) as error:
        terminal.exit_with(error)


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = arguments.parser("mvae_jax.sweep.slurm", __doc__)
    number: dict[str, Any] = {"type": arguments.number, "metavar": "N"}
    parser.add_argument("manifest", type=paths.from_user, help="the sweep.jsonl of a sweep")
    for name in OPTIONS:
        parser.add_argument(f"--{name}", metavar="X", help=f"sbatch's --{name.replace('_', '-')}")
    parser.add_argument("--tasks_per_run", **number, default=1, help="processes that share a run")
    parser.add_argument("--at_once", **number, help="run at most N runs at a time")
    parser.add_argument("--modules", default="", metavar="X,X", help="environment modules to load")
    parser.add_argument("--setup", default="", help="a line of shell before the run")
    parser.add_argument("--container", default="", help="a prefix: 'apptainer exec --nv x.sif'")
    parser.add_argument(
        "--save_seconds", **number, default=120, help="save so long before the time is up; 120"
    )
    parser.add_argument("--max_array_size", **number, help="by default what scontrol says")
    parser.add_argument("--follow", action="store_true", help="wait for the end, and tell of it")
    parser.add_argument("--dry_run", action="store_true", help="write the scripts, submit nothing")
    args = parser.parse_args()
    if not args.manifest.is_file():
        parser.error(
            f"manifest: got '{args.manifest}', which is no file; python -m mvae_jax.sweep "
            "--manifest_only writes one"
        )
    return args


def submit(args: argparse.Namespace, planned: list[grid.PlannedRun], chunk: int) -> None:
    """Submit one array and record its number."""
    root = args.manifest.parent.absolute()
    folder = root / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "logs").mkdir(exist_ok=True)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{chunk}"
    distributed = ["--distributed"] if args.tasks_per_run > 1 else []
    container = f"{args.container} " if args.container else ""
    commands = [container + shlex.join([*run.command, *distributed]) for run in planned]
    text = script(args, len(planned), folder / f"{name}.txt")
    # In the bytes that the paths were given in.
    (folder / f"{name}.txt").write_bytes(os.fsencode("\n".join([*commands, ""])))
    (folder / f"{name}.sh").write_bytes(os.fsencode(text))
    if args.dry_run:
        print(folder / f"{name}.sh")
        return
    job = slurm("sbatch", "--parsable", str(folder / f"{name}.sh")).strip().partition(";")[0]
    line = {"job": job, "workdirs": [run.workdir for run in planned]}
    with files.open_own(folder / "jobs.jsonl") as file:
        file.write(json.dumps(line) + "\n")


def script(args: argparse.Namespace, number: int, commands: Path) -> str:
    """Return the text of a job array's script."""
    template = jinja2.Template(
        SCRIPT.read_text(encoding="utf-8"), trim_blocks=True, keep_trailing_newline=True
    )
    return template.render(
        args=args,
        number=number,
        options=[(o, getattr(args, o)) for o in OPTIONS if getattr(args, o) is not None],
        logs=shlex.quote(str(commands.parent.parent / "logs")).replace("%", "%%"),
        commands=shlex.quote(str(commands)),
    )


def max_array_size() -> int:
    """Return how many tasks an array may have, as SLURM says."""
    try:
        said = slurm("scontrol", "show", "config")
    except SlurmError:
        return DEFAULT_MAX_ARRAY_SIZE
    found = re.search(r"(?m)^\s*MaxArraySize\s*=\s*([1-9]\d*)\s*$", said)
    return int(found[1]) if found else DEFAULT_MAX_ARRAY_SIZE


def follow(root: Path, planned: list[grid.PlannedRun]) -> int:
    """Tell how many tasks are in which state whenever that changes; return the exit status."""
    before: Any = None
    while queued := find_queued(root):
        states = collections.Counter(queued.values())
        if states != before:
            said = ", ".join(f"{number} {state.lower()}" for state, number in states.items())
            print(f"{time.strftime('%H:%M:%S')} {said}", flush=True)
        before = states
        time.sleep(FOLLOW_SECONDS)
    missing, refused = grid.sort_out(root, planned, overwrite=False)
    print(f"{len(planned) - len(missing) - len(refused)} of {len(planned)} runs are complete")
    for run in missing:
        print(f"{run.workdir}: missing; see {root / 'logs'}; the same command submits it again")
    return int(bool(missing or refused))


def find_queued(root: Path) -> dict[str, str]:
    """Return run folder -> state of the tasks that SLURM still has: PENDING, RUNNING, ..."""
    if not (tasks := read_tasks(root)):
        return {}
    # Asks for all jobs of the user, since squeue fails for one that ended long ago.
    said = slurm("squeue", "--me", "--noheader", "--array", "--format=%F_%K|%T")
    lines = (line.partition("|") for line in said.splitlines())
    return {tasks[task]: state for task, _, state in lines if task in tasks}


def read_tasks(root: Path) -> dict[str, str]:
    """Return `job_task` -> run folder of each task that was submitted."""
    lines = json_file.read_lines(root / "slurm" / "jobs.jsonl", {"job": str, "workdirs": list})
    return {
        f"{line['job']}_{task}": str(workdir)
        for line in lines
        if line.get("job") is not None and line.get("workdirs") is not None
        for task, workdir in enumerate(line["workdirs"])
    }


def slurm(*command: str) -> str:
    """Return what one of SLURM's commands prints; raise SlurmError."""
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]}: not found; is this a node of a cluster?") from error
    if done.returncode:
        raise SlurmError(f"{command[0]}: {' '.join(done.stderr.split())}")
    return done.stdout


if __name__ == "__main__":
    terminal.command(main)
