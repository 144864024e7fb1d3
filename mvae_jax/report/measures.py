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
from jaxtyping import Float, Num

from mvae_jax.store import npz, run_folder

PICTURES = {"input": 4, "reconstruction_sampled": 4, "sweep": 5, "sweep_values": 1}  # axes of each
OPTIONAL = {"sweep_leading": 5, "sweep_trailing": 5}  # of an MVAE
MAX_BYTES = 1 << 30  # of one replicate's pictures
FLAT = 0.01  # a step of the sweep that changes the mean pixel by less than this is flat
HIGH_FREQUENCY = 0.25  # cycles per pixel: half of what a picture can hold


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
        products = 1 + bool(config.get("couple_mean"))
        values["num_parameters"] = float(sum(sizes.values()))
        values["multiply_adds"] = float(
            sum(
                size * (products if name.endswith("coupling") else 1)
                for name, size in sizes.items()
                if name.endswith(("kernel", "coupling"))
            )
        )
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
    pictures = read_pictures(run / name, sha256.get(name))
    inputs, outputs = pictures["input"], pictures["reconstruction_sampled"]
    with np.errstate(over="ignore", invalid="ignore"):
        values = {"mse_first_48": mean_squared_error(inputs, outputs)}
        of_input = high_frequency_energy(inputs)
        if of_input > 0:
            values["high_frequency_energy"] = high_frequency_energy(outputs) / of_input
        values |= measure_sweep(pictures["sweep"])
    return {name: value for name, value in values.items() if math.isfinite(value)}


def read_pictures(path: Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read `pictures/<replicate>.npz`; raise ValueError where it is not of its format.

    input, reconstruction_sampled: [N, H, W, C]; sweep, and those of OPTIONAL:
    [I, J, H, W, C]; sweep_values: [I]
    """
    pictures = npz.read(path, most=MAX_BYTES, sha256=sha256)
    for name, axes in (PICTURES | OPTIONAL).items():
        found = pictures.get(name)
        if found is None and name in OPTIONAL:
            continue
        if found is None or found.ndim != axes or not found.size or found.dtype.kind not in "fiu":
            shape = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ValueError(f"{path}: {name} is {shape}, not numbers with {axes} axes")
    if pictures["input"].shape != pictures["reconstruction_sampled"].shape:
        raise ValueError(f"{path}: input and reconstruction_sampled differ in shape")
    return pictures


def mean_squared_error(
    inputs: Num[np.ndarray, "n h w c"], outputs: Num[np.ndarray, "n h w c"]
) -> float:
    """Return the mean over pixels and images; infinite where a square overflows."""
    if inputs.dtype.kind in "iu":  # the difference of two unsigned integers is none
        inputs = inputs.astype(np.float64)
    with np.errstate(over="ignore"):
        return float(np.mean((inputs - outputs) ** 2, dtype=np.float64))


def high_frequency_energy(images: Float[np.ndarray, "n h w c"]) -> float:
    """Returns the images' mean spectral energy above half the highest frequency."""
    _, height, width, _ = images.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    energy = np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2
    return float(energy[:, frequency > HIGH_FREQUENCY].mean())


def measure_sweep(sweep: Float[np.ndarray, "i j h w c"]) -> dict[str, float]:
    """Returns how the decoded pictures change from step to step of the latent plane's grid.

    sweep_roughness:    sum |x_{k+1} - 2 x_k + x_{k-1}| / sum |x_{k+1} - x_k|: 0 for even steps
    sweep_monotonicity: sum |x_last - x_first| / sum |x_{k+1} - x_k|: 1 where no pixel turns back
    sweep_flatness:     the share of steps that change the mean pixel by less than FLAT
    All sums run over both directions, all rows and all pixels.
    """
    # One axis of steps in front; a plane of one column has one direction.
    directions = [
        np.moveaxis(sweep, axis, 0).astype(np.float64) for axis in (0, 1) if sweep.shape[axis] > 2
    ]
    if not directions:
        return {}
    steps = [np.diff(lines, axis=0) for lines in directions]
    total = sum(np.abs(step).sum() for step in steps)
    flat = np.concatenate([(np.abs(step).mean(axis=(2, 3, 4)) < FLAT).ravel() for step in steps])
    values = {"sweep_flatness": float(flat.mean())}
    if total > 0:
        bends = sum(np.abs(np.diff(step, axis=0)).sum() for step in steps)
        net = sum(np.abs(step.sum(axis=0)).sum() for step in steps)
        values |= {"sweep_roughness": bends / total, "sweep_monotonicity": net / total}
    return {name: float(value) for name, value in values.items()}
