"""Runs the paper: trains, scores and reports what its tables and figures hold, release protocol.

    python launch/reproduce.py --tables=IV,V --num_seeds=10 --root=runs
    python launch/reproduce.py --budget_minutes=600

Prints first how long training will take on this machine, from a few steps of every shape, which
takes minutes itself (kept in ROOT/costs.json), and fetches the data. With --budget_minutes the most
seeds are taken that fit, at least MIN_SEEDS, and where those do not fit fewer latent sizes; epochs
are as many as --num_epochs says, and tables of fewer than the paper's say so. FreyFace at z=32, for
Figures 3 and 4, goes along with all seven tables. The runs are a sweep: the same command goes on
where it was stopped, and with more --num_seeds trains the new seeds alone. Any
--config.FIELD=VALUE is handed on. At the end ROOT/report and ROOT/REPRODUCTION.md.

Exit status 0: everything is there, 1: something is missing or failed, 2: usage, 130: interrupted.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bench
import grid
import joblib
import predict
import sweep
from tabulate import tabulate

from mvae_jax import config as config_lib
from mvae_jax import datasets, paths
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.paper import reference, reproduction
from mvae_jax.paper.claims import LATENT_SIZES
from mvae_jax.runs import environment
from mvae_jax.store import files, json_text, run_folder, status

MIN_SEEDS = 3  # two give no more than a hint of the spread
STEPS = 20  # timed per shape
FREY_FACE = ("frey_face", 32)  # of Figures 3 and 4
OWN = tuple(  # which the plan is made of
    f"--config.{field}="
    for field in ("dataset", "model", "latent_size", "protocol", "num_seeds", "num_epochs")
)
INPUTS = ("--data_dir=", "--config.source=", "--config.photographs=")  # of a data set
HERE = Path(__file__).parent


class Measured(NamedTuple):
    """What a shape costs, with so many seeds at once."""

    cost: predict.Cost
    num_seeds: int


Costs = dict[tuple[int, int, str], Measured]  # by pixels, latent size and model
Row = tuple[str, int]  # data set, latent size; of both models


class Plan(NamedTuple):
    """What is run: the tables at these latent sizes, and perhaps FreyFace; both models."""

    latent_sizes: list[int]
    num_seeds: int
    minutes: dict[Row, float]


def main() -> None:
    """Prints the plan, runs it and writes the report."""
    args = parse()
    try:
        plan = choose(args, read_costs(args))
    except ValueError as error:
        terminal.exit_with(error)
    print(describe(plan, args), flush=True)
    if args.dry_run:
        return
    worst = 0
    for commands in (to_prepare(plan, args), to_train(plan, args)):
        statuses = []
        for command in commands:
            statuses.append(call(*command))
            if statuses[-1] not in (0, 1):
                sys.exit(statuses[-1])
        worst = max(statuses)  # of training: without data a run that is complete needs none
    page = args.root / "REPRODUCTION.md"
    sys.exit(call("-m", "mvae_jax.report", str(args.root), f"--document={page}") or worst)


def parse() -> argparse.Namespace:
    """Returns the arguments; `data_sets` are those of the tables, `passed` goes to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numerals = {numeral: dataset for dataset, numeral in reference.table_numbers().items()}
    parser.add_argument("--tables", default=",".join(numerals), help="by default all seven")
    parser.add_argument("--num_seeds", type=bench.number, default=10)
    parser.add_argument("--num_epochs", type=bench.number, default=200, help="the paper's are 200")
    parser.add_argument("--budget_minutes", type=_minutes, default=math.inf, help="of training")
    parser.add_argument("--root", type=paths.from_user, default=Path("runs"))
    parser.add_argument("--jobs", type=bench.number, help="runs at a time, as of sweep.py")
    parser.add_argument("--data_dir", type=paths.from_user, help="as of every run")
    parser.add_argument("--dry_run", action="store_true", help="time the shapes, print the plan")
    args, passed = parser.parse_known_args()
    for flag in passed:
        if flag != grid.ACCEPT and not flag.startswith("--config."):
            said = f"--config.FIELD=VALUE, {grid.ACCEPT}"
            parser.error(f"got {flag!r}; allowed beside those above: {said}")
        if flag.startswith(OWN):
            parser.error(
                f"got {flag!r}; the plan has --tables, --num_seeds and --num_epochs for it"
            )
    args.data_sets = []
    for numeral in args.tables.split(","):
        if numeral not in numerals or numerals[numeral] in args.data_sets:
            parser.error(f"--tables: got {numeral!r}; allowed, once each: {', '.join(numerals)}")
        args.data_sets.append(numerals[numeral])
    if args.data_dir is not None and not args.data_dir.is_dir():
        parser.error(f"--data_dir: got '{args.data_dir}', which is no folder")
    try:
        args.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--root: got '{args.root}', which cannot be a folder ({error.strerror})")
    args.figures = len(args.data_sets) == len(numerals)
    passed += [f"--data_dir={args.data_dir}"] if args.data_dir else []
    everything = [*args.data_sets, *([FREY_FACE[0]] if args.figures else [])]
    args.passed = {dataset: _of_data_set(dataset, passed) for dataset in everything}
    for dataset, flags in args.passed.items():
        try:
            grid.resolve([f"--config=configs/{dataset}.py:{config_lib.MODELS[0]},2", *flags])
        except (config_lib.ConfigError, datasets.DataError) as error:
            parser.error(str(error))
    return args


def _of_data_set(dataset: str, flags: list[str]) -> tuple[str, ...]:
    """Returns the flags that a data set's runs are given: of its inputs those that it has."""
    unused = [] if len(CATALOGUE[dataset].sources) > 1 else ["--config.source="]
    unused += [] if dataset == "mnist_background_images" else ["--config.photographs="]
    return tuple(flag for flag in flags if not flag.startswith(tuple(unused)))


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a number above 0")
    return minutes


def read_costs(args: argparse.Namespace) -> Costs:
    """Returns the costs of the shapes needed, measured here or by an earlier call.

    The measurement has a process of its own: on an accelerator it would keep the memory. Raises
    ValueError where costs.json is damaged.
    """
    path = args.root / "costs.json"
    gpus = sweep.find_gpus()
    machine = f"{environment.processor()}, {len(gpus)} GPUs"
    # On a CPU with a seed per core, as busy as the sweep keeps it; on a GPU they share a step.
    seeds = args.num_seeds if gpus else joblib.cpu_count()
    there = _read_costs(path)
    measured = [r for r in there if r["machine"] == machine and r["num_seeds"] == seeds]
    needed = {reference.pixels(dataset) for dataset in args.data_sets}
    shapes = {(p, z, m) for p in needed for z in LATENT_SIZES for m in config_lib.MODELS}
    missing = sorted({pixels for pixels, *_ in shapes - {_shape(row) for row in measured}})
    if missing:
        print(f"timing a few steps of {len(missing) * len(LATENT_SIZES) * 2} shapes...", flush=True)
        new = args.root / "costs.new.json"
        sizes, pixels = (",".join(map(str, values)) for values in (LATENT_SIZES, missing))
        flags = [f"--pixels={pixels}", f"--latent={sizes}", f"--num_seeds={seeds}"]
        steps = [f"--steps={STEPS}", f"--warm_steps={STEPS}"]
        if returned := call(str(HERE / "predict.py"), *flags, *steps, f"--out={new}"):
            sys.exit(returned)
        fresh = [row | {"machine": machine} for row in json_text.read(new)]
        others = [row for row in there if row not in measured]  # of other machines or seeds
        measured = [row for row in measured if row["pixels"] not in missing] + fresh
        files.write_text(path, json.dumps(others + measured, indent=1) + "\n")
        new.unlink()
    return {_shape(row): _measured(row) for row in measured}


def _read_costs(path: Path) -> list[dict[str, Any]]:
    """Return what was measured, on any machine."""
    try:
        rows: list[dict[str, Any]] = json_text.read(path) if path.exists() else []
        for row in rows:
            row["machine"], _shape(row), _measured(row)  # raise where it is damaged
        return rows
    except (KeyError, TypeError, ValueError, ArithmeticError, OSError) as error:
        raise ValueError(f"{path}: damaged ({error}); remove it") from error


def _shape(row: dict[str, Any]) -> tuple[int, int, str]:
    return row["pixels"], row["latent_size"], row["model"]


def _measured(row: dict[str, Any]) -> Measured:
    return Measured(predict.Cost(**row["cost"]), int(row["num_seeds"]))


def minutes(costs: Costs, dataset: str, z: int, num_seeds: int, num_epochs: int) -> float:
    """Returns what both models of one row train.

    Cores have runs of their own, so that the time is in proportion to the seeds. On a GPU they
    share a step, and fewer than were timed are not taken to be faster. FreyFace is taken to cost
    what images of 784 pixels do: a little more than it does.
    """
    gpus = len(sweep.find_gpus())
    if dataset == FREY_FACE[0]:
        pixels, images = reference.USUAL_PIXELS, grid.SIZES[dataset][0]
    else:
        pixels = reference.pixels(dataset)
        images = predict.TRAINING_IMAGES[pixels][dataset]
    total = 0.0
    for model in config_lib.MODELS:
        measured = costs[pixels, z, model]
        times = max(num_seeds / measured.num_seeds, 1.0 if gpus else 0.0)
        cost = measured.cost._replace(step=measured.cost.step * times)
        total += predict.seconds(cost, images, num_epochs) / 60
    return total / max(1, gpus)


def choose(args: argparse.Namespace, costs: Costs) -> Plan:
    """Returns the largest plan within the budget; raises ValueError where none is.

    What is done already counts: the same command has the same plan.
    """
    least = min(MIN_SEEDS, args.num_seeds)
    sizes = sorted(LATENT_SIZES)
    for number in range(len(sizes), 0, -1):
        for num_seeds in range(args.num_seeds, least - 1, -1):
            rows = [(dataset, z) for dataset in args.data_sets for z in sizes[:number]]
            rows += [FREY_FACE] if args.figures else []
            planned = {row: minutes(costs, *row, num_seeds, args.num_epochs) for row in rows}
            predicted = sum(planned.values())
            if predicted <= args.budget_minutes:
                return Plan(sizes[:number], num_seeds, planned)
    raise ValueError(
        f"--budget_minutes: got {args.budget_minutes:g}; the least, z={sizes[0]} with {least} "
        f"seeds, takes {predicted:.1f}; name fewer --tables or more minutes"
    )


def to_prepare(plan: Plan, args: argparse.Namespace) -> Iterator[list[str]]:
    """Yields the arguments that fetch the data, so that what cannot be had is said at once."""
    by_flags: dict[tuple[str, ...], list[str]] = {}
    for dataset in dict.fromkeys(dataset for dataset, _ in plan.minutes):
        inputs = [flag for flag in args.passed[dataset] if flag.startswith(INPUTS)]
        flags = tuple(flag.replace("--config.", "--", 1) for flag in inputs)
        by_flags.setdefault(flags, []).append(f"--prepare={dataset}")
    for flags, names in by_flags.items():
        yield ["-m", "mvae_jax.datasets", *names, *flags]


def to_train(plan: Plan, args: argparse.Namespace) -> Iterator[list[str]]:
    """Yields the sweeps' arguments."""
    by_flags: dict[tuple[str, ...], list[str]] = {}
    for dataset in dict.fromkeys(dataset for dataset, _ in plan.minutes):
        sizes = [str(z) for of, z in plan.minutes if of == dataset]
        flags = (f"--latent={','.join(sizes)}", *args.passed[dataset])
        by_flags.setdefault(flags, []).append(dataset)
    for flags, names in by_flags.items():
        trained = [f"--num_seeds={plan.num_seeds}", f"--config.num_epochs={args.num_epochs}"]
        trained += [f"--jobs={args.jobs}"] if args.jobs else []
        own = [f"--dataset={','.join(names)}", *trained, f"--root={args.root}"]
        yield [str(HERE / "sweep.py"), *own, *flags]


def describe(plan: Plan, args: argparse.Namespace) -> str:
    """Returns the plan as a table of minutes, and what of the paper it leaves out."""
    sizes = sorted({z for _, z in plan.minutes})
    rows = []
    for dataset in dict.fromkeys(dataset for dataset, _ in plan.minutes):
        of_row = [plan.minutes.get((dataset, z)) for z in sizes]
        total = sum(m for m in of_row if m is not None)
        rows.append((dataset, *("-" if m is None else f"{m:.1f}" for m in of_row), f"{total:.1f}"))
    headers = ("minutes of training", *(f"z={z}" for z in sizes), "all")
    lines = [tabulate(rows, headers, disable_numparse=True, stralign="right")]
    asked = (plan.num_seeds, args.num_epochs)
    left = sum(m * (1 - share_done(args.root, *row, *asked)) for row, m in plan.minutes.items())
    lines.append(
        f"{plan.num_seeds} seeds, {args.num_epochs} epochs, VAE and MVAE: about "
        f"{sum(plan.minutes.values()):.0f} minutes on this machine, {left:.0f} of them to go; "
        "embedding and scoring come on top"
    )
    left_out = [f"z={z}" for z in sorted(LATENT_SIZES) if z not in plan.latent_sizes]
    if plan.num_seeds < args.num_seeds:
        left_out.append(f"{args.num_seeds - plan.num_seeds} of {args.num_seeds} seeds")
    if left_out:
        lines.append(f"left out, for the budget: {', '.join(left_out)}")
    if args.num_epochs != reproduction.EPOCHS:
        lines.append(f"the paper trains for {reproduction.EPOCHS} epochs: every table will say so")
    return "\n".join(lines)


def share_done(root: Path, dataset: str, z: int, num_seeds: int, num_epochs: int) -> float:
    """Returns how much of a row's training the root holds, about: models, seeds and epochs."""
    shares = []
    for model in config_lib.MODELS:
        folders = [root / name / "release" / f"{model}-z{z}" for name in _folders(root, dataset)]
        trained = max(map(_seed_epochs, folders), default=0)
        shares.append(min(1.0, trained / (num_seeds * num_epochs)))
    return sum(shares) / len(shares)


def _folders(root: Path, dataset: str) -> list[str]:
    """Returns the names that a data set's runs lie under, one for each of its sources."""
    names = (path.name for path in root.iterdir())
    return [name for name in names if name == dataset or name.startswith(f"{dataset}-")]


def _seed_epochs(folder: Path) -> int:
    """Returns the epochs that a run's seeds are trained for, added up."""
    try:
        found = status.of(folder)
    except run_folder.RunFolderError:  # the sweep says what is wrong
        return 0
    return found.done * found.num_epochs + max(0, found.planned - found.done) * found.epoch


def call(*arguments: str) -> int:
    """Runs Python with the arguments to its end; returns its exit status.

    A signal that would stop this process is handed on, once, and waited for.
    """
    received: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def hand_on(signum: int, _frame: Any) -> None:
        received.append(signum)
        for child in children:
            child.send_signal(signum)

    before = {signum: signal.signal(signum, hand_on) for signum in terminal.SIGNALS}
    # In a group of its own, a Ctrl-C reaches it from here alone.
    with subprocess.Popen([sys.executable, *arguments], process_group=0) as child:
        children.append(child)
        if received:  # before it could be handed on
            child.send_signal(received[0])
        returned = child.wait()
    for signum, handler in before.items():
        signal.signal(signum, handler)
    return terminal.INTERRUPTED if received or -returned in terminal.SIGNALS else returned


if __name__ == "__main__":
    terminal.command(main)
