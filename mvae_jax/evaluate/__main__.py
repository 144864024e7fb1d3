"""Scores run folders: python -m mvae_jax.evaluate PATH..."""

import argparse

from mvae_jax import paths, terminal
from mvae_jax.evaluate import own
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files


def main() -> int:
    """Return 0: every replicate is scored, 1: some are not; exit with 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.evaluate", description=__doc__)
    parser.add_argument(
        "path", nargs="+", type=paths.from_user, help="a run folder, or a root of them"
    )
    parser.add_argument("--jobs", type=int, help="processes; by default one per core")
    parser.add_argument(
        "--metric", action="append", default=[], help="dotted paths of metrics of your own"
    )
    args = parser.parse_args()
    try:
        files.check_folders(args.path)
        metrics = own.load(args.metric)
    except ValueError as error:
        terminal.exit_with(error)
    if args.jobs is not None and args.jobs < 1:
        terminal.exit_with(f"--jobs: got {args.jobs}; allowed: an integer of at least 1")
    return 0 if score(args.path, args.jobs, metrics) else 1


if __name__ == "__main__":
    terminal.command(main)
