"""Run the paper: train, score and report what its tables and figures hold, release protocol.

    python -m mvae_jax.sweep.reproduce --tables=IV,V --num_seeds=10 --root=runs
    python -m mvae_jax.sweep.reproduce --budget_minutes=600

The command first prints how long training takes on this machine. It times a few steps of every
shape for that, which takes minutes itself, and keeps the result in ROOT/costs.json. Then it fetches
the data, trains, and writes ROOT/report and ROOT/REPRODUCTION.md.

With --budget_minutes it takes as many seeds as fit, at least three, and if three do not fit, fewer
latent sizes. It never takes fewer epochs than --num_epochs; the tables say where these are fewer
than the paper's. All seven tables bring FreyFace at z=32 along, for Figures 3 and 4. The runs are a
sweep: the same command goes on where it was stopped, and with a larger --num_seeds trains the new
seeds alone. --config.FIELD=VALUE goes to every run.

Exit status 0: everything is there. 1: something is missing or failed. 2: usage. 130: interrupted.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tabulate import tabulate

from mvae_jax import config as config_lib
from mvae_jax import datasets, terminal
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.paper import reference, reproduction
from mvae_jax.paper.cells import LATENT_SIZES, MODELS
from mvae_jax.store import run_folder, status
from mvae_jax.sweep import arguments, grid, predict
from mvae_jax.sweep.local import call

MIN_SEEDS = 3  # two give no more than a hint of the spread
FREY_FACE = ("frey_face", 32)  # of Figures 3 and 4
OWN = tuple(  # fields that the plan sets
    f"--config.{field}="
    for field in ("dataset", "model", "latent_size", "protocol", "num_seeds", "num_epochs")
)
INPUTS = ("--data_dir=", "--config.source=", "--config.photographs=")  # of a data set

Row = tuple[str, int]  # data set, latent size; of both models


class Plan(NamedTuple):
    """What is run: the tables at these latent sizes, and perhaps FreyFace; both models."""

    latent_sizes: list[int]
    num_seeds: int
    minutes: dict[Row, float]

    @property
    def data_sets(self) -> list[str]:
        """The data sets, each once."""
        return list(dict.fromkeys(dataset for dataset, _ in self.minutes))


def main() -> None:
    """Print the plan, run it and write the report."""
    args = parse()
    try:
        plan = choose(args, predict.measured(args.root, args.data_sets, args.num_seeds))
    except ValueError as error:
        terminal.exit_with(error)
    print(describe(plan, args), flush=True)
    if args.dry_run:
        return
    call_all(to_prepare(plan, args))  # a run that is complete needs no data: 1 is no failure here
    worst = call_all(to_train(plan, args))
    page = args.root / "REPRODUCTION.md"
    sys.exit(call("-m", "mvae_jax.paper", str(args.root), f"--document={page}") or worst)


def call_all(commands: Iterable[list[str]]) -> int:
    """Run commands in turn; return the worst exit status, and exit at one that ends everything."""
    worst = 0
    for command in commands:
        returned = call(*command)
        if returned not in (0, 1):
            sys.exit(returned)
        worst = max(worst, returned)
    return worst


def parse() -> argparse.Namespace:
    """Return the arguments; `data_sets` are those of the tables, `passed` goes to every run."""
    parser = arguments.parser("mvae_jax.sweep.reproduce", __doc__)
    numerals = {numeral: dataset for dataset, numeral in reference.table_numbers().items()}
    parser.add_argument(
        "--tables", type=_tables, default=",".join(numerals), help="by default all seven"
    )
    number: dict[str, Any] = {"type": arguments.number, "metavar": "N"}
    parser.add_argument("--num_seeds", **number, default=10, help="10 by default")
    parser.add_argument("--num_epochs", **number, default=200, help="200 by default, as the paper")
    parser.add_argument(
        "--budget_minutes", type=arguments.minutes, default=math.inf, help="of training"
    )
    parser.add_argument("--dry_run", action="store_true", help="time the shapes, print the plan")
    args, passed = arguments.parse(parser)
    for flag in passed:
        if flag.startswith(OWN):
            parser.error(
                f"got {flag!r}; the plan has --tables, --num_seeds and --num_epochs for it"
            )
    args.data_sets = [numerals[numeral] for numeral in args.tables]
    if args.data_dir is not None and not args.data_dir.is_dir():
        parser.error(f"--data_dir: got '{args.data_dir}', which is no folder")
    try:
        args.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--root: got '{args.root}', which cannot be a folder ({error.strerror})")
    args.figures = len(args.data_sets) == len(numerals)
    everything = [*args.data_sets, *([FREY_FACE[0]] if args.figures else [])]
    args.passed = {dataset: _of_data_set(dataset, passed) for dataset in everything}
    for dataset, flags in args.passed.items():
        try:
            grid.resolve([f"--config=configs/{dataset}.py:{MODELS[0]},2", *flags])
        except (config_lib.ConfigError, datasets.DataError) as error:
            parser.error(str(error))
    return args


def _tables(text: str) -> list[str]:
    """Return the numerals of a list such as IV,V."""
    numerals, known = text.split(","), reference.table_numbers().values()
    for position, numeral in enumerate(numerals):
        if numeral not in known or numeral in numerals[:position]:
            allowed = f"allowed, once each: {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"got {numeral!r}; {allowed}")
    return numerals


def _of_data_set(dataset: str, flags: list[str]) -> tuple[str, ...]:
    """Return the flags that a data set's runs are given: of the inputs, those that it has."""
    unused = [] if len(CATALOGUE[dataset].sources) > 1 else ["--config.source="]
    unused += [] if dataset == "mnist_background_images" else ["--config.photographs="]
    return tuple(flag for flag in flags if not flag.startswith(tuple(unused)))


def choose(args: argparse.Namespace, measured: predict.Costs) -> Plan:
    """Return the largest plan within the budget; raise ValueError where nothing fits.

    Runs that are complete count too, so that the same command has the same plan.
    """
    least = min(MIN_SEEDS, args.num_seeds)
    sizes = sorted(LATENT_SIZES)
    for number in range(len(sizes), 0, -1):
        for num_seeds in range(args.num_seeds, least - 1, -1):
            rows = [(dataset, z) for dataset in args.data_sets for z in sizes[:number]]
            rows += [FREY_FACE] if args.figures else []
            asked = (num_seeds, args.num_epochs)
            planned = {row: predict.minutes(measured, *row, *asked) for row in rows}
            predicted = sum(planned.values())
            if predicted <= args.budget_minutes:
                return Plan(sizes[:number], num_seeds, planned)
    raise ValueError(
        f"--budget_minutes: got {args.budget_minutes:g}; the least, z={sizes[0]} with {least} "
        f"seeds, takes {predicted:.1f}; name fewer --tables or more minutes"
    )


def to_prepare(plan: Plan, args: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the arguments that fetch the data, so that missing data are reported at once."""

    def inputs(dataset: str) -> tuple[str, ...]:
        given = (flag for flag in args.passed[dataset] if flag.startswith(INPUTS))
        return tuple(flag.replace("--config.", "--", 1) for flag in given)

    for flags, names in _alike(plan, inputs):
        yield ["-m", "mvae_jax.datasets", *(f"--prepare={name}" for name in names), *flags]


def to_train(plan: Plan, args: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the sweeps' arguments."""

    def own(dataset: str) -> tuple[str, ...]:
        sizes = ",".join(str(z) for of, z in plan.minutes if of == dataset)
        return (f"--latent={sizes}", *args.passed[dataset])

    shared = [f"--num_seeds={plan.num_seeds}", f"--config.num_epochs={args.num_epochs}"]
    shared += [f"--jobs={args.jobs}"] if args.jobs else []
    for flags, names in _alike(plan, own):
        dataset = f"--dataset={','.join(names)}"
        yield ["-m", "mvae_jax.sweep", dataset, *shared, f"--root={args.root}", *flags]


def _alike(
    plan: Plan, flags: Callable[[str], tuple[str, ...]]
) -> Iterable[tuple[tuple[str, ...], list[str]]]:
    """Return the data sets that are given the same flags, with these."""
    found: dict[tuple[str, ...], list[str]] = {}
    for dataset in plan.data_sets:
        found.setdefault(flags(dataset), []).append(dataset)
    return found.items()


def describe(plan: Plan, args: argparse.Namespace) -> str:
    """Return the plan as a table of minutes, and what of the paper it leaves out."""
    table = pd.Series(plan.minutes).unstack().loc[plan.data_sets]
    table.columns = [f"z={z}" for z in table]
    shown = table.assign(all=table.sum(axis=1)).map(lambda m: "-" if math.isnan(m) else f"{m:.1f}")
    headers = ("minutes of training", *shown)
    lines = [tabulate(shown, headers, disable_numparse=True, stralign="right")]
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
    """Return roughly which share of a row's training the root holds: models, seeds and epochs."""
    shares = []
    for model in MODELS:
        by_source = (f"{name}/release/{model}-z{z}" for name in (dataset, f"{dataset}-*"))
        folders = [folder for pattern in by_source for folder in root.glob(pattern)]
        trained = max(map(_seed_epochs, folders), default=0)
        shares.append(min(1.0, trained / (num_seeds * num_epochs)))
    return sum(shares) / len(shares)


def _seed_epochs(folder: Path) -> int:
    """Return the epochs that a run's seeds are trained for, added up."""
    try:
        found = status.of(folder)
    except run_folder.RunFolderError:  # the sweep reports it
        return 0
    return found.done * found.num_epochs + max(0, found.planned - found.done) * found.epoch


if __name__ == "__main__":
    terminal.command(main)
