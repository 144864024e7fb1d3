"""What a replicate's pictures show: sharpness, and how smoothly a latent sweep changes."""

import numpy as np
from jaxtyping import Float

FLAT = 0.01  # a step of the sweep that changes the mean pixel by less than this is flat
HIGH_FREQUENCY = 0.25  # cycles per pixel: half of what a picture can hold


def high_frequency_energy(images: Float[np.ndarray, "n h w c"]) -> float:
    """Return the images' mean spectral energy above half the highest frequency."""
    _, height, width, _ = images.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    energy = np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2
    return float(energy[:, frequency > HIGH_FREQUENCY].mean())


def measure_sweep(sweep: Float[np.ndarray, "i j h w c"]) -> dict[str, float]:
    """Return how the decoded pictures change from step to step of the latent plane's grid.

    sweep_roughness:    sum |x_{k+1} - 2 x_k + x_{k-1}| / sum |x_{k+1} - x_k|: 0 for even steps
    sweep_monotonicity: sum |x_last - x_first| / sum |x_{k+1} - x_k|: 1 where no pixel turns back
    sweep_flatness:     the share of steps that change the mean pixel by less than FLAT
    All sums run over both directions, all rows and all pixels. A sweep of fewer than three steps
    has none of them, one that does not change has its flatness alone.
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
