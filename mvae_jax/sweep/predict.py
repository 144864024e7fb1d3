"""Predict how long the whole paper trains on this machine, from a few steps of every shape.

    python -m mvae_jax.sweep.predict  # 84 configurations, 5 seeds, 200 epochs
    python -m mvae_jax.sweep.predict --num_seeds=10

The 84 configurations have 24 shapes: two models, six latent sizes, images of 784 and of 3,072
pixels. Each shape is compiled and timed for a few steps, with all its seeds; the rest is
arithmetic. The result is of training alone, one configuration after the other: a prediction, not
a measurement. `mvae_jax.sweep.reproduce --dry_run` prints it as minutes of each row.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import jax
import joblib
import numpy as np
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import paths, replicas, terminal
from mvae_jax.paper import reference
from mvae_jax.paper.cells import LATENT_SIZES, MODELS
from mvae_jax.runs import environment
from mvae_jax.store import files, json_file
from mvae_jax.sweep import arguments, grid, local

BATCH = 100
SHAPES = {784: (28, 28, 1), 3072: (32, 32, 3)}  # of the paper's images, by their pixels
STEPS = 20  # timed per shape for `measured`
WARM_STEPS = 300  # the first steps of a random, ill-conditioned C cost more than the rest
LAPS = 3

Shape = tuple[int, int, str]  # pixels, latent size, model


class Cost(NamedTuple):
    """Seconds to compile, of an epoch besides its steps, and of a step of all `num_seeds` seeds."""

    compile: float
    epoch: float
    step: float
    num_seeds: int


Costs = dict[Shape, Cost]


def main() -> None:
    """Time every shape and print what the paper would take."""
    args = parse()
    replicas.split_cores(args.num_seeds)  # as a run does
    print(machine())
    number, total = 0, 0.0
    for pixels, latent_size, model in itertools.product(args.pixels, args.latent, MODELS):
        cost = measure(model, latent_size, pixels, args)
        named = [name for name in reference.table_numbers() if reference.pixels(name) == pixels]
        total += sum(seconds(cost, name, args.num_epochs) for name in named) / 60
        number += len(named)
        where = f"{pixels} pixels, z={latent_size}, {model}"
        print(f"{where}: {1e3 * cost.step:.3f} ms/step, {args.num_seeds} seeds", flush=True)
        if args.out:
            timed: dict[str, Any] = {"machine": here(), "cost": cost._asdict()}
            timed["num_seeds"] = timed["cost"].pop("num_seeds")
            shape = {"pixels": pixels, "latent_size": latent_size, "model": model}
            known = json_file.read_value(args.out) if args.out.exists() else []
            files.write_text(args.out, json.dumps([*known, shape | timed], indent=1) + "\n")
    if not args.out:
        print(
            f"predicted: {total:.0f} minutes of training for {args.num_seeds} seeds and "
            f"{args.num_epochs} epochs of {number} configurations, compilation included"
        )


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = arguments.parser("mvae_jax.sweep.predict", __doc__)
    numbers: dict[str, Any] = {"type": arguments.numbers, "metavar": "N,N"}
    number: dict[str, Any] = {"type": arguments.number, "metavar": "N"}
    sizes, pixels = list(LATENT_SIZES), list(SHAPES)
    parser.add_argument("--num_seeds", **number, default=5, help="5 by default")
    parser.add_argument("--num_epochs", **number, default=200, help="200 by default")
    parser.add_argument("--latent", **numbers, default=sizes, help="by default the paper's six")
    parser.add_argument("--pixels", **numbers, default=pixels, help="by default 784,3072")
    parser.add_argument("--steps", **number, default=200, help="timed per shape; 200 by default")
    parser.add_argument("--warm_steps", **number, default=WARM_STEPS, help="that are not timed")
    parser.add_argument(
        "--out", type=paths.from_user, help="add the costs to this JSON file, predict nothing"
    )
    args = parser.parse_args()
    if args.steps < 4:
        parser.error(f"--steps: got {args.steps}; allowed: an integer of at least 4")
    if unknown := set(args.pixels) - SHAPES.keys():
        parser.error(f"--pixels: got {min(unknown)}; allowed: {', '.join(map(str, SHAPES))}")
    return args


def seconds(cost: Cost, dataset: str, num_epochs: int) -> float:
    """Return what training takes on a data set, in the release protocol."""
    num_images, _ = grid.training_size(dataset)
    steps = -(-num_images // BATCH)
    return cost.compile + num_epochs * (cost.epoch + steps * cost.step)


# --- timing: also for launch/bench.py -----------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return what the figures depend on; exit with one line where JAX has no device."""
    try:
        environment.check_platform()
    except config_lib.ConfigError as error:
        terminal.exit_with(error)
    devices = [device.device_kind for device in jax.local_devices()]
    packages = ("jax", "jaxlib", "numpy", "torch")
    versions = {p.metadata["Name"]: p.version for p in distributions() if p.name in packages}
    return {"processor": environment.processor(), "devices": devices, "versions": versions}


def configuration(model: str, latent_size: int, pixels: int) -> FrozenConfigDict:
    """Return the release protocol's configuration for images of that size, without data."""
    config = config_lib.base_config("digits", f"{model},{latent_size}")
    config.update({"image_shape": SHAPES[pixels], "pixel_scale": 1 / 255, "batch_size": BATCH})
    return FrozenConfigDict(config)


def made_up_images(pixels: int, steps: int) -> np.ndarray:
    """Return noise, one batch per step, four fifths of it black: as dark as digits are."""
    images = np.random.default_rng(0).integers(0, 256, (steps * BATCH, *SHAPES[pixels]), np.uint8)
    return images * (np.random.default_rng(1).random(images.shape) < 0.2)


def training(config: FrozenConfigDict, images: np.ndarray, seeds: int) -> Callable[[], None]:
    """Return a function that trains all seeds for one epoch of the images, in one dispatch."""
    config = config_lib.replace(config, num_seeds=seeds)
    on_device = replicas.share_images(images, seeds)
    mode = replicas.choose_mode()
    state = replicas.init(config, config_lib.seeds(config))

    def go() -> None:
        nonlocal state
        state, metrics = replicas.train_epoch(config, mode, state, on_device)
        jax.block_until_ready(metrics)

    return go


def measure(model: str, latent_size: int, pixels: int, args: argparse.Namespace) -> Cost:
    """Time epochs of two lengths, past the first steps."""
    start = time.perf_counter()
    config = configuration(model, latent_size, pixels)
    images = made_up_images(pixels, args.steps)
    lengths = np.array([max(1, args.steps // 4), args.steps])
    epochs = [training(config, images[: n * BATCH], args.num_seeds) for n in lengths]
    for _ in range(2):  # the first epoch and the others are two programs
        epochs[0]()
    first = time.perf_counter() - start
    for epoch, length in zip(epochs, lengths, strict=True):
        for _ in range(max(2, -(-args.warm_steps // length))):
            epoch()
    laps = np.empty((LAPS, 2))
    for turn, i in np.ndindex(laps.shape):
        begin = time.perf_counter()
        epochs[i]()
        laps[turn, i] = time.perf_counter() - begin
    short, long = np.median(laps, axis=0).tolist()
    step = (long - short) / int(lengths[1] - lengths[0])
    epoch = max(0.0, short - int(lengths[0]) * step)
    return Cost(first - 2 * short, epoch, step, args.num_seeds)


# --- what was measured, kept in ROOT/costs.json -------------------------------------------------


def measured(root: Path, data_sets: list[str], num_seeds: int) -> Costs:
    """Return the costs of the data sets' shapes, of which only new ones are measured.

    The measurement has a process of its own, since on an accelerator it would keep the memory.

    Raises:
      ValueError: costs.json is damaged.
    """
    path = root / "costs.json"
    # A CPU is timed with a seed per core, as busy as the sweep keeps it; on a GPU all seeds share
    # a step.
    seeds = num_seeds if local.find_gpus() else joblib.cpu_count()
    needed = {reference.pixels(dataset) for dataset in data_sets}
    shapes = set(itertools.product(needed, LATENT_SIZES, MODELS))
    if missing := sorted({pixels for pixels, *_ in shapes - _read(path, seeds).keys()}):
        number = len(missing) * len(LATENT_SIZES) * len(MODELS)
        print(f"timing a few steps of {number} shapes...", flush=True)
        flags = {
            "pixels": ",".join(map(str, missing)),
            "latent": ",".join(map(str, LATENT_SIZES)),
            **{"num_seeds": seeds, "steps": STEPS, "warm_steps": STEPS, "out": path},
        }
        given = [f"--{name}={value}" for name, value in flags.items()]
        if returned := local.call("-m", "mvae_jax.sweep.predict", *given):
            sys.exit(returned)
    return _read(path, seeds)


def here() -> str:
    """Return the machine, as costs.json names it."""
    return f"{environment.processor()}, {len(local.find_gpus())} GPUs"


def _read(path: Path, num_seeds: int) -> Costs:
    """Return the costs of this machine and number of seeds; of a shape timed twice, the last."""
    costs, machine = {}, here()
    try:
        for row in json_file.read_value(path) if path.exists() else []:
            found = Cost(**row["cost"], num_seeds=int(row["num_seeds"]))
            shape = row["pixels"], row["latent_size"], row["model"]
            if (row["machine"], found.num_seeds) == (machine, num_seeds):
                costs[shape] = found
    except (KeyError, TypeError, ValueError, ArithmeticError, OSError) as error:
        raise ValueError(f"{path}: damaged ({error}); remove it") from error
    return costs


def minutes(costs: Costs, dataset: str, z: int, num_seeds: int, num_epochs: int) -> float:
    """Return the minutes in which both models of one row train.

    Cores have runs of their own, so the time is in proportion to the seeds. On a GPU the seeds
    share a step, and fewer than were timed are not taken to be faster. FreyFace is taken to cost
    what images of 784 pixels do, a little more than it does.
    """
    gpus = len(local.find_gpus())
    total = 0.0
    for model in MODELS:
        cost = costs[reference.pixels(dataset), z, model]
        times = max(num_seeds / cost.num_seeds, 1.0 if gpus else 0.0)
        total += seconds(cost._replace(step=cost.step * times), dataset, num_epochs) / 60
    return total / max(1, gpus)


if __name__ == "__main__":
    terminal.command(main)
