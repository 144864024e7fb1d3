"""A page whose reader drags a point on a latent plane; the decoders run in the page itself.

It holds the decoders' weights and needs no other file, no server and no network.
"""

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mvae_jax import files
from mvae_jax.report.cells import Scores
from mvae_jax.report.figures import name_of
from mvae_jax.report.html import page_environment
from mvae_jax.report.runs import Problem, Runs, models_of, side_by_side

PIXELS = "params/pixels/Dense_0/kernel"


def write(out: Path, runs: Runs) -> tuple[dict[str, Path], list[Problem]]:
    """Writes a page per table whose runs hold their models: the first seed of each, at one z.

    Returns the pages by title, and the tables that a damaged file kept from having one.
    """
    template = page_environment().get_template("explorer.html")
    pages, problems = {}, []
    for setting, cells in runs.tables().items():
        path = out / f"explorer-{name_of(setting)}.html"
        path.unlink(missing_ok=True)  # an earlier report's
        try:
            z, found = side_by_side(cells, "model")
            ordered = [(name, *found[name]) for name in models_of(cells) if name in found]
            models = [m for of in ordered if (m := _model(*of)) is not None]
        except (KeyError, ValueError) as error:
            lacks = "the run's files lack " if isinstance(error, KeyError) else ""
            problems.append(Problem(f"{setting}, latent explorer", f"{lacks}{error}"))
            continue
        if models:
            title = f"Latent explorer: {setting}, z={z}"
            text = json.dumps(models).replace("<", "\\u003c")  # cannot end the script's element
            page = template.render(title=title, models=models, models_json=Markup(text))
            pages[title] = path
            files.write_text(path, page)
    return pages, problems


def _model(name: str, scores: Scores, path: Path) -> dict[str, Any] | None:
    """Returns what the page needs of one model; None of one that has no decoder as ours."""
    arrays = files.read_npz(path)
    layers = (f"params/decoder/layer_{n}/Dense_0/kernel" for n in itertools.count())
    hidden = list(itertools.takewhile(arrays.__contains__, layers))
    if not hidden or PIXELS not in arrays or "image_shape" not in scores.config:
        return None
    kernels = [*hidden, PIXELS]
    shape = scores.config["image_shape"]
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) for n in shape)):
        raise ValueError(
            f"config.json: image_shape is {shape!r}; allowed: [height, width, channels]"
        )
    if flat := [kernel for kernel in kernels if arrays[kernel].ndim != 2]:
        raise ValueError(f"{path}: {flat[0]} has shape {arrays[flat[0]].shape}; allowed: two axes")
    found = {
        "name": name,
        "seed": path.stem.removeprefix("seed_"),
        "latent_size": len(arrays[hidden[0]]),
        "image_shape": shape,
        "activation": scores.config["activation"],
        "layers": [
            [_base64(arrays[k]), _base64(arrays[k[: -len("kernel")] + "bias"])] for k in kernels
        ],
        "singular": None,
    }
    if "params/coupling" in arrays:
        directions, _, _ = np.linalg.svd(arrays["params/coupling"].astype(np.float64))
        found["singular"] = _base64(directions)
    return found


def _base64(array: np.ndarray) -> str:
    """Returns the array's numbers as little-endian float32, row by row."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()
