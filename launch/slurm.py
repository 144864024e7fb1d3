"""Submits a sweep to SLURM as job arrays; called again, submits what is neither done nor queued.

    python launch/sweep.py ... --root=runs --manifest_only
    python launch/slurm.py runs/sweep.jsonl --partition=gpu --gpus=1 --time=4:00:00 --follow

Each task of an array is one run, a command of sweep.jsonl. Before its time is up, and when a job of
higher priority wants its place, a run saves its state and its task is queued again. What is not
asked for is not said to SLURM, since some centres refuse options that others demand.

Exit status 0: submitted (with --follow: everything is there), 1: with --follow, something is
missing, 2: usage, or SLURM refused.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import collections
import json
import os
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import grid

from mvae_jax import paths
from mvae_jax.store import files, json_file
from mvae_jax.terminal import exit_with

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=mvae_jax
#SBATCH --array=0-{last}{at_once}
#SBATCH --output={logs}/slurm-%A_%a.txt
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{seconds}
{options}
{setup}
command=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {commands})
srun {srun}bash -c "exec $command" &
trap 'kill -USR1 $!' USR1 TERM
while true; do  # a trap ends `wait` before the run has ended
  wait $!
  status=$?
  kill -0 $! 2>/dev/null || break
done
# 130: the state is saved; 138 and 143: the signal came before or after the training, and killed it.
# A job that somebody cancelled does not come back.
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
if [[ $status =~ ^1(30|38|43)$ ]] && scontrol show job "$job" | grep -q JobState=RUNNING; then
  scontrol requeue "$job"
  sleep 60  # until SLURM has ended this one
fi
exit $status
"""
# Of this script's options, those that sbatch knows by the same name.
OPTIONS = ("partition", "qos", "account", "gpus", "cpus_per_task", "mem", "time", "nodes")


class SlurmError(Exception):
    """SLURM refused; its message is the one line to print."""


def main() -> None:
    """Submits what is missing and follows it, if asked to."""
    args = parse()
    try:
        root, entries = args.manifest.parent, grid.read(args.manifest)
        missing, refused = grid.sort_out(root, entries, overwrite=False)
        for workdir, reason in refused:
            terminal.say(f"{workdir}: {reason}")
        queued = find_queued(root)
        new = [e for e in missing if e.workdir not in queued]
        size = args.max_array_size or max_array_size()
        for start in range(0, len(new), size):
            submit(args, new[start : start + size], start // size)
        done = "would be submitted" if args.dry_run else "submitted"
        print(f"{len(entries)} runs: {len(new)} {done}, {len(queued)} queued before")
        if args.follow and not args.dry_run:
            sys.exit(follow(root, entries))
    except (SlurmError, OSError, ValueError) as error:
        exit_with(error)


def parse() -> argparse.Namespace:
    """Returns the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=paths.from_user, help="the sweep.jsonl of launch/sweep.py")
    for name in OPTIONS:
        parser.add_argument(f"--{name}", help=f"sbatch's --{name.replace('_', '-')}")
    parser.add_argument("--tasks_per_run", type=int, default=1, help="processes that share a run")
    parser.add_argument("--at_once", type=int, help="at most so many runs at a time")
    parser.add_argument("--modules", default="", help="loaded first, separated by commas")
    parser.add_argument("--setup", default="", help="a line of shell before the run")
    parser.add_argument("--container", default="", help="a prefix: 'apptainer exec --nv x.sif'")
    parser.add_argument("--save_seconds", type=int, default=120, help="before the time is up")
    parser.add_argument("--max_array_size", type=int, help="by default what scontrol says")
    parser.add_argument("--follow", action="store_true", help="wait for the end, and tell")
    parser.add_argument("--dry_run", action="store_true", help="write the scripts, submit nothing")
    args = parser.parse_args()
    for name in ("tasks_per_run", "at_once", "save_seconds", "max_array_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: got {value}; allowed: an integer above 0")
    if not args.manifest.is_file():
        parser.error(f"manifest: got '{args.manifest}', which is no file; sweep.py writes one")
    return args


def submit(args: argparse.Namespace, entries: list[grid.Entry], chunk: int) -> None:
    """Submits one array and records its number."""
    root = args.manifest.parent.absolute()
    folder = root / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "logs").mkdir(exist_ok=True)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{chunk}"
    distributed = ["--distributed"] if args.tasks_per_run > 1 else []
    container = f"{args.container} " if args.container else ""
    commands = [container + shlex.join([*e.command, *distributed]) for e in entries]
    written = {"txt": "".join(f"{command}\n" for command in commands)}
    written["sh"] = script(args, len(entries), folder / f"{name}.txt")
    for ending, text in written.items():  # in the bytes that the paths were given in
        files.write_bytes(folder / f"{name}.{ending}", partial(_write, text))
    if args.dry_run:
        print(folder / f"{name}.sh")
        return
    job = slurm("sbatch", "--parsable", str(folder / f"{name}.sh")).strip().partition(";")[0]
    line = {"job": job, "workdirs": [e.workdir for e in entries]}
    with files.open_own(folder / "jobs.jsonl") as file:
        file.write(json.dumps(line) + "\n")


def _write(text: str, file: BinaryIO) -> None:
    file.write(os.fsencode(text))


def script(args: argparse.Namespace, number: int, commands: Path) -> str:
    """Returns the text of a job array's script."""
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    options = [f"#SBATCH --{name.replace('_', '-')}={value}" for name, value in given.items()]
    if args.tasks_per_run > 1:
        options.append(f"#SBATCH --ntasks={args.tasks_per_run}")
    modules = [f"module load {module}" for module in args.modules.split(",") if module]
    return SCRIPT.format(
        last=number - 1,
        at_once=f"%{args.at_once}" if args.at_once else "",
        logs=shlex.quote(str(commands.parent.parent / "logs")).replace("%", "%%"),
        seconds=args.save_seconds,
        options="\n".join(options),
        setup="\n".join([*modules, args.setup]),
        commands=shlex.quote(str(commands)),
        srun=f"--ntasks={args.tasks_per_run} --kill-on-bad-exit=0 "
        + (f"--cpus-per-task={args.cpus_per_task} " if args.cpus_per_task else ""),
    )


def max_array_size() -> int:
    """Returns how many tasks an array may have, as SLURM says."""
    try:
        said = slurm("scontrol", "show", "config")
    except SlurmError:
        return DEFAULT_MAX_ARRAY_SIZE
    for line in said.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    return DEFAULT_MAX_ARRAY_SIZE


def find_queued(root: Path) -> dict[str, str]:
    """Returns run folder -> state of the tasks that SLURM still has: PENDING, RUNNING, ..."""
    queued: dict[str, str] = {}
    jobs = read_jobs(root)
    if not jobs:
        return queued
    # Of all jobs of the user: squeue fails where it is asked for one that has long ended.
    for line in slurm("squeue", "--me", "--noheader", "--array", "--format=%F %K %T").splitlines():
        job, task, state = line.split()
        if job in jobs and task.isdigit() and int(task) < len(jobs[job]):
            queued[jobs[job][int(task)]] = state
    return queued


def follow(root: Path, entries: list[grid.Entry]) -> int:
    """Says how many tasks are in which state whenever that changes; returns the exit status."""
    before: Any = None
    while queued := find_queued(root):
        states = collections.Counter(queued.values())
        if states != before:
            said = ", ".join(f"{number} {state.lower()}" for state, number in states.items())
            print(f"{time.strftime('%H:%M:%S')} {said}", flush=True)
        before = states
        time.sleep(2)
    missing, refused = grid.sort_out(root, entries, overwrite=False)
    print(f"{len(entries) - len(missing) - len(refused)} of {len(entries)} runs are complete")
    ended = find_ended(root) if missing else {}
    for e in missing:
        state = ended.get(e.workdir, "missing")
        print(f"{e.workdir}: {state}; see {root / 'logs'}; the same command submits it again")
    return int(bool(missing or refused))


def find_ended(root: Path) -> dict[str, str]:
    """Returns run folder -> how its last task ended, where SLURM keeps accounts of that."""
    jobs = read_jobs(root)
    command = [
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        "--format=JobID,State,ExitCode",
    ]
    ended = {}
    try:
        for line in slurm(*command, f"--jobs={','.join(jobs)}").splitlines():
            (job, _, task), state, code = line.split("|")[0].partition("_"), *line.split("|")[1:3]
            if job in jobs and task.isdigit() and int(task) < len(jobs[job]):
                ended[jobs[job][int(task)]] = f"{state.lower()}, exit code {code}"
    except SlurmError:  # no sacct, or no accounts
        return {}
    return ended


def read_jobs(root: Path) -> dict[str, list[str]]:
    """Returns the run folders of each job array that was submitted."""
    lines = json_file.read_lines(root / "slurm" / "jobs.jsonl", {"job": str, "workdirs": list})
    return {
        line["job"]: [str(workdir) for workdir in line["workdirs"]]
        for line in lines
        if line.get("job") is not None and line.get("workdirs") is not None
    }


def slurm(*command: str) -> str:
    """Returns what one of SLURM's commands prints; raises SlurmError."""
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
