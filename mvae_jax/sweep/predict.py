"""Predict how long the whole paper trains on this machine, from a few steps of every shape.

    python -m mvae_jax.sweep.predict                 # 84 configurations, 5 seeds, 200 epochs
    python -m mvae_jax.sweep.predict --num_seeds=10

The 84 configurations have 24 shapes: two models, six latent sizes, images of 784 and of 3,072
pixels. Each shape is compiled and timed for a few steps, with all its seeds; the rest is
arithmetic. The result is of training alone, one configuration after the other: a prediction, not
a measurement.
"""

import argparse
import json
import time
from typing import Any, NamedTuple

from tabulate import tabulate

from mvae_jax import paths, replicas, terminal
from mvae_jax.paper import reference
from mvae_jax.paper.cells import LATENT_SIZES, MODELS
from mvae_jax.store import files
from mvae_jax.sweep import arguments, grid, timing


class Cost(NamedTuple):
    """Seconds to compile, of an epoch besides its steps, and of a step of all seeds."""

    compile: float
    epoch: float
    step: float


def main() -> None:
    """Time every shape and print what the paper would take."""
    args = parse()
    replicas.split_cores(args.num_seeds)  # as a run does
    print(timing.machine())
    rows, costs, total = [], [], 0.0
    shapes = [(p, z, m) for p in args.pixels for z in args.latent for m in MODELS]
    for pixels, latent_size, model in shapes:
        cost = measure(model, latent_size, pixels, args)
        named = [name for name in reference.table_numbers() if reference.pixels(name) == pixels]
        minutes = sum(seconds(cost, name, args.num_epochs) for name in named) / 60
        total += minutes
        step = f"{1e3 * cost.step:.3f}"
        compiled = f"{cost.compile:.1f}"
        rows.append((pixels, latent_size, model, len(named), compiled, step, f"{minutes:.1f}"))
        shape = {"pixels": pixels, "latent_size": latent_size, "model": model}
        costs.append(shape | {"num_seeds": args.num_seeds, "cost": cost._asdict()})
        where = f"{pixels} pixels, z={latent_size}, {model}"
        print(f"{where}: {step} ms/step, {args.num_seeds} seeds", flush=True)
        if args.out:
            files.write_text(args.out, json.dumps(costs, indent=1) + "\n")
    if args.out:
        return
    headers = ("pixels", "z", "model", "data sets", "compile s", "ms/step, all seeds", "minutes")
    print(tabulate(rows, headers, disable_numparse=True, stralign="right"))
    print(
        f"predicted: {total:.0f} minutes of training for {args.num_seeds} seeds and "
        f"{args.num_epochs} epochs of {sum(row[3] for row in rows)} configurations, compilation "
        "included"
    )


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = arguments.parser("mvae_jax.sweep.predict", __doc__)
    numbers: dict[str, Any] = {"type": arguments.numbers, "metavar": "N,N"}
    number: dict[str, Any] = {"type": arguments.number, "metavar": "N"}
    sizes, pixels = list(LATENT_SIZES), list(timing.SHAPES)
    parser.add_argument("--num_seeds", **number, default=5, help="5 by default")
    parser.add_argument("--num_epochs", **number, default=200, help="200 by default")
    parser.add_argument("--latent", **numbers, default=sizes, help="by default the paper's six")
    parser.add_argument("--pixels", **numbers, default=pixels, help="by default 784,3072")
    parser.add_argument("--steps", **number, default=200, help="timed per shape; 200 by default")
    parser.add_argument(
        "--warm_steps", **number, default=timing.WARM_STEPS, help="before the first is timed"
    )
    parser.add_argument(
        "--out", type=paths.from_user, help="write the costs there as JSON, predict nothing"
    )
    args = parser.parse_args()
    if args.steps < 4:
        parser.error(f"--steps: got {args.steps}; allowed: an integer of at least 4")
    if unknown := set(args.pixels) - timing.SHAPES.keys():
        allowed = ", ".join(map(str, timing.SHAPES))
        parser.error(f"--pixels: got {min(unknown)}; allowed: {allowed}")
    return args


def seconds(cost: Cost, dataset: str, num_epochs: int) -> float:
    """Return what training takes on a data set, in the release protocol."""
    num_images, _ = grid.training_size(dataset)
    steps = -(-num_images // timing.BATCH)
    return cost.compile + num_epochs * (cost.epoch + steps * cost.step)


def measure(model: str, latent_size: int, pixels: int, args: argparse.Namespace) -> Cost:
    """Time epochs of two lengths, past the first steps."""
    seeds, steps = args.num_seeds, args.steps
    start = time.perf_counter()
    config = timing.configuration(model, latent_size, pixels)
    images = timing.made_up_images(pixels, steps)
    lengths = (max(1, steps // 4), steps)
    short, long = (timing.training(config, images[: n * timing.BATCH], seeds) for n in lengths)
    short.go()
    first = time.perf_counter() - start
    laps = [
        t.ms * seeds * t.contestant.steps / 1e3
        for t in timing.take_turns([short, long], 3, args.warm_steps)
    ]
    per_step = (laps[1] - laps[0]) / (lengths[1] - lengths[0])
    return Cost(first - laps[0], max(0.0, laps[0] - lengths[0] * per_step), per_step)


if __name__ == "__main__":
    terminal.command(main)
