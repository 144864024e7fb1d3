"""What the paper's shapes cost on this machine: measured once, kept in ROOT/costs.json."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import joblib

from mvae_jax.paper import reference
from mvae_jax.paper.cells import LATENT_SIZES, MODELS
from mvae_jax.runs import environment
from mvae_jax.store import files, json_text
from mvae_jax.sweep import local, predict
from mvae_jax.sweep.child import call

STEPS = 20  # timed per shape


class Measured(NamedTuple):
    """What a shape costs, with so many seeds at once."""

    cost: predict.Cost
    num_seeds: int


Shape = tuple[int, int, str]  # pixels, latent size, model
Costs = dict[Shape, Measured]


def measured(root: Path, data_sets: list[str], num_seeds: int) -> Costs:
    """Return the costs of the data sets' shapes, of which only new ones are measured.

    The measurement has a process of its own, since on an accelerator it would keep the memory.

    Raises:
      ValueError: costs.json is damaged.
    """
    path = root / "costs.json"
    gpus = local.find_gpus()
    machine = f"{environment.processor()}, {len(gpus)} GPUs"
    # A CPU is timed with a seed per core, as busy as the sweep keeps it; on a GPU all seeds share
    # a step.
    seeds = num_seeds if gpus else joblib.cpu_count()
    stored = _read(path)
    mine = [row for row in stored if row["machine"] == machine and row["num_seeds"] == seeds]
    needed = {reference.pixels(dataset) for dataset in data_sets}
    shapes = {(p, z, m) for p in needed for z in LATENT_SIZES for m in MODELS}
    missing = sorted({pixels for pixels, *_ in shapes - {_shape(row) for row in mine}})
    if missing:
        others = [row for row in stored if row not in mine]  # of other machines or seeds
        mine = [row for row in mine if row["pixels"] not in missing]
        mine += [row | {"machine": machine} for row in _measure(root, missing, seeds)]
        files.write_text(path, json.dumps(others + mine, indent=1) + "\n")
    return {_shape(row): _measured(row) for row in mine}


def minutes(costs: Costs, dataset: str, z: int, num_seeds: int, num_epochs: int) -> float:
    """Return the minutes in which both models of one row train.

    Cores have runs of their own, so the time is in proportion to the seeds. On a GPU the seeds
    share a step, and fewer than were timed are not taken to be faster. FreyFace is taken to cost
    what images of 784 pixels do, a little more than it does.
    """
    gpus = len(local.find_gpus())
    total = 0.0
    for model in MODELS:
        cost, timed_seeds = costs[reference.pixels(dataset), z, model]
        times = max(num_seeds / timed_seeds, 1.0 if gpus else 0.0)
        cost = cost._replace(step=cost.step * times)
        total += predict.seconds(cost, dataset, num_epochs) / 60
    return total / max(1, gpus)


def _measure(root: Path, pixels: list[int], seeds: int) -> list[dict[str, Any]]:
    """Return the rows that `predict` writes for images of these sizes; exit where it fails."""
    number = len(pixels) * len(LATENT_SIZES) * len(MODELS)
    print(f"timing a few steps of {number} shapes...", flush=True)
    new = root / "costs.new.json"
    flags = {
        "pixels": ",".join(map(str, pixels)),
        "latent": ",".join(map(str, LATENT_SIZES)),
        **{"num_seeds": seeds, "steps": STEPS, "warm_steps": STEPS, "out": new},
    }
    given = [f"--{name}={value}" for name, value in flags.items()]
    if returned := call("-m", "mvae_jax.sweep.predict", *given):
        sys.exit(returned)
    rows: list[dict[str, Any]] = json_text.read(new)
    new.unlink()
    return rows


def _read(path: Path) -> list[dict[str, Any]]:
    """Return what was measured, on any machine."""
    try:
        rows: list[dict[str, Any]] = json_text.read(path) if path.exists() else []
        for row in rows:
            row["machine"], _shape(row), _measured(row)  # raise where it is damaged
        return rows
    except (KeyError, TypeError, ValueError, ArithmeticError, OSError) as error:
        raise ValueError(f"{path}: damaged ({error}); remove it") from error


def _shape(row: dict[str, Any]) -> Shape:
    return row["pixels"], row["latent_size"], row["model"]


def _measured(row: dict[str, Any]) -> Measured:
    return Measured(predict.Cost(**row["cost"]), int(row["num_seeds"]))
