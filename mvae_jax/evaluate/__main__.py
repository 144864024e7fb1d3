"""Scores run folders: python -m mvae_jax.evaluate PATH..."""

import argparse
import sys
from pathlib import Path

from mvae_jax import files
from mvae_jax.evaluate.scoring import score


def main() -> None:
    """Exits with 0: every replicate is scored, 1: some are not, 2: usage, 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.evaluate", description=__doc__)
    parser.add_argument("path", nargs="+", type=Path, help="a run folder, or a root of them")
    parser.add_argument("--jobs", type=int, help="processes; by default one per core")
    args = parser.parse_args()
    for path in args.path:
        if not path.is_dir():
            parser.exit(2, f"error: path: got '{path}', which is no folder\n")
    try:
        files.as_paths(args.path)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    if args.jobs is not None and args.jobs < 1:
        parser.exit(2, f"error: --jobs: got {args.jobs}; allowed: an integer of at least 1\n")
    try:
        sys.exit(0 if score(args.path, args.jobs) else 1)
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; what was finished is kept, the same command goes on\n")


if __name__ == "__main__":
    main()
