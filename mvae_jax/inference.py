"""A trained model in Python: `load` a seed of a run, then `encode`, `decode`, `sample_prior`.

The three are pure and can be jitted with the configuration static:
`jax.jit(mvae_jax.encode, static_argnums=0)`. They compute in 32 bit and full precision, whatever
the user's settings of JAX say, and raise ValueError where the parameters are not of the
configuration's model.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import model, numerics
from mvae_jax.config import ConfigError
from mvae_jax.model import Params
from mvae_jax.posterior import Posterior
from mvae_jax.store import config_file, npz, run_folder

# How many examples one step of a map over a data set works on: bounds the memory.
BATCH_SIZE = 500


def encode(config: ConfigDict, params: Params, images: UInt8[Array, "n h w c"]) -> Posterior:
    """Returns q(z|x) of every image: `loc` and `log_variance` [N, d], one `coupling` for all.

    Raises ValueError where the images are not bytes of the shape that the model was trained on:
    floats, scaled before, would be scaled once more.
    """
    if images.dtype != np.uint8 or images.shape[1:] != tuple(config.image_shape):
        shape = ", ".join(map(str, config.image_shape))
        raise ValueError(
            f"images: got {images.dtype} {list(images.shape)}; allowed: uint8 [N, {shape}], the "
            "pixels as they are stored"
        )

    params = _checked(config, params)

    def heads(image: Array) -> tuple[Array, Array]:
        q = model.encode(config, params, model.scale_pixels(config, image))
        return q.loc, q.log_variance

    with numerics.fixed(), jax.default_matmul_precision("highest"):
        loc, log_variance = jax.lax.map(heads, images, batch_size=BATCH_SIZE)
        return Posterior(loc, log_variance, model.coupling(params))


def decode(config: ConfigDict, params: Params, z: Float[Array, "n d"]) -> Float[Array, "n h w c"]:
    """Returns the mean images of latent vectors, pixels in [0, 1]."""
    params, z = _checked(config, params), jnp.asarray(z, jnp.float32)

    def mean(z: Array) -> Array:
        return model.decode(config, params, z).mean

    with numerics.fixed(), jax.default_matmul_precision("highest"):
        means = jax.lax.map(mean, z, batch_size=BATCH_SIZE)
        return means.reshape(-1, *config.image_shape)


def sample_prior(
    config: ConfigDict, params: Params, key: Key[Array, ""], n: int
) -> Float[Array, "n h w c"]:
    """Returns the mean images of n draws from the prior N(0, I); jit with `n` static too."""
    with numerics.fixed():
        z = jax.random.normal(key, (n, config.latent_size))
    return decode(config, params, z)


def _checked(config: ConfigDict, params: Params) -> Params:
    """Return the parameters in 32 bit; raise ValueError where they are of another model."""
    if ("coupling" in params) != model.has_coupling(config):
        found = "have a" if "coupling" in params else "have no"
        raise ValueError(
            f"params: {found} coupling matrix, unlike those of config.model '{config.model}'; take "
            "both from one mvae_jax.load"
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def load(run_dir: str | Path, seed: int) -> tuple[FrozenConfigDict, Params]:
    """Returns the configuration and the parameters of one seed of a finished run.

    Raises:
      FileNotFoundError: the run has no such seed; the message lists those it has.
      ConfigError: config.json is damaged, or of a model that is not of this package.
      ValueError: another file is damaged.
    """
    run_dir = Path(run_dir)
    name = f"model/seed_{seed}.npz"
    path = run_dir / name
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.npz"))) or "none"
        raise FileNotFoundError(f"{path}: no such file; replicates with a model: {there}")
    digest = run_folder.read_manifest(run_dir)["sha256"].get(name)
    stored = config_file.read(run_dir / "config.json", sealed=run_folder.is_own(run_dir))
    # Fields that the run's version did not know have their defaults.
    defaults = config_lib.base_config("", "vae,1").to_dict()
    config = FrozenConfigDict({**defaults, **stored.to_dict()})
    if config.model not in model.COUPLED or config.image_shape is None:
        raise ConfigError(
            f"{run_dir}: its model '{config.model}' was not trained by mvae_jax; allowed: runs of "
            f"{', '.join(model.COUPLED)} whose config.json has image_shape"
        )
    return config, read_params(path, digest)


def read_params(path: Path, sha256: str | None = None) -> Params:
    """Read parameters from an .npz whose names are their paths, as `encoder/layer_0/.../bias`.

    Raises ValueError where the file is damaged, or its SHA-256 is another one.
    """
    params: dict[str, Any] = {}
    for name, array in npz.read(path, sha256=sha256).items():
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
    """Returns what `read_params` reads: the arrays by `params/<path>`."""
    paths, _ = jax.tree.flatten_with_path(params)
    return {
        "/".join(["params", *(str(key.key) for key in path)]): np.asarray(leaf)
        for path, leaf in paths
    }
