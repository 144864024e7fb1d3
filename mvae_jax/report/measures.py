"""Quantities that the run folder's other files hold: sizes, times, pictures.

They stand beside the scores of metrics.json and test what the paper says of capacity, cost,
reconstructions and latent sweeps. A file that is not there gives no value; one that is damaged
raises ValueError.
"""

import json
import statistics
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

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
    model = next(iter(sorted((run / "model").glob("[!.]*.npz"))), None)
    if model is not None:
        with _named(model):
            sizes = {name: int(np.prod(shape)) for name, shape in _shapes(model).items()}
        sizes = {name: size for name, size in sizes.items() if name.startswith("params/")}
        products = 1 + bool(config.get("couple_mean"))
        values["num_parameters"] = float(sum(sizes.values()))
        values["multiply_adds"] = float(
            sum(
                size * (products if name.endswith("coupling") else 1)
                for name, size in sizes.items()
                if name.endswith(("kernel", "coupling"))
            )
        )
    seconds = _epoch_seconds(run / "timing.jsonl")
    if seconds:
        values["epoch_seconds"] = statistics.median(seconds)
    return values


def measure_pictures(path: Path) -> dict[str, float]:
    """Returns what one replicate's pictures show; nothing where there are none."""
    if not path.is_file():
        return {}
    with open_npz(path) as arrays:
        inputs, outputs = arrays["input"], arrays["reconstruction_sampled"]
        sweep = arrays["sweep"]
    return {
        "mse_first_48": float(np.mean((inputs - outputs) ** 2, dtype=np.float64)),
        "high_frequency_energy": high_frequency_energy(outputs) / high_frequency_energy(inputs),
        **measure_sweep(sweep),
    }


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
    steps = [np.diff(lines, axis=0) for lines in directions]
    total = sum(np.abs(step).sum() for step in steps)
    flat = np.concatenate([(np.abs(step).mean(axis=(2, 3, 4)) < FLAT).ravel() for step in steps])
    values = {"sweep_flatness": float(flat.mean())}
    if total > 0:
        bends = sum(np.abs(np.diff(step, axis=0)).sum() for step in steps)
        net = sum(np.abs(step.sum(axis=0)).sum() for step in steps)
        values |= {"sweep_roughness": bends / total, "sweep_monotonicity": net / total}
    return {name: float(value) for name, value in values.items()}


def _epoch_seconds(path: Path) -> list[float]:
    """Returns the epochs' times per seed, without the first of each start, which compiles."""
    if not path.is_file():
        return []
    seconds, compiled = [], False
    for line in path.read_text().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # the line that a kill tore
            continue
        if event["event"] != "epoch":
            compiled = False
            continue
        if compiled:
            seconds.append(event["seconds"] / event["seeds"])
        compiled = True
    return seconds


@contextmanager
def open_npz(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens an .npz of plain arrays; raises ValueError where it, or what is read, is damaged."""
    with _named(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file raises into a ValueError that names it."""
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not readable ({error}); train or copy it again") from error


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of an .npz file's arrays without reading them."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shapes[name.removesuffix(".npy")] = read(member)[0]
    return shapes
