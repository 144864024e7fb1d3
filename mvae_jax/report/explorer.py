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
from mvae_jax.store import files, npz, pictures_file

PIXELS = "params/pixels/Dense_0/kernel"
ACTIVATIONS = ("tanh", "relu", "silu", "gelu")  # which the page's script has
MOST_NUMBERS = 1 << 24  # of a model's decoders together: 90 MB of the page
MOST_SEEDS, MOST_STARTS = 3, 12
NUM_PICTURES = 48  # of a run, the data set's first images


def write(out: Path, found: Scores) -> tuple[dict[Setting, Path], list[Problem]]:
    """Write a page per table whose runs hold their models: the first seeds of each, at one z.

    Return the pages by table, and why other tables have none. Models whose decoder has more than
    MOST_NUMBERS weights are left out, and of the others as many seeds are shown as have less.
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
            starts = _choose_starts(models, files_of[models[0]["name"]][0])
            title = f"Latent explorer: {setting}, z={z}"
            page = template.render(
                title=title,
                models=models,
                starts=starts,
                models_json=_json(models),
                starts_json=_json(starts),
            )
            files.write_text(path, page)
            pages[setting] = path
    return pages, problems


def _model(name: str, run: Run, path: Path) -> dict[str, Any] | None:
    """Return what the page needs of one model; None of one that has no decoder as ours.

    Raise ValueError where the arrays and the configuration are not those of one decoder.
    """
    first = _seed(run, path)
    if first is None:
        return None
    size = sum(len(array) * 3 // 16 for layer in first["layers"] for array in layer)  # of base64
    if size > MOST_NUMBERS:
        return None
    others = [
        other
        for seed in run.seeds[1 : min(MOST_SEEDS, MOST_NUMBERS // size)]
        if (file := path.with_name(f"{run.replicates[seed]}.npz")).is_file()
        if (other := _seed(run, file)) is not None
    ]
    shape, activation = run.config["image_shape"], run.config.get("activation")
    if activation not in ACTIVATIONS:
        allowed = ", ".join(ACTIVATIONS)
        raise ValueError(f"config.json: activation is {activation!r}; allowed: {allowed}")
    return {
        "name": name,
        "latent_size": first["latent_size"],
        "image_shape": shape,
        "note": "" if shape[2] in AS_THEY_ARE else f", mean of {shape[2]} channels",
        "activation": activation,
        "seeds": [first, *others],
    }


def _seed(run: Run, path: Path) -> dict[str, Any] | None:
    """Return one seed's decoder and coupling; None and errors as `_model` has them."""
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
    shape = run.config["image_shape"]
    if not _is_shape(shape, arrays[PIXELS].shape[1]):
        said = f"image_shape is {shape!r}; the decoder has {arrays[PIXELS].shape[1]} pixels"
        raise ValueError(f"config.json: {said}; allowed: [height, width, channels]")
    coupling = arrays.get("params/coupling")
    return {
        "seed": path.stem.removeprefix("seed_"),
        "latent_size": len(arrays[hidden[0]]),
        "layers": [
            [_base64(arrays[of]) for of in pair] for pair in zip(kernels, biases, strict=True)
        ],
        "singular": None if coupling is None else _base64(np.linalg.svd(coupling.astype(float))[0]),
        "starts": _embedded(run, path.stem),
    }


def _embedded(run: Run, name: str) -> dict[int, np.ndarray]:
    """Return mu of the test images among the data set's first, by position; {} without the file."""
    path = run.path / "embeddings" / f"{name}.npz"
    if not path.is_file():
        return {}
    arrays = npz.read(path, sha256=run.sha256.get(f"embeddings/{name}.npz"))
    if not {"mu_test", "index_test"} <= arrays.keys():
        return {}
    indices = arrays["index_test"].tolist()
    return {i: mu for i, mu in zip(indices, arrays["mu_test"], strict=True) if i < NUM_PICTURES}


def _choose_starts(models: list[dict[str, Any]], run: Run) -> list[str]:
    """Return test images that every seed has embedded, as base64 of their bytes.

    run: the one whose pictures are taken; each seed's `starts` becomes its embeddings of them
    """
    seeds = [seed for model in models for seed in model["seeds"]]
    path = run.path / "pictures" / f"seed_{models[0]['seeds'][0]['seed']}.npz"
    common = set.intersection(*({*seed["starts"]} for seed in seeds))
    held = bool(common) and path.is_file()
    images = pictures_file.read(path)["input"] if held else np.zeros((0, 1, 1, 1))
    chosen = sorted(i for i in common if i < len(images))[:MOST_STARTS]
    for seed in seeds:
        seed["starts"] = [_base64(seed["starts"][i]) for i in chosen]
    return [base64.b64encode(np.rint(255 * images[i]).astype(np.uint8)).decode() for i in chosen]


def _is_shape(found: Any, pixels: int) -> bool:
    is_list = isinstance(found, list) and len(found) == 3
    return is_list and all(type(n) is int and n > 0 for n in found) and math.prod(found) == pixels


def _json(value: Any) -> Markup:
    return Markup(json.dumps(value).replace("<", "\\u003c"))  # cannot end the script's element


def _base64(array: np.ndarray) -> str:
    """Return the array's numbers as little-endian float32, row by row."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()
