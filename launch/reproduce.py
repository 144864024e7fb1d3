"""Runs the paper: trains, scores and reports what its tables hold, release protocol.

    python launch/reproduce.py --tables=IV,V --num_seeds=10 --root=runs
    python launch/reproduce.py --budget_minutes=600

Prints first how long training will take on this machine, from a few steps of every shape (kept in
ROOT/costs.json). With --budget_minutes the most seeds are taken that fit, at least MIN_SEEDS, and
where those do not fit fewer latent sizes; epochs are as many as --num_epochs says, which every
table repeats. The runs are a sweep: the same command goes on where it was stopped, and with more
--num_seeds trains the new seeds alone. At the end ROOT/report and ROOT/REPRODUCTION.md.

Exit status 0: everything is there, 1: something is missing or failed, 2: usage, 130: interrupted.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import bench
import predict
import sweep
from tabulate import tabulate

from mvae_jax import config as config_lib
from mvae_jax.report import reference, reproduction
from mvae_jax.report.claims import LATENT_SIZES

MIN_SEEDS = 3  # two give no more than a hint of the spread
STEPS = 20  # timed per shape
HERE = Path(__file__).parent


# The cost of training one seed, by pixels, latent size and model.
Costs = dict[tuple[int, int, str], predict.Cost]


class Plan(NamedTuple):
    """What is run: a grid of data sets, both models and latent sizes."""

    data_sets: list[str]
    latent_sizes: list[int]
    num_seeds: int
    minutes: dict[tuple[str, int], float]  # of both models, by data set and latent size


def main() -> None:
    """Prints the plan, runs it and writes the report."""
    args = parse()
    args.root.mkdir(parents=True, exist_ok=True)
    costs = read_costs(args)
    try:
        plan = choose(args, costs)
    except ValueError as error:
        config_lib.exit_with(error)
    print(describe(plan, args), flush=True)
    if args.dry_run:
        return
    grid = [
        f"--dataset={','.join(plan.data_sets)}",
        f"--latent={','.join(map(str, plan.latent_sizes))}",
        *(f"--num_seeds={plan.num_seeds}", f"--config.num_epochs={args.num_epochs}"),
        *(f"--root={args.root}", *args.passed),
    ]
    returned = subprocess.run([sys.executable, str(HERE / "sweep.py"), *grid]).returncode
    if returned not in (0, 1):
        sys.exit(returned)
    page = ("--document", str(args.root / "REPRODUCTION.md"))
    report = [sys.executable, "-m", "mvae_jax.report", str(args.root), *page]
    sys.exit(subprocess.run(report).returncode or returned)


def parse() -> argparse.Namespace:
    """Returns the arguments; `data_sets` are those of the tables, `passed` goes to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numerals = {numeral: dataset for dataset, numeral in reference.table_numbers().items()}
    parser.add_argument("--tables", default=",".join(numerals), help="by default all seven")
    parser.add_argument("--num_seeds", type=bench.number, default=10)
    parser.add_argument("--num_epochs", type=bench.number, default=200, help="the paper's are 200")
    parser.add_argument("--budget_minutes", type=float, help="of training")
    parser.add_argument("--root", type=Path, default=Path("runs"))
    parser.add_argument("--jobs", type=bench.number, help="runs at a time, as of sweep.py")
    parser.add_argument("--data_dir", help="as of every run")
    parser.add_argument("--dry_run", action="store_true", help="print the plan and do nothing")
    args = parser.parse_args()
    args.data_sets = []
    for numeral in args.tables.split(","):
        if numeral not in numerals:
            parser.error(f"--tables: got {numeral!r}; allowed: {', '.join(numerals)}")
        args.data_sets.append(numerals[numeral])
    args.passed = [f"--data_dir={args.data_dir}"] if args.data_dir else []
    args.passed += [f"--jobs={args.jobs}"] if args.jobs else []
    return args


def read_costs(args: argparse.Namespace) -> Costs:
    """Returns the costs of the shapes needed, measured here or by an earlier call.

    The measurement has a process of its own: on an accelerator it would keep the memory.
    """
    path = args.root / "costs.json"
    found = json.loads(path.read_text()) if path.is_file() else []
    known = {(row["pixels"], row["latent_size"], row["model"]) for row in found}
    needed = {pixels_of(dataset) for dataset in args.data_sets}
    missing = sorted(needed - {pixels for pixels, _, _ in known})
    if missing:
        seeds = args.num_seeds if sweep.find_gpus() else min(args.num_seeds, os.cpu_count() or 1)
        print(f"timing a few steps of {len(missing) * 12} shapes...", flush=True)
        measure = [sys.executable, str(HERE / "predict.py"), f"--num_seeds={seeds}"]
        measure += [f"--pixels={','.join(map(str, missing))}", f"--steps={STEPS}"]
        new = args.root / "costs.new.json"
        subprocess.run([*measure, f"--warm_steps={STEPS}", f"--out={new}"], check=True)
        found += json.loads(new.read_text())
        path.write_text(json.dumps(found, indent=1) + "\n")
        new.unlink()
    return {
        (row["pixels"], row["latent_size"], row["model"]): predict.Cost(
            row["cost"]["compile"], row["cost"]["epoch"], row["cost"]["step"] / row["num_seeds"]
        )
        for row in found
    }


def pixels_of(dataset: str) -> int:
    """Returns the pixels of a data set of the tables."""
    return next(p for p, data_sets in predict.TRAINING_IMAGES.items() if dataset in data_sets)


def minutes(costs: Costs, dataset: str, z: int, num_seeds: int, num_epochs: int) -> float:
    """Returns what both models of one row train; an upper bound where seeds share a device."""
    pixels, total = pixels_of(dataset), 0.0
    for model in config_lib.MODELS:
        of_one = costs[pixels, z, model]
        cost = of_one._replace(step=of_one.step * num_seeds)
        total += predict.seconds(cost, predict.TRAINING_IMAGES[pixels][dataset], num_epochs) / 60
    return total / max(1, len(sweep.find_gpus()))


def choose(args: argparse.Namespace, costs: Costs) -> Plan:
    """Returns the largest plan within the budget; raises ValueError where none is."""
    least = min(MIN_SEEDS, args.num_seeds)
    sizes = sorted(LATENT_SIZES)
    for number in range(len(sizes), 0, -1):
        for num_seeds in range(args.num_seeds, least - 1, -1):
            rows = {
                (dataset, z): minutes(costs, dataset, z, num_seeds, args.num_epochs)
                for dataset in args.data_sets
                for z in sizes[:number]
            }
            predicted = sum(rows.values())
            if args.budget_minutes is None or predicted <= args.budget_minutes:
                return Plan(args.data_sets, sizes[:number], num_seeds, rows)
    raise ValueError(
        f"--budget_minutes: got {args.budget_minutes:g}; the least, z={sizes[0]} with {least} "
        f"seeds, takes {predicted:.1f}; name fewer --tables or more minutes"
    )


def describe(plan: Plan, args: argparse.Namespace) -> str:
    """Returns the plan as a table of minutes, and what of the paper it leaves out."""
    rows = []
    for dataset in plan.data_sets:
        of_row = [plan.minutes[dataset, z] for z in plan.latent_sizes]
        rows.append((dataset, *(f"{m:.1f}" for m in (*of_row, sum(of_row)))))
    headers = ("minutes of training", *(f"z={z}" for z in plan.latent_sizes), "all")
    lines = [tabulate(rows, headers, disable_numparse=True, stralign="right")]
    lines.append(
        f"{plan.num_seeds} seeds, {args.num_epochs} epochs, VAE and MVAE: about "
        f"{sum(plan.minutes.values()):.0f} minutes on this machine; scoring comes on top"
    )
    left_out = [f"z={z}" for z in sorted(LATENT_SIZES) if z not in plan.latent_sizes]
    if plan.num_seeds < args.num_seeds:
        left_out.append(f"{args.num_seeds - plan.num_seeds} of {args.num_seeds} seeds")
    if left_out:
        lines.append(f"left out, for the budget: {', '.join(left_out)}")
    if args.num_epochs != reproduction.EPOCHS:
        lines.append(f"the paper trains for {reproduction.EPOCHS} epochs: every table will say so")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
