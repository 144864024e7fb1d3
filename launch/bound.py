"""What the paper costs at least on an accelerator that is not here: arithmetic, nothing is timed.

A step moves ten times the bytes of the parameters: the two passes read them, the gradient is
written and read, AdamW reads and writes the parameters and both moments. Images and outputs count
once in each pass. The products are six operations for each parameter and example, and two products
of C for a family that follows an inverse. The bound is the longer of moving and computing; that
kernels start late, or do not overlap, comes on top.

Memory per seed is the state, twice for a family that follows an inverse, the gradient, and the
images and outputs of a batch. `launch/aot.py` reads the same from a compiled program.

    python launch/bound.py [--device=h100] [--num_seeds=5] [--num_epochs=200]
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()

import itertools
from typing import NamedTuple

import jax
import numpy as np
from tabulate import tabulate

from mvae_jax import config as config_lib
from mvae_jax import posteriors, train
from mvae_jax.paper import reference
from mvae_jax.paper.cells import LATENT_SIZES, MODELS
from mvae_jax.sweep import arguments, grid
from mvae_jax.sweep.predict import BATCH, SHAPES, configuration


class Device(NamedTuple):
    """Bytes of memory, bytes per second to and from it, float32 operations per second."""

    memory: float
    bandwidth: float
    operations: float


DEVICES = {"h100": Device(80e9, 3.35e12, 67e12)}  # the data sheet of the SXM card
PASSES = 10  # over the parameters, in a step


def per_seed(model: str, latent_size: int, pixels: int, device: Device) -> tuple[float, float]:
    """Return the bytes of memory that a seed takes, and the least seconds of a step of it."""
    config = config_lib.of_program(configuration(model, latent_size, pixels))
    seed = jax.ShapeDtypeStruct((), np.int32)
    state = jax.eval_shape(lambda seed: train.init(config, seed), seed)
    parameters, batch = size(state.params), 4 * BATCH * 2 * pixels
    followed = posteriors.of(config).error is not None
    moved = PASSES * parameters + 2 * batch
    operations = 6 * BATCH * parameters / 4 + followed * 4 * latent_size**3
    seconds = max(moved / device.bandwidth, operations / device.operations)
    return float((1 + followed) * size(state) + parameters + batch), seconds


def size(tree: object) -> int:
    """Return the bytes of all arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def report(name: str, num_seeds: int, num_epochs: int) -> str:
    """Return the prediction for a device as text: a table of shapes, then what all take."""
    device, rows, hours, held = DEVICES[name], [], 0.0, []
    for pixels in SHAPES:
        named = [each for each in reference.table_numbers() if reference.pixels(each) == pixels]
        counts = [grid.training_size(each)[0] for each in named]
        together = 0.0
        for latent_size, model in itertools.product(LATENT_SIZES, MODELS):
            memory, seconds = per_seed(model, latent_size, pixels, device)
            steps = num_epochs * sum(-(-count // BATCH) for count in counts)
            hours += num_seeds * steps * seconds / 3600
            together += memory
            row = (f"{memory / 1e6:.1f}", f"{1e6 * seconds:.1f}")
            rows.append((pixels, latent_size, model, *row))
        images = max(counts) * pixels
        held.append(
            f"{pixels} pixels: all {len(LATENT_SIZES) * len(MODELS)} configurations of a data set "
            f"fit at once with {int((device.memory - images) // together)} seeds each"
        )
    headers = ("pixels", "z", "model", "MB per seed", "least µs per step and seed")
    table = tabulate(rows, headers, disable_numparse=True, stralign="right")
    total = (
        f"predicted for one {name}, not measured: training takes {60 * hours:.0f} minutes at least "
        f"for {num_seeds} seeds and {num_epochs} epochs of every configuration, at "
        f"{device.bandwidth / 1e12:.2f} TB/s and {device.operations / 1e12:.0f} TFLOP/s in float32"
    )
    return "\n".join([table, *held, total])


def main() -> None:
    """Print what the device of the command line takes at least."""
    parser = arguments.parser("bound", __doc__)
    parser.add_argument("--device", choices=DEVICES, default="h100", help="by its data sheet")
    parser.add_argument("--num_seeds", type=arguments.number, default=5, help="5 by default")
    parser.add_argument("--num_epochs", type=arguments.number, default=200, help="200 by default")
    args = parser.parse_args()
    print(report(args.device, args.num_seeds, args.num_epochs))


if __name__ == "__main__":
    terminal.command(main)
