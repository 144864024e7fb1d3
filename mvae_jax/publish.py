"""A trained run as files that others read: a folder that is ready for a model hub.

    python -m mvae_jax.publish RUN --out=DIR [--seed=777] [--programs]

DIR then has `model.safetensors`, one seed's parameters by their paths with the configuration in the
header, `config.json`, `README.md`, a model card with the scores of all seeds, and with --programs
`encode.bin` and `decode.bin`: StableHLO with the parameters inside, for any number of examples,
which `jax.export.deserialize` reads.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import json
import shlex
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from ml_collections import ConfigDict

from mvae_jax import config as config_lib
from mvae_jax import inference, paths, posteriors
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.escape import markdown, plain
from mvae_jax.model import Params
from mvae_jax.report import formats, scores, tables
from mvae_jax.report.frame import Scores
from mvae_jax.store import json_file

FACTS = ("image_shape", "pixel_scale", "data_sha256", "source")  # which a run fills in itself
PRINTED = ("elbo", "mse", "probe_accuracy", "probe_nll", "ece", "brier", "nmi", "ari")


def main() -> None:
    """Write the folder; exit with 2 on a mistake of the user's."""
    parser = argparse.ArgumentParser(prog="python -m mvae_jax.publish", description=__doc__)
    parser.add_argument("run", type=paths.from_user, help="the folder of a finished run")
    parser.add_argument("--out", type=paths.from_user, required=True, help="a new folder")
    parser.add_argument("--seed", type=int, help="whose parameters; by default the run's first")
    parser.add_argument("--programs", action="store_true", help="write encode.bin and decode.bin")
    args = parser.parse_args()
    try:
        publish(args.run, args.out, args.seed, args.programs)
    except (ValueError, OSError, ImportError) as error:
        terminal.exit_with(error)
    print(plain(f"wrote {args.out}; read its README.md, and add the license of your data"))


def publish(run: Path, out: Path, seed: int | None = None, programs: bool = False) -> None:
    """Write one seed of a finished and scored run to a new folder.

    seed:     by default the run's first
    programs: write encode.bin and decode.bin too

    Raises:
      FileExistsError: `out` is there.
      FileNotFoundError: the run has no such seed.
      ImportError: a package of the extra `publish` is not installed.
      ValueError: a file of the run is damaged, or the run is not scored.
    """
    try:
        import flatbuffers  # noqa: F401  # which jax.export needs
        from safetensors.numpy import save
    except ImportError as error:
        raise ImportError(f"{error.name}: not installed; pip install 'mvae_jax[publish]'") from None
    if out.exists():
        raise FileExistsError(f"--out: got {out}, which is there; choose a new folder")
    found = scores.read([run])
    if len(found.cells) != 1:
        raise ValueError(f"{run}: got {len(found.cells)} scored runs; allowed: one run's folder")
    [cell] = found.cells
    seed = min(found.of(cell, "elbo"), default=0) if seed is None else seed
    config, params = inference.load(run, seed)
    header = {"format": "mvae_jax", "seed": str(seed), "config": json.dumps(config.to_dict())}
    content = {
        "model.safetensors": save(inference.flatten_params(params), header),
        "README.md": card(found, config, seed, out.name).encode(),
    }
    if programs:
        for name, program in exported(config, params).items():
            content[f"{name}.bin"] = bytes(program.serialize())
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:  # complete, or not there
        folder = Path(scratch) / "published"
        folder.mkdir()
        json_file.write(folder / "config.json", config.to_dict())
        for name, data in content.items():
            (folder / name).write_bytes(data)
        folder.rename(out)


def exported(config: ConfigDict, params: Params) -> dict[str, Any]:
    """Return `encode` and `decode` with these parameters, exported for any number of examples.

    encode: uint8 [n, *image_shape] -> {"mu" [n, d], and the family's fields}
    decode: float32 [n, d] -> mean images [n, *image_shape]
    """

    def encode(images: jax.Array) -> dict[str, Any]:
        q = inference.encode(config, params, images)
        family = posteriors.of(config)
        mu = jax.vmap(family.embedding, in_axes=(family.axes,))(q)
        return {"mu": mu, **_plain(q)}

    [n] = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *config.image_shape), np.uint8)
    z = jax.ShapeDtypeStruct((n, config.latent_size), np.float32)
    platforms = ("cpu", "cuda", "tpu")
    decode = partial(inference.decode, config, params)
    return {
        "encode": export.export(jax.jit(encode), platforms=platforms)(images),
        "decode": export.export(jax.jit(decode), platforms=platforms)(z),
    }


def _plain(tree: Any) -> Any:
    """Return named tuples, wherever they are, as dicts, which need no class to be read."""
    if hasattr(tree, "_asdict"):
        return {name: _plain(value) for name, value in tree._asdict().items() if value is not None}
    return [*map(_plain, tree)] if isinstance(tree, tuple | list) else tree


def card(found: Scores, config: ConfigDict, seed: int, folder: str) -> str:
    """Return the model card: data, protocol, scores of all seeds, the command that trained it."""
    [cell] = found.cells
    summaries = {name: found.summary(cell, name) for name in PRINTED}
    metrics = [
        {"name": name, "title": found.describe(name).title, "value": round(summary.mean, 6)}
        for name, summary in summaries.items()
        if summary is not None
    ]
    grid = tables.run_table(found, cell)
    template = formats.environment(str, "mvae_jax").get_template("model_card.md")
    shape = " x ".join(map(str, config.image_shape))
    return template.render(
        name=f"{config.model}-z{config.latent_size}",
        heading=markdown(f"{config.model}, z = {config.latent_size}, on {config.dataset}"),
        dataset=Path(config.dataset).stem,
        shown=markdown(Path(config.dataset).stem),
        metrics=metrics,
        shape=shape,
        batch=f"[N, {', '.join(map(str, config.image_shape))}]",
        config=config,
        seed=seed,
        seeds=len(found.of(cell, "elbo")),
        table=formats.to_markdown(grid).strip(),
        folder=folder,
        command=command(config),
    )


def command(config: ConfigDict) -> str:
    """Return the command line that trains this configuration."""
    dataset = config.dataset if config.dataset in CATALOGUE else "digits"
    argument = f"{config.model},{config.latent_size},{config.protocol}"
    base = config_lib.base_config(dataset, argument).to_dict()
    words = [f"--config=configs/{dataset}.py:{argument}"]
    for field, value in config.to_dict().items():
        if field == "sweep":
            swept = {f"sweep.{name}": tuple(of) for name, of in value.items() if of}
            words += [f"--config.{name}={of}" for name, of in swept.items()]
        elif field not in FACTS and value != base.get(field):
            words.append(f"--config.{field}={value}")
    if config.source:
        words.append(f"--config.source={config.source}")
    return shlex.join(["python", "-m", "mvae_jax.main", *words])


if __name__ == "__main__":
    terminal.command(main)
