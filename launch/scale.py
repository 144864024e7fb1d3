"""Time the commands that look at every run of a sweep, on copies of one trained run.

    python launch/scale.py --num_runs=1000,10000,100000 --out=DIR

For each number of runs, each stage in a process of its own: `mvae_jax.sweep --manifest_only`
(writes the grid), `mvae_jax.sweep` (finds nothing left to run), `mvae_jax.sweep.watch` and
`mvae_jax.report`. Prints seconds and the largest resident memory, and writes them to
DIR/scale.json as they come.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from mvae_jax import paths
from mvae_jax.store import files, json_file, metrics_file
from mvae_jax.sweep import grid

SMALL = ("num_seeds=3", "num_epochs=200", "hidden_size=8", "batch_size=500", "iwae_samples=0")
FLAGS = [f"--config.{field}" for field in SMALL]
LATENTS = ",".join(map(str, range(1, 51)))
GRID = ["--model=vae,mvae", "--protocol=release,paper", f"--latent={LATENTS}"]
RUNS_PER_DATA_SET = 200  # of that grid
CONFIG = """from mvae_jax.config import base_config


def get_config(argument):
    return base_config({dataset!r}, argument)
"""
OWN = ("config.json", "metrics.json")  # what differs from run to run; the rest is linked
Stage = dict[str, Any]


def main() -> None:
    """Make a root for each number of runs, time the stages there and remove it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num_runs", default="1000,10000", help=f"of {RUNS_PER_DATA_SET} each")
    parser.add_argument("--out", type=paths.from_user, required=True)
    args = parser.parse_args()
    out = args.out.absolute()
    template = out / "template"
    if not (template / "metrics.json").is_file():
        train = ("-m", "mvae_jax.main", "--config=configs/digits.py:mvae,2", *FLAGS)
        subprocess.run([sys.executable, *train, f"--workdir={template}"], check=True)
    timed: list[Stage] = []
    for number in map(int, args.num_runs.split(",")):
        root = out / f"{number}-runs"
        shutil.rmtree(root, ignore_errors=True)
        for stage in time_stages(root, template, number):
            timed.append({"runs": number, **stage})
            (out / "scale.json").write_text(json.dumps(timed, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(root)
    print(tabulate(timed, headers="keys", floatfmt=".1f"))


def time_stages(root: Path, template: Path, number: int) -> Iterator[Stage]:
    """Yield the cost of each stage on so many runs."""
    root.mkdir(parents=True)
    names = [f"data{position:04}" for position in range(number // RUNS_PER_DATA_SET)]
    for name in names:
        (root / f"{name}.py").write_text(CONFIG.format(dataset=f"{name}.npz"), encoding="utf-8")
    data_sets = f"--dataset={','.join(f'{name}.py' for name in names)}"
    command = ["-m", "mvae_jax.sweep", data_sets, *GRID, "--root=runs", *FLAGS]
    yield measure("write the grid", root, *command, "--manifest_only")
    fill(root / "runs", template)
    yield measure("find what is left", root, *command)
    yield measure("watch", root, "-m", "mvae_jax.sweep.watch", "runs")
    yield measure("report", root, "-m", "mvae_jax.report", "runs", "--no-figures", "--out=report")


def fill(root: Path, template: Path) -> None:
    """Complete every run of the grid: give it the template's files as its own."""
    config = json_file.read_json(template / "config.json")
    metrics = metrics_file.read(template / "metrics.json")
    facts = {field: config[field] for field in ("image_shape", "data_sha256", "pixel_scale")}
    generator = np.random.default_rng(0)
    leave = shutil.ignore_patterns(*OWN, "checkpoints", "report")
    for entry in grid.read(root / "sweep.jsonl"):
        run = root / entry.workdir
        data_set = root.parent / "shared" / Path(entry.workdir).parts[0]  # files have 65,000 links
        if not data_set.exists():
            shutil.copytree(template, data_set, ignore=leave)
        shutil.copytree(data_set, run, copy_function=os.link)
        resolved = grid.resolve(entry.command[3:-1])
        mine = {field: resolved[field] for field in ("dataset", "protocol", "model", "latent_size")}
        for replicate in metrics["replicates"]:
            for value in replicate["values"]:
                value["value"] *= generator.normal(1, 1e-3)
        files.write_text(run / "config.json", json_file.dumps({**resolved.to_dict(), **facts}))
        metrics_file.write(run / "metrics.json", {**metrics, **mine})


def measure(stage: str, folder: Path, *command: str) -> Stage:
    """Run a command; print and return its seconds and its largest resident memory."""
    start = time.perf_counter()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"error: {stage}: {(folder / 'log.txt').read_text(encoding='utf-8')[-2000:]}")
    found = {"stage": stage, "seconds": seconds, "peak MiB": usage.ru_maxrss / 1024}
    print(f"{stage}: {seconds:.1f} s, {found['peak MiB']:.0f} MiB", flush=True)
    return found


if __name__ == "__main__":
    terminal.command(main)
