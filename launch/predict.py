"""Predicts how long the whole paper trains on this machine, from a few steps of every shape.

    python launch/predict.py                 # 84 configurations, 5 seeds, 200 epochs
    python launch/predict.py --num_seeds=10

The 84 configurations have 24 shapes: two models, six latent sizes, images of 784 and of 3,072
pixels. Each is compiled and timed for a few steps, with all its seeds; the rest is counted. The
result is of training alone, one configuration after the other: a prediction, not a measurement.
"""

import argparse
import time

import bench
from tabulate import tabulate

from mvae_jax.report.claims import LATENT_SIZES

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
    parser.add_argument("--num_seeds", type=int, default=5)
    parser.add_argument("--num_epochs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40, help="timed per shape")
    args = parser.parse_args()

    print(bench.machine())
    rows, total = [], 0.0
    for pixels, data_sets in TRAINING_IMAGES.items():
        steps = sum(-(-n // bench.BATCH) for n in data_sets.values()) * args.num_epochs
        for latent_size in LATENT_SIZES:
            for model in ("vae", "mvae"):
                compile_seconds, step_seconds = measure(
                    model, latent_size, pixels, args.num_seeds, args.steps
                )
                seconds = len(data_sets) * compile_seconds + steps * step_seconds
                total += seconds
                shape = (pixels, latent_size, model)
                measured = (f"{compile_seconds:.1f}", f"{1e3 * step_seconds:.3f}")
                rows.append((*shape, len(data_sets), *measured, f"{seconds / 60:.1f}"))
                print(*shape, f"{seconds / 60:.1f} minutes", flush=True)
    headers = ("pixels", "z", "model", "data sets", "compile s", "ms/step, all seeds", "minutes")
    print(tabulate(rows, headers, disable_numparse=True, stralign="right"))
    print(
        f"predicted: {total / 60:.0f} minutes of training for {args.num_seeds} seeds and "
        f"{args.num_epochs} epochs of 84 configurations, compilation included"
    )


def measure(
    model: str, latent_size: int, pixels: int, seeds: int, steps: int
) -> tuple[float, float]:
    """Returns the seconds to compile, and those of a step of all seeds, past the first steps."""
    config = bench.configuration(model, latent_size, pixels)
    contestant = bench.ours(config, bench.made_up_images(pixels, steps), seeds)
    start = time.perf_counter()
    contestant.go()
    first = time.perf_counter() - start
    (timed,) = bench.take_turns([contestant], repeats=3)
    step_seconds = timed.ms * seeds / 1e3
    return max(0.0, first - steps * step_seconds), step_seconds


if __name__ == "__main__":
    main()
