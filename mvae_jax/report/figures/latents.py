"""Figures of the latent space: C, the covariance of the embeddings, the plane of two of them."""

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvae_jax.report.cells import Run
from mvae_jax.report.figures import style
from mvae_jax.report.figures.table import Table
from mvae_jax.store import npz

NUM_POINTS = 3000  # of a scatter plot
NUM_ROWS = 1024  # of a heat map
NUM_SHOWN = 32  # coordinates of a covariance: more of them are less than a pixel each


def coupling(table: Table) -> Figure | None:
    """Draw C as a heat map for each z, and its singular values below."""
    matrices: dict[int, list[np.ndarray]] = {}
    for cell, run in table.cells.items():
        found = [_load(run, "model", seed, "coupling") for seed in run.replicates]
        known = [c for c in found if c is not None]
        if known and cell.model == "mvae":
            matrices[cell.latent_size] = known
    if not matrices:
        return None
    side = style.WIDTH / max(len(matrices), 4)
    figure = Figure(figsize=(side * len(matrices), side + 1.5), layout="constrained")
    axes = figure.subplots(2, len(matrices), squeeze=False, height_ratios=(side, 1.5))
    for (z, of_seeds), (map_axes, spectrum) in zip(sorted(matrices.items()), axes.T, strict=True):
        step = -(-max(of_seeds[0].shape) // NUM_ROWS)
        _heat_map(map_axes, of_seeds[0][::step, ::step], float(np.abs(of_seeds[0]).max()))
        map_axes.set_title(f"C, z={z}" + (f", one entry in {step}" if step > 1 else ""))
        for c in of_seeds:
            values = np.linalg.svd(c, compute_uv=False)
            x = np.linspace(0, 1, len(values))
            spectrum.plot(x, values, color=style.MODEL_COLOURS["mvae"], alpha=0.6)
        spectrum.set_xlabel("rank / z")
        spectrum.sharey(axes[1, 0])
    axes[1, 0].set_ylabel("singular value")
    axes[1, 0].set_ylim(bottom=0)
    return figure


def covariance(table: Table) -> Figure | None:
    """Draw the covariance of the test embeddings: a row per model, a column per z.

    Where z is larger than NUM_SHOWN, of the coordinates with the largest variances, in their order.
    """
    found = {}
    for cell, run in table.cells.items():
        mu = _load(run, "embeddings", run.first, "mu_test")
        if mu is not None:
            with np.errstate(over="raise"):  # infinite variances cannot be drawn
                shown = np.sort(np.argsort(mu.var(axis=0))[-NUM_SHOWN:])
                matrix = np.atleast_2d(np.cov(mu[:, shown], rowvar=False))
            found[cell.model, cell.latent_size] = matrix
    if not found:
        return None
    models, sizes = table.models, sorted({z for _, z in found})
    side = style.WIDTH / max(len(sizes), 4)
    size = (side * len(sizes), len(models) * (side + 0.1))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(models), len(sizes), squeeze=False)
    for ax, (model, z) in zip(axes.flat, itertools.product(models, sizes), strict=True):
        if (model, z) not in found:
            ax.set_visible(False)
            continue
        of_size = [matrix for (_, size), matrix in found.items() if size == z]
        _heat_map(ax, found[model, z], max(float(np.abs(m).max()) for m in of_size))
        part = f"{NUM_SHOWN} of " if z > NUM_SHOWN else ""
        ax.set_title(f"{style.label(model)}, {part}z={z}")
    return figure


def plane(table: Table) -> Figure | None:
    """Draw the two-dimensional test embeddings, coloured by class."""
    runs = {cell.model: run for cell, run in table.cells.items() if cell.latent_size == 2}
    found = {
        model: (mu, _load(run, "embeddings", run.first, "label_test"))
        for model, run in runs.items()
        if (mu := _load(run, "embeddings", run.first, "mu_test")) is not None
    }
    if not found:
        return None
    figure, axes = style.panels(len(found), 3, 3.0)
    for (model, (mu, known)), ax in zip(found.items(), axes, strict=True):
        label = np.zeros(len(mu), int) if known is None else known
        classes = np.unique(label)
        few = len(classes) <= len(style.CLASS_COLOURS)
        colours = np.array(style.CLASS_COLOURS)[np.searchsorted(classes, label)] if few else label
        x, y = mu[:NUM_POINTS].T
        ax.scatter(x, y, c=colours[:NUM_POINTS], s=6, alpha=0.7, linewidths=0)
        for name in classes if few else ():
            position = np.median(mu[label == name, :2], axis=0)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
            ax.annotate(str(name), position, ha="center", va="center", bbox=box)
        ax.set(title=style.label(model), xlabel="μ₀", ylabel="μ₁")
        ax.set_aspect("equal", adjustable="datalim")
    return figure


def _heat_map(ax: Axes, matrix: np.ndarray, limit: float) -> None:
    """Draw a matrix around zero, on a scale from -limit to limit."""
    limit = limit or 1.0
    image = style.show(ax, matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    bar = ax.figure.colorbar(image, ax=ax, location="bottom", shrink=0.9, pad=0.03, aspect=12)
    bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:.3g}", "0", f"{limit:.3g}"])
    bar.outline.set_visible(False)


def _load(run: Run, folder: str, seed: int | None, name: str) -> np.ndarray | None:
    """Return one array of a replicate's file by the last part of its name; None if not there."""
    if seed is None:
        return None
    path = run.path / folder / f"{run.replicates[seed]}.npz"
    if not path.is_file():
        return None
    digest = run.sha256.get(f"{folder}/{path.name}")
    found = npz.read(path, (name, f"params/{name}"), sha256=digest)
    array = next(iter(found.values()), None)
    axes = 1 if name.startswith("label") else 2
    if array is not None and (array.ndim != axes or not array.size):
        raise ValueError(f"{path}: {name} has shape {array.shape}, not {axes} axes")
    return array
