"""Run a grid of configurations on this machine: each a process of its own, on its own device.

    python -m mvae_jax.sweep --dataset=mnist_basic,cifar10 --model=vae,mvae --latent=2,4,16 \\
        --num_seeds=10 --root=runs [--data_dir=DIR] [--config.FIELD=VALUE ...]

The grid is written to ROOT/sweep.jsonl: a line for each configuration, with its run folder below
ROOT, its command, and its cost relative to the others. Anything that runs commands can execute it.
This command does so on one machine, `mvae_jax.sweep.slurm` on a cluster. Call it again to run what
is not finished, or with a larger --num_seeds to train the new seeds alone.

Exit status 0: every run is complete. 1: a run failed, its folder holds another configuration, or
another process trains there. 2: usage. 130: interrupted; the same command goes on.
"""

import argparse
import itertools
import sys

from mvae_jax import datasets, terminal
from mvae_jax.config import ConfigError
from mvae_jax.paper.cells import MODELS
from mvae_jax.sweep import arguments, grid, local


def main() -> None:
    """Expand the grid, write it and run it."""
    args, passed = parse()
    choices = itertools.product(args.dataset, args.protocol, args.latent, args.model)
    try:
        planned = grid.in_order(grid.expand(args.root, choices, passed), args.order)
    except (ConfigError, datasets.DataError) as error:
        terminal.exit_with(error)
    if args.dry_run:
        print(grid.to_lines(planned), end="")
        return
    missing, refused = grid.sort_out(args.root, planned, args.overwrite)
    for workdir, reason in refused:
        terminal.say(f"{workdir}: {reason}")
    try:
        accepted = [run for run in planned if run.workdir not in dict(refused)]
        number = grid.add(args.root, accepted, args.order)
    except (OSError, ValueError) as error:
        terminal.exit_with(error)
    if args.manifest_only:
        print(f"{args.root / 'sweep.jsonl'}: {number} runs")
        sys.exit(int(bool(refused)))
    shares = local.slots(args.jobs)
    sys.exit(local.execute(missing, len(planned), len(refused), args.root, shares))


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Return the sweep's own arguments, and the flags that every run is given."""
    parser = arguments.parser("mvae_jax.sweep", __doc__)
    parser.add_argument(
        "--dataset", type=arguments.words, required=True, help="shipped configs, or files: digits"
    )
    parser.add_argument(
        "--latent", type=arguments.words, required=True, help="latent sizes: 2,16,32"
    )
    both = ",".join(MODELS)
    parser.add_argument("--model", type=arguments.words, default=both, help=f"by default {both}")
    parser.add_argument(
        "--protocol", type=arguments.words, default="release", help="release (default), paper"
    )
    parser.add_argument(
        "--num_seeds", type=int, help="of each run; by default what the config says, 5"
    )
    parser.add_argument(
        "--order", choices=("cheapest", "longest"), default="cheapest", help="which runs come first"
    )
    parser.add_argument("--overwrite", action="store_true", help="move folders of other runs aside")
    parser.add_argument("--manifest_only", action="store_true", help="write the grid, run nothing")
    parser.add_argument("--dry_run", action="store_true", help="print the grid and do nothing")
    args, passed = arguments.parse(parser)
    if args.num_seeds is not None:
        passed.append(f"--config.num_seeds={args.num_seeds}")
    return args, passed


if __name__ == "__main__":
    terminal.command(main)
