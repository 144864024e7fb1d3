"""Print how far two runs are apart, seed by seed: such as one on a GPU and one on the CPU.

    python launch/compare_runs.py runs/on_cpu runs/on_gpu

For every array of the models and of the embeddings it prints the relative distance (Frobenius),
the worst over the seeds that both runs have. Then it prints the difference of their mean test
ELBOs, and what besides the configuration differed when they were trained. Exit status 1: an ELBO
differs by more than `--max_nats`.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mvae_jax import escape, paths
from mvae_jax.store import npz, origins


def main() -> None:
    """Compare the two folders on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=paths.from_user, nargs=2)
    parser.add_argument("--max_nats", type=float, default=0.01, help="0.01 by default")
    args = parser.parse_args()
    for run in args.run:
        if not run.is_dir():
            parser.error(f"{run}: no such folder")
    names = [{path.name for path in run.glob("embeddings/*.npz")} for run in args.run]
    if not (common := sorted(names[0] & names[1])):
        parser.error(f"{args.run[0]} and {args.run[1]} have no seed in common")
    for name in sorted(names[0] ^ names[1]):
        print(f"{name}: only one run has it")

    worst: dict[str, float] = {}
    nats = 0.0
    for name in common:
        try:
            one, other = (load(run, name) for run in args.run)
            elbos = [np.mean(a["log_likelihood_test"] - a["kl_test"]) for a in (one, other)]
        except KeyError as error:
            parser.error(f"{name}: one of the runs lacks {error}")
        except ValueError as error:
            parser.error(str(error))
        for field in one.keys() & other.keys():
            if one[field].shape != other[field].shape:
                parser.error(f"{name}: {field} has another shape; compare equal configurations")
            found = distance(one[field], other[field])
            worst[field] = float(np.maximum(worst.get(field, 0.0), found))  # NaN stays
        nats = float(np.maximum(nats, abs(elbos[0] - elbos[1])))
    rows = [(field, f"{found:.1e}") for field, found in sorted(worst.items())]
    print(tabulate(rows, ("array", "relative distance"), disable_numparse=True))
    print(f"{len(common)} seeds; mean test ELBOs at most {nats:.2g} nats apart")
    for pair in itertools.product(*(origins.read(run).values() for run in args.run)):
        if differing := ", ".join(itertools.chain(*origins.differ(*pair))):
            print(escape.plain(f"not trained alike, in {differing}"))
    sys.exit(0 if nats <= args.max_nats else 1)


def load(run: Path, name: str) -> dict[str, np.ndarray]:
    """Return the float arrays of a seed's model and embeddings."""
    arrays: dict[str, np.ndarray] = {}
    for folder in ("model", "embeddings"):
        found = npz.read(run / folder / name)
        arrays |= {key: array for key, array in found.items() if array.dtype.kind == "f"}
    return arrays


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Frobenius norm of the difference over that of the first."""
    return float(np.linalg.norm(other - one) / max(float(np.linalg.norm(one)), 1e-30))


if __name__ == "__main__":
    terminal.command(main)
