"""A trained model in Python: `load` a seed of a run, then `encode`, `decode`, `sample_prior`.

The three are pure and can be jitted with the configuration static:
`jax.jit(mvae_jax.encode, static_argnums=0)`. They compute in 32 bit and full precision, whatever
the user's settings of JAX say, and raise ValueError where the parameters are not of the
configuration's model.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import likelihoods, model, numerics, posteriors, rules
from mvae_jax.config import ConfigError
from mvae_jax.model import Params
from mvae_jax.rules import MODELS, SWEPT
from mvae_jax.store import config_file, npz, run_folder

# How many examples one step of a map over a data set works on: bounds the memory.
BATCH_SIZE = 500


def encode(config: ConfigDict, params: Params, images: UInt8[Array, "n h w c"]) -> Any:
    """Return q(z|x) of every image: `loc` and `log_variance` [N, d], one `coupling` for all.

    The fields are the family's; those of a family of yours may be others.

    Raise ValueError where the images are not bytes of the shape that the model was trained on:
    floats, scaled before, would be scaled once more.
    """
    if images.dtype != np.uint8 or images.shape[1:] != tuple(config.image_shape):
        shape = ", ".join(map(str, config.image_shape))
        raise ValueError(
            f"images: got {images.dtype} {list(images.shape)}; allowed: uint8 [N, {shape}], the "
            "pixels as they are stored"
        )

    params, axes = _checked(config, params), posteriors.of(config).axes

    def one(image: Array) -> Any:
        return model.encode(config, params, model.scale_pixels(config, image))

    def without_globals(image: Array) -> Any:  # of which a map would make a copy for each image
        return _by_axis(lambda axis, leaf: None if axis is None else leaf, axes, one(image))

    with numerics.fixed(), jax.default_matmul_precision("highest"):
        of_any = one(jnp.zeros(config.image_shape, jnp.uint8))
        of_each = _map(without_globals, images)
        return _by_axis(lambda axis, x, any_: any_ if axis is None else x, axes, of_each, of_any)


def _by_axis(function: Callable[..., Any], axes: Any, *trees: Any) -> Any:
    """Map a function over a family's axes, None among them, and what they are of."""
    return jax.tree.map(function, axes, *trees, is_leaf=lambda axis: axis is None)


def _map(function: Callable[[Array], Any], xs: Array) -> Any:
    """Map over the first axis in parts; all at once where `jax.export` leaves its length open."""
    if export.is_symbolic_dim(xs.shape[0]):
        return jax.vmap(function)(xs)
    return jax.lax.map(function, xs, batch_size=BATCH_SIZE)


def decode(config: ConfigDict, params: Params, z: Float[Array, "n d"]) -> Float[Array, "n h w c"]:
    """Return the mean images of latent vectors, pixels in [0, 1]."""
    params, z = _checked(config, params), jnp.asarray(z, jnp.float32)

    def mean(z: Array) -> Array:
        return model.decode(config, params, z).mean

    with numerics.fixed(), jax.default_matmul_precision("highest"):
        means = _map(mean, z)
        return means.reshape(-1, *config.image_shape)


def sample_prior(
    config: ConfigDict, params: Params, key: Key[Array, ""], n: int
) -> Float[Array, "n h w c"]:
    """Return the mean images of n draws from the prior N(0, I); jit with `n` static too."""
    with numerics.fixed():
        z = jax.random.normal(key, (n, config.latent_size))
    return decode(config, params, z)


def _checked(config: ConfigDict, params: Params) -> Params:
    """Return the parameters in 32 bit; raise ValueError where they are of another model."""
    with numerics.fixed():
        expected = jax.eval_shape(partial(model.init, config), jax.random.key(0))
    if params.keys() != expected.keys():
        lacking, extra = sorted(expected.keys() - params), sorted(params.keys() - expected)
        parts = (("lack", lacking), ("also have", extra))
        found = " and ".join(f"{how} {', '.join(names)}" for how, names in parts if names)
        raise ValueError(
            f"params: {found}, unlike those of config.model '{config.model}'; take both from one "
            "mvae_jax.load"
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def load(run_dir: str | Path, seed: int, **swept: float | int) -> tuple[FrozenConfigDict, Params]:
    """Return the configuration and the parameters of one seed of a finished run.

    swept: of a run that swept scalars, their values, as `beta=4.0`; the configuration has them

    Raises:
      FileNotFoundError: the run has no such replicate; the message lists those it has.
      ConfigError: config.json is damaged, or of a model that is not of this package; or the
        user's family, likelihood, encoder or decoder cannot be imported.
      ValueError: another file is damaged.
    """
    run_dir = Path(run_dir)
    if unknown := sorted(swept.keys() - {*SWEPT}):
        raise rules.unknown(f"sweep.{unknown[0]}")
    (replicate,) = config_lib.replicates([seed], {field: [of] for field, of in swept.items()})
    name = f"model/{replicate.name}.npz"
    path = run_dir / name
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.npz"))) or "none"
        raise FileNotFoundError(f"{path}: no such file; replicates with a model: {there}")
    digest = run_folder.read_manifest(run_dir)["sha256"].get(name)
    stored = config_file.read(run_dir / "config.json", sealed=run_folder.is_own(run_dir))
    config = config_lib.replace(_complete(run_dir, stored), **replicate.swept)
    return config, read_params(path, digest)


def load_published(folder: str | Path) -> tuple[FrozenConfigDict, Params]:
    """Return the configuration and the parameters of what `mvae_jax.publish` wrote.

    Raises:
      FileNotFoundError: the folder has no model.safetensors.
      ConfigError: as `load` does.
      ImportError: safetensors is not installed.
      ValueError: the file is damaged, or of another program.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / "model.safetensors"
    try:
        with safe_open(path, "numpy") as opened:
            header: dict[str, str] = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); fetch it again") from error
    if header.get("format") != "mvae_jax":
        raise ValueError(f"{path}: got a file of another program; allowed: of mvae_jax.publish")
    config = _complete(path, config_file.from_fields(json.loads(header["config"])))
    return config, nest_params(path, arrays)


def _complete(where: Path, stored: ConfigDict) -> FrozenConfigDict:
    """Return a stored configuration, with defaults for fields that its version did not know."""
    config = FrozenConfigDict({**config_lib.defaults().to_dict(), **stored.to_dict()})
    if not (config.posterior or config.model in MODELS) or config.image_shape is None:
        raise ConfigError(
            f"{where}: its model '{config.model}' was not trained by mvae_jax; allowed: runs of "
            f"{', '.join(MODELS)} whose config.json has image_shape"
        )
    posteriors.of(config), likelihoods.of(config)  # which may be the user's
    model.check(config)
    return config


def read_params(path: Path, sha256: str | None = None) -> Params:
    """Read parameters from an .npz whose names are their paths, as `encoder/layer_0/.../bias`.

    Raise ValueError where the file is damaged, or its SHA-256 is another one.
    """
    return nest_params(path, npz.read(path, sha256=sha256))


def nest_params(path: Path, arrays: Mapping[str, np.ndarray]) -> Params:
    """Return what `flatten_params` flattened; raise ValueError, which begins with the path."""
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        if name.startswith("params/"):
            *parents, last = name.split("/")[1:]
            node = params
            for parent in parents:
                node = node.setdefault(parent, {})
                if not isinstance(node, dict):
                    raise ValueError(f"{path}: {name} lies below another array; train again")
            node[last] = array
    return params


def flatten_params(params: Params) -> dict[str, np.ndarray]:
    """Return what `read_params` reads: the arrays by `params/<path>`."""
    paths, _ = jax.tree.flatten_with_path(params)
    return {
        "/".join(["params", *(str(key.key) for key in path)]): np.asarray(leaf)
        for path, leaf in paths
    }
