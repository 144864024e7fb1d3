"""A page whose reader drags a point on a latent plane; the decoders run in the page itself.

It holds the decoders' weights and needs no other file, no server and no network.
"""

import base64
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mvae_jax.report.cells import Run, Setting
from mvae_jax.report.figures import name_of
from mvae_jax.report.figures.pictures import AS_THEY_ARE
from mvae_jax.report.figures.table import side_by_side
from mvae_jax.report.frame import Scores
from mvae_jax.report.html import environment
from mvae_jax.report.pairs import models_of
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.store import files, npz

PIXELS = "params/pixels/Dense_0/kernel"
ACTIVATIONS = ("tanh", "relu", "silu", "gelu")  # which the page's script has
MOST_NUMBERS = 1 << 24  # of a decoder's weights: 90 MB of the page


def write(out: Path, found: Scores) -> tuple[dict[Setting, Path], list[Problem]]:
    """Write a page per table whose runs hold their models: the first seed of each, at one z.

    Return the pages by table, and why other tables have none. Models whose decoder has more than
    MOST_NUMBERS weights are left out.
    """
    template = environment().get_template("explorer.html")
    pages: dict[Setting, Path] = {}
    problems: list[Problem] = []
    for setting, cells in found.tables().items():
        path = out / f"explorer-{name_of(setting)}.html"
        path.unlink(missing_ok=True)  # an earlier report's
        with isolated(problems, f"{setting}, latent explorer"):
            z, files_of = side_by_side(cells, "model")
            ordered = [(name, *files_of[name]) for name in models_of(cells) if name in files_of]
            models = [m for of in ordered if (m := _model(*of)) is not None]
            if not models:
                continue
            title = f"Latent explorer: {setting}, z={z}"
            text = json.dumps(models).replace("<", "\\u003c")  # cannot end the script's element
            page = template.render(title=title, models=models, models_json=Markup(text))
            files.write_text(path, page)
            pages[setting] = path
    return pages, problems


def _model(name: str, run: Run, path: Path) -> dict[str, Any] | None:
    """Return what the page needs of one model; None of one that has no decoder as ours.

    Raise ValueError where the arrays and the configuration are not those of one decoder.
    """
    arrays = npz.read(path, sha256=run.sha256.get(f"model/{path.name}"))
    layers = (f"params/decoder/layer_{n}/Dense_0/kernel" for n in itertools.count())
    hidden = list(itertools.takewhile(arrays.__contains__, layers))
    if not hidden or PIXELS not in arrays or "image_shape" not in run.config:
        return None
    kernels = [*hidden, PIXELS]
    biases = [kernel[: -len("kernel")] + "bias" for kernel in kernels]
    if flat := [kernel for kernel in kernels if arrays[kernel].ndim != 2]:
        raise ValueError(f"{path}: {flat[0]} has shape {arrays[flat[0]].shape}; allowed: two axes")
    if lacking := [bias for bias in biases if bias not in arrays]:
        raise ValueError(f"the run's files lack '{lacking[0]}'")
    shape, activation = run.config["image_shape"], run.config.get("activation")
    if not _is_shape(shape, arrays[PIXELS].shape[1]):
        said = f"image_shape is {shape!r}; the decoder has {arrays[PIXELS].shape[1]} pixels"
        raise ValueError(f"config.json: {said}; allowed: [height, width, channels]")
    if activation not in ACTIVATIONS:
        allowed = ", ".join(ACTIVATIONS)
        raise ValueError(f"config.json: activation is {activation!r}; allowed: {allowed}")
    if sum(arrays[kernel].size for kernel in kernels) > MOST_NUMBERS:
        return None
    coupling = arrays.get("params/coupling")
    return {
        "name": name,
        "seed": path.stem.removeprefix("seed_"),
        "latent_size": len(arrays[hidden[0]]),
        "image_shape": shape,
        "note": "" if shape[2] in AS_THEY_ARE else f", mean of {shape[2]} channels",
        "activation": activation,
        "layers": [
            [_base64(arrays[of]) for of in pair] for pair in zip(kernels, biases, strict=True)
        ],
        "singular": None if coupling is None else _base64(np.linalg.svd(coupling.astype(float))[0]),
    }


def _is_shape(found: Any, pixels: int) -> bool:
    is_list = isinstance(found, list) and len(found) == 3
    return is_list and all(type(n) is int and n > 0 for n in found) and math.prod(found) == pixels


def _base64(array: np.ndarray) -> str:
    """Return the array's numbers as little-endian float32, row by row."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()
