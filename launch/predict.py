"""Predicts how long the whole paper trains on this machine, from a few steps of every shape.

    python launch/predict.py                 # 84 configurations, 5 seeds, 200 epochs
    python launch/predict.py --num_seeds=10

The 84 configurations have 24 shapes: two models, six latent sizes, images of 784 and of 3,072
pixels. Each is compiled and timed for a few steps, with all its seeds; the rest is counted. The
result is of training alone, one configuration after the other: a prediction, not a measurement.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import json
import time
from typing import NamedTuple

import bench
from tabulate import tabulate

from mvae_jax import paths, replicas
from mvae_jax.paper.claims import LATENT_SIZES
from mvae_jax.store import files

TRAINING_IMAGES = {  # of the release protocol: 80% of all, by pixels
    784: {"mnist_basic": 49_599, "fashion_mnist": 56_000}
    | dict.fromkeys(
        ("mnist_rotated", "mnist_background_images", "mnist_background_random"), 49_600
    ),
    3072: {"cifar10": 48_000, "cifar100": 48_000},
}


def main() -> None:
    """Times every shape and prints what the paper would take."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num_seeds", type=bench.number, default=5)
    parser.add_argument("--num_epochs", type=bench.number, default=200)
    parser.add_argument("--steps", type=bench.number, default=200, help="timed per shape")
    parser.add_argument("--latent", type=bench.numbers, default=list(LATENT_SIZES))
    parser.add_argument("--pixels", type=bench.numbers, default=list(TRAINING_IMAGES))
    parser.add_argument("--warm_steps", type=bench.number, default=bench.WARM_STEPS)
    parser.add_argument(
        "--out", type=paths.from_user, help="writes the costs as JSON, predicts nothing"
    )
    args = parser.parse_args()
    if args.steps < 4:
        parser.error(f"--steps: got {args.steps}; allowed: an integer of at least 4")
    if unknown := set(args.pixels) - TRAINING_IMAGES.keys():
        allowed = ", ".join(map(str, TRAINING_IMAGES))
        parser.error(f"--pixels: got {min(unknown)}; allowed: {allowed}")

    replicas.split_cores(args.num_seeds)  # as a run does
    print(bench.machine())
    rows, costs, total = [], [], 0.0
    for pixels in args.pixels:
        data_sets = TRAINING_IMAGES[pixels]
        for latent_size in args.latent:
            for model in ("vae", "mvae"):
                cost = measure(model, latent_size, pixels, args)
                minutes = sum(seconds(cost, n, args.num_epochs) for n in data_sets.values()) / 60
                total += minutes
                shape = (pixels, latent_size, model)
                measured = (f"{cost.compile:.1f}", f"{1e3 * cost.step:.3f}")
                rows.append((*shape, len(data_sets), *measured, f"{minutes:.1f}"))
                costs.append({"pixels": pixels, "latent_size": latent_size, "model": model})
                costs[-1] |= {"num_seeds": args.num_seeds, "cost": cost._asdict()}
                where = f"{pixels} pixels, z={latent_size}, {model}"
                print(f"{where}: {1e3 * cost.step:.3f} ms/step, {args.num_seeds} seeds", flush=True)
                if args.out:
                    files.write_text(args.out, json.dumps(costs, indent=1) + "\n")
    if args.out:
        return
    headers = ("pixels", "z", "model", "data sets", "compile s", "ms/step, all seeds", "minutes")
    print(tabulate(rows, headers, disable_numparse=True, stralign="right"))
    number = sum(row[3] for row in rows)
    print(
        f"predicted: {total:.0f} minutes of training for {args.num_seeds} seeds and "
        f"{args.num_epochs} epochs of {number} configurations, compilation included"
    )


def seconds(cost: "Cost", num_images: int, num_epochs: int) -> float:
    """Returns what training takes on so many images."""
    steps = -(-num_images // bench.BATCH)
    return cost.compile + num_epochs * (cost.epoch + steps * cost.step)


class Cost(NamedTuple):
    """Seconds to compile, of an epoch besides its steps, and of a step of all seeds."""

    compile: float
    epoch: float
    step: float


def measure(model: str, latent_size: int, pixels: int, args: argparse.Namespace) -> Cost:
    """Times epochs of two lengths, past the first steps."""
    seeds, steps = args.num_seeds, args.steps
    start = time.perf_counter()
    config = bench.configuration(model, latent_size, pixels)
    images = bench.made_up_images(pixels, steps)
    lengths = (max(1, steps // 4), steps)
    short, long = (bench.ours(config, images[: n * bench.BATCH], seeds) for n in lengths)
    short.go()
    first = time.perf_counter() - start
    laps = [
        t.ms * seeds * t.contestant.steps / 1e3
        for t in bench.take_turns([short, long], 3, args.warm_steps)
    ]
    per_step = (laps[1] - laps[0]) / (lengths[1] - lengths[0])
    return Cost(first - laps[0], max(0.0, laps[0] - lengths[0] * per_step), per_step)


if __name__ == "__main__":
    terminal.command(main)
