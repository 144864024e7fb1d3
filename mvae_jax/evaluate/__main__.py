"""Scores run folders: python -m mvae_jax.evaluate PATH..."""

import argparse
import sys
from pathlib import Path

from mvae_jax.evaluate.score import score


def main() -> None:
    """Exits with 0: every replicate is scored, 1: some are not, 2: usage."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.evaluate", description=__doc__)
    parser.add_argument("path", nargs="+", type=Path, help="a run folder, or a root of them")
    paths = parser.parse_args().path
    for path in paths:
        if not path.is_dir():
            parser.exit(2, f"error: path: got '{path}', which is no folder\n")
    sys.exit(0 if score(paths) else 1)


if __name__ == "__main__":
    main()
