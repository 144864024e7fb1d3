"""Figures of images: reconstructions as in the paper's Fig. 3, latent sweeps as in its Fig. 4."""

from pathlib import Path

import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvae_jax.report.figures import style
from mvae_jax.report.figures.table import Table, side_by_side
from mvae_jax.store import npz, pictures_file

NUM_IMAGES = 24
MOST_DATA_SETS = 50
AS_THEY_ARE = (1, 3, 4)  # channels: grey, RGB, RGBA
PLANES = {  # array -> what it is of, and its axes; C's left singular vectors: first, last two
    "sweep": ("", ("z₀", "z₁")),
    "sweep_leading": (": C's u₀, u₁", ("u₀", "u₁")),
    "sweep_trailing": (": C's u₋₁, u₋₂", ("u₋₁", "u₋₂")),
}


def reconstructions(table: Table) -> Figure | None:
    """Draw rows input, VAE, MVAE; 24 columns, at one latent size, and the models' errors."""
    z, found = _pictures(table)
    if not found:
        return None
    inputs = next(iter(found.values()))["input"]
    rows, errors = {"input": inputs}, []
    for model, arrays in found.items():
        rows[style.label(model)] = outputs = arrays["reconstruction_sampled"]
        error = pictures_file.mean_squared_error(arrays["input"], outputs)
        errors.append(f"{style.label(model)} {error:.6f}")
    images, note = _drawable(np.concatenate([of[:NUM_IMAGES] for of in rows.values()]), len(rows))
    columns = len(images) // len(rows)
    height, width = images.shape[1:3]
    panel = len(rows) * style.WIDTH / columns * height / width + 0.25
    figure, (ax,) = style.panels(1, 1, _bounded(panel, 0.25 + 0.2 * len(rows)))
    _show(ax, _tile(images, len(rows)))
    ax.set_yticks(_centres(len(rows), height), [*rows])
    ax.tick_params(length=0)
    shown = f"{columns} of " if columns < len(inputs) else ""
    said = f"{shown}the first {len(inputs)} images; their MSE per pixel: {', '.join(errors)}"
    ax.set_title("\n".join(filter(None, [f"z={z}; {said}", note])))
    return figure


def sweeps(table: Table) -> Figure | None:
    """Draw each model's decoded latent plane at one latent size; the MVAE's along C's as well."""
    z, found = _pictures(table)
    planes = [
        (f"{style.label(model)}, z={z}{of}", axes, arrays[name], arrays["sweep_values"])
        for model, arrays in found.items()
        for name, (of, axes) in PLANES.items()
        if name in arrays
    ]
    if not planes:
        return None
    *_, height, width, _ = planes[0][2].shape
    columns = 3 if len(planes) == 3 else 2
    panel = (style.WIDTH / columns - 0.4) * height / width + 0.5
    figure, axes = style.panels(len(planes), columns, _bounded(panel, 1.0))
    for (title, (down, across), sweep, values), ax in zip(planes, axes, strict=True):
        images, note = _drawable(sweep.reshape(-1, *sweep.shape[2:]), len(sweep))
        height, width = images.shape[1:3]
        _show(ax, _tile(images, len(sweep)))
        ends = (f"{values[0]:.1f}", f"{values[-1]:.1f}")
        ax.set_yticks(_centres(len(sweep), height)[[0, -1]], ends)
        if sweep.shape[1] > 1:
            ax.set_xticks(_centres(sweep.shape[1], width)[[0, -1]], ends)
            ax.set_xlabel(across)
        ax.set_ylabel(down)
        ax.set_title("\n".join(filter(None, [title, note])))
    return figure


def data_sets(samples: Path) -> Figure:
    """Draw the paper's Figure 1: a labelled row of real images per data set.

    samples: the file that `python -m mvae_jax.datasets --samples` writes; raises ValueError where
      it is not that.
    """
    arrays = npz.read(samples)
    try:
        names = [str(name) for name in arrays["names"]]
        rows = {name: arrays[f"images_{name}"] / 255 for name in names}
        sources = {name: str(arrays[f"source_{name}"]) for name in names}
    except KeyError as error:
        raise ValueError(f"{samples}: has no {error}; write it anew") from error
    if not 0 < len(names) <= MOST_DATA_SETS:
        raise ValueError(f"{samples}: has {len(names)} data sets; allowed: 1 to {MOST_DATA_SETS}")
    figure, axes = style.panels(len(names), 1, 0.62)
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        images, note = _drawable(images[:NUM_IMAGES], 1)
        _show(ax, _tile(images, 1))
        title = style.label(name).replace("_", "\n", 1).replace("_", " ")
        source = f"({style.label(sources[name])})" if sources[name] else ""
        label = "\n".join(filter(None, [title, source, note]))
        ax.set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


def _pictures(table: Table) -> tuple[int, dict[str, dict[str, np.ndarray]]]:
    """Return the latent size drawn, and each model's pictures of its first seed."""
    z, found = side_by_side(table.cells, "pictures")
    return z, {
        model: pictures_file.read(path, run.sha256.get(f"pictures/{path.name}"))
        for model, (run, path) in found.items()
    }


def _drawable(
    images: Num[np.ndarray, "n h w c"], rows: int
) -> tuple[Num[np.ndarray, "n h2 w2 c2"], str]:
    """Return the images as a picture of so many rows can hold them, and what it leaves out.

    Of another number of channels than a picture has, their mean; of large ones every k-th pixel.
    """
    number, height, width, channels = images.shape
    notes = []
    if channels not in AS_THEY_ARE:
        images = images.mean(axis=-1, keepdims=True)
        notes.append(f"mean of {channels} channels")
    step = -(-max(rows * height, number // rows * width) // style.MOST_PIXELS)
    if step > 1:
        images = images[:, ::step, ::step]
        notes.append(f"one pixel in {step} each way")
    return images, "; ".join(notes)


def _bounded(panel: float, least: float) -> float:
    """Return a panel's height in inches: what its images ask for, within reason."""
    return min(max(panel, least), max(style.MOST_INCHES, least))


def _tile(images: np.ndarray, rows: int) -> np.ndarray:
    """Return images [N, H, W, C] as one picture of `rows` rows, a white line between them."""
    number, height, width, channels = images.shape
    framed = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=1.0)
    grid = framed.reshape(rows, number // rows, height + 1, width + 1, channels)
    picture = grid.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), -1, channels)
    return picture[:-1, :-1]


def _centres(number: int, size: int) -> np.ndarray:
    """Return where the tiles of a picture have their middle, in pixels."""
    return np.arange(number) * (size + 1) + (size - 1) / 2


def _show(ax: Axes, picture: np.ndarray) -> None:
    picture = np.clip(picture, 0, 1)
    picture = picture[..., 0] if picture.shape[-1] == 1 else picture
    style.show(ax, picture, cmap="gray", vmin=0, vmax=1)
