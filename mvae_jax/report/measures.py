"""Quantities that the run folder's other files hold: sizes, times, pictures.

They stand beside the scores of metrics.json and test what the paper says of capacity, cost,
reconstructions and latent sweeps. A file that is not there gives no value; one that is damaged
raises ValueError.
"""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.evaluate import capacity
from mvae_jax.evaluate.pictures import high_frequency_energy, measure_sweep
from mvae_jax.store import npz, pictures_file, run_folder


def measure_run(run: Path, config: dict[str, Any]) -> dict[str, float]:
    """Returns what is the same for all of a run's seeds.

    num_parameters: the learned numbers, C among them
    multiply_adds:  of one example's pass through encoder, coupling and decoder: the weights of
                    every dense layer, and d^2 for each product with C (the noise; the mean too
                    where it is coupled)
    epoch_seconds:  median time of an epoch per seed, those that compile left out
    """
    values: dict[str, float] = {}
    manifest = run_folder.read_manifest(run)
    model = next(iter(sorted((run / "model").glob("[!.]*.npz"))), None)
    if model is not None:
        digest = manifest["sha256"].get(f"model/{model.name}")
        sizes = {
            name: array.size
            for name, array in npz.read(model, sha256=digest).items()
            if name.startswith("params/")
        }
        values["num_parameters"] = capacity.num_parameters(sizes)
        couple_mean = bool(config.get("couple_mean"))
        values["multiply_adds"] = capacity.multiply_adds(sizes, couple_mean)
    trained = manifest["replicates"].values()
    seconds = [r["epoch_seconds"] for r in trained if r.get("epoch_seconds") is not None]
    if seconds:
        values["epoch_seconds"] = statistics.median(seconds)
    return values


def measure_pictures(run: Path, replicate: str, sha256: Mapping[str, str]) -> dict[str, float]:
    """Return what one replicate's pictures show; nothing where there are none.

    A measure that the pictures' numbers overflow is left out.
    sha256: by path below the run, of the files that training has recorded
    """
    name = f"pictures/{replicate}.npz"
    if not (run / name).is_file():
        return {}
    pictures = pictures_file.read(run / name, sha256.get(name))
    inputs, outputs = pictures["input"], pictures["reconstruction_sampled"]
    with np.errstate(over="ignore", invalid="ignore"):
        values = {"mse_first_48": pictures_file.mean_squared_error(inputs, outputs)}
        of_input = high_frequency_energy(inputs)
        if of_input > 0:
            values["high_frequency_energy"] = high_frequency_energy(outputs) / of_input
        values |= measure_sweep(pictures["sweep"])
    return {name: value for name, value in values.items() if math.isfinite(value)}
