"""Figures of images: reconstructions as in the paper's Fig. 3, latent sweeps as in its Fig. 4."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvae_jax import files
from mvae_jax.report.cells import Cells
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.figures import style
from mvae_jax.report.measures import read_pictures

LATENT_SIZE = 32  # of the paper's pictures; the nearest one is drawn where it was not run
NUM_IMAGES = 24


def reconstructions(cells: Cells, _comparisons: Comparisons) -> Figure | None:
    """Draws rows input, VAE, MVAE; 24 columns in two lines, at one latent size."""
    z, found = _pictures(cells)
    if not found:
        return None
    lines = 2
    rows = {"input": next(iter(found.values()))["input"]}
    rows |= {model: arrays["reconstruction_sampled"] for model, arrays in found.items()}
    per_line = NUM_IMAGES // lines
    height, width = rows["input"].shape[1:3]
    panel = len(rows) * style.WIDTH / per_line * height / width + 0.15
    figure, axes = style.panels(lines, 1, panel)
    for line, ax in enumerate(axes):
        chosen = slice(line * per_line, (line + 1) * per_line)
        _show(ax, _tile(np.concatenate([images[chosen] for images in rows.values()]), len(rows)))
        ax.set_yticks(_centres(len(rows), height), list(rows))
        ax.tick_params(length=0)
    axes[0].set_title(f"z={z}")
    return figure


def sweeps(cells: Cells, _comparisons: Comparisons) -> Figure | None:
    """Draws each model's decoded latent plane at one latent size."""
    z, found = _pictures(cells)
    if not found:
        return None
    *_, height, width, _ = next(iter(found.values()))["sweep"].shape
    columns = max(2, len(found))
    figure, axes = style.panels(len(found), columns, style.WIDTH / columns * height / width + 0.3)
    for (model, arrays), ax in zip(found.items(), axes, strict=True):
        sweep = arrays["sweep"]
        _show(ax, _tile(sweep.reshape(-1, *sweep.shape[2:]), len(sweep)))
        values = arrays["sweep_values"]
        ends = (f"{values[0]:.1f}", f"{values[-1]:.1f}")
        ax.set_yticks(_centres(len(sweep), height)[[0, -1]], ends)
        if sweep.shape[1] > 1:
            ax.set_xticks(_centres(sweep.shape[1], width)[[0, -1]], ends)
            ax.set_xlabel("z₁")
        ax.set_ylabel("z₀")
        ax.set_title(f"{model}, z={z}")
    return figure


def data_sets(samples: Path) -> Figure:
    """Draws the paper's Figure 1: a labelled row of real images per data set.

    samples: the file that `python -m mvae_jax.datasets --samples` writes; raises ValueError where
      it is not that.
    """
    arrays = files.read_npz(samples)
    try:
        names = [str(name) for name in arrays["names"]]
        rows = {name: arrays[f"images_{name}"] / 255 for name in names}
        sources = {name: str(arrays[f"source_{name}"]) for name in names}
    except KeyError as error:
        raise ValueError(f"{samples}: has no {error}; write it anew") from error
    figure, axes = style.panels(len(names), 1, 0.62)
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        _show(ax, _tile(images, 1))
        title = name.replace("_", "\n", 1).replace("_", " ")
        title += f"\n({sources[name]})" if sources[name] else ""
        ax.set_ylabel(title, rotation=0, ha="right", va="center")
    return figure


def _pictures(cells: Cells) -> tuple[int, dict[str, dict[str, np.ndarray]]]:
    """Returns the latent size drawn, and each model's pictures of its first seed."""
    paths = {}
    for cell, scores in cells.items():
        seed = next((s for s in scores.replicates if s not in scores.failed), None)
        if seed is not None:
            path = scores.run / "pictures" / f"{scores.replicates[seed]}.npz"
            if path.is_file():
                paths[cell.latent_size, cell.model] = path
    if not paths:
        return 0, {}
    # As many models as possible side by side, then the paper's size.
    sizes = [size for size, _ in paths]
    z = min(sizes, key=lambda size: (-sizes.count(size), abs(np.log2(size / LATENT_SIZE))))
    found = {}
    for (size, model), path in paths.items():
        if size == z:
            found[model] = read_pictures(path)
    return z, found


def _tile(images: np.ndarray, rows: int) -> np.ndarray:
    """Returns images [N, H, W, C] as one picture of `rows` rows, a white line between them."""
    number, height, width, channels = images.shape
    framed = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=1.0)
    grid = framed.reshape(rows, number // rows, height + 1, width + 1, channels)
    picture = grid.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), -1, channels)
    return picture[:-1, :-1]


def _centres(number: int, size: int) -> np.ndarray:
    """Returns where the tiles of a picture have their middle, in pixels."""
    return np.arange(number) * (size + 1) + (size - 1) / 2


def _show(ax: Axes, picture: np.ndarray) -> None:
    picture = np.clip(picture, 0, 1)
    grey = picture.shape[-1] == 1
    ax.imshow(picture[..., 0] if grey else picture, cmap="gray", vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
