"""What one trained seed leaves behind: embeddings, per-example terms, weights and pictures.

Three files per replicate, arrays only (docs/files.md): `embeddings/`, `model/` and
`pictures/<replicate>.npz`. They are all that evaluation and report ever see of the model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict
from scipy.special import ndtri

from mvae_jax import elbo, inference, model, posteriors, programs, records, train
from mvae_jax.datasets import Dataset
from mvae_jax.model import Params
from mvae_jax.store import files

NUM_PICTURES = 48  # the paper's Figure 3 and its FreyFace errors use the first 48 in file order
SWEEP_POINTS = 10  # per axis of the latent plane, as in Section V.D's text
SWEEP_TAIL = 1e-5  # the sweep runs over the normal quantiles from this to one minus this


def write(
    run_dir: Path,
    replicate: str,
    config: ConfigDict,
    seed: int,
    state: train.TrainState,
    dataset: Dataset,
) -> None:
    """Write one seed's three files; `state` has no replicate axis."""
    kept = None if state.best is None else state.best.params
    params = state.params if kept is None else kept
    key = train.seed_key(jnp.asarray(seed))
    contents = {
        "model": inference.flatten_params(params),
        "pictures": pictures(config, params, key, dataset.images),
        "embeddings": embeddings(config, params, key, dataset),
    }
    for folder, arrays in contents.items():
        files.write_npz(run_dir / folder / f"{replicate}.npz", {"seed": np.asarray(seed), **arrays})


def embeddings(
    config: ConfigDict, params: Params, key: Key[Array, ""], dataset: Dataset
) -> dict[str, np.ndarray]:
    """Return `mu_`, `label_` and `index_<split>`, and the per-example terms of the test split.

    Rows stand in the split's own order. `mu` is the family's embedding: the posterior mean, after
    coupling.
    """
    encode, family = _jit(inference.encode, config), posteriors.of(config)
    embed = jax.vmap(family.embedding, in_axes=(family.axes,))
    arrays = {}
    for split, indices in dataset.splits.items():
        q = encode(config, params, dataset.images[indices])
        arrays[f"mu_{split}"] = np.asarray(embed(q))
        arrays[f"index_{split}"] = indices
        if dataset.labels is not None:
            arrays[f"label_{split}"] = dataset.labels[indices]
    terms = example_terms(config, params, key, dataset.images[dataset.splits["test"]])
    if config.iwae_samples:
        arrays["iwae_k"] = np.asarray(config.iwae_samples)
    return arrays | {f"{name}_test": np.asarray(term) for name, term in terms.items()}


def example_terms(
    config: ConfigDict, params: Params, key: Key[Array, ""], images: UInt8[np.ndarray, "n h w c"]
) -> dict[str, Float[Array, " n"]]:
    """Return every example's terms, each [N], all but `iwae` from the same one sample of z.

    log_likelihood, kl:    in nats; the ELBO is their difference
    squared_error_sampled: mean over pixels of (x - mean image of the sampled z)^2
    squared_error_mean:    the same at z = mu
    iwae:                  the bound L_K in nats, K = config.iwae_samples; absent if that is 0
    """
    terms: dict[str, Float[Array, " n"]]
    terms = _jit(_example_terms, config)(config, params, key, images)
    return terms


def _example_terms(
    config: ConfigDict, params: Params, key: Key[Array, ""], images: UInt8[Array, "n h w c"]
) -> dict[str, Float[Array, " n"]]:
    family = posteriors.of(config)

    def one_example(image: Array, noise: Array, iwae_key: Array) -> dict[str, Array]:
        x = model.scale_pixels(config, image)
        terms, p = elbo.elbo_terms(config, params, x, noise)
        mu = family.embedding(model.encode(config, params, x))
        from_mean = model.decode(config, params, mu)
        result = {
            "log_likelihood": terms.log_likelihood,
            "kl": terms.kl,
            "squared_error_sampled": jnp.mean((x - p.mean) ** 2),
            "squared_error_mean": jnp.mean((x - from_mean.mean) ** 2),
        }
        if config.iwae_samples:
            result["iwae"] = elbo.iwae_bound(config, params, x, iwae_key, config.iwae_samples)
        return result

    noise_key = jax.random.fold_in(key, train.TEST)
    noise = elbo.draw_noise(config, noise_key, len(images))
    iwae_keys = jax.random.split(jax.random.fold_in(key, train.IWAE), len(images))
    return jax.lax.map(
        lambda example: one_example(*example),
        (images, noise, iwae_keys),
        batch_size=inference.BATCH_SIZE,
    )


def pictures(
    config: ConfigDict, params: Params, key: Key[Array, ""], images: UInt8[np.ndarray, "n h w c"]
) -> dict[str, np.ndarray]:
    """Return inputs, reconstructions and sweeps of latent planes, pixels in [0, 1].

    input [48, H, W, C]:                  the data set's first images, in file order
    reconstruction_sampled, _mean:        their mean images at a sampled z and at z = mu
    sweep [10, 10, H, W, C]:              row i: z_0 = sweep_values[i], column j: z_1, others 0
                                          (with one latent dimension: [10, 1, H, W, C])
    sweep_leading, _trailing:             the same along C's first two, last two singular vectors,
                                          the last one down; absent of a model without C
    """
    inputs, family = images[:NUM_PICTURES], posteriors.of(config)
    q = _jit(inference.encode, config)(config, params, jax.device_put(inputs))
    noise = elbo.draw_noise(config, jax.random.fold_in(key, train.TEST), len(inputs))
    sampled = jax.vmap(family.sample, in_axes=(family.axes, 0))(q, noise).z
    means = jax.vmap(family.embedding, in_axes=(family.axes,))(q)
    values = ndtri(np.linspace(SWEEP_TAIL, 1 - SWEEP_TAIL, SWEEP_POINTS))
    decode = _jit(inference.decode, config)

    def sweep(axes: Float[np.ndarray, "k d"]) -> np.ndarray:
        """Decode values[i] axes[0] + values[j] axes[1]; one axis gives one column."""
        across = values[:, None] * axes[1] if len(axes) > 1 else np.zeros((1, axes.shape[1]))
        plane = (values[:, None, None] * axes[0] + across).astype(np.float32)
        swept = decode(config, params, plane.reshape(-1, config.latent_size))
        return np.asarray(swept).reshape(*plane.shape[:2], *config.image_shape)

    found = {
        "input": np.asarray(inputs, np.float32) * config.pixel_scale,
        "reconstruction_sampled": np.asarray(decode(config, params, sampled)),
        "reconstruction_mean": np.asarray(decode(config, params, means)),
        "sweep_values": values,
        "sweep": sweep(np.eye(config.latent_size)[:2]),
    }
    if (coupling := family.coupling(q)) is not None:
        directions, _, _ = np.linalg.svd(np.asarray(coupling, np.float64))
        found["sweep_leading"] = sweep(directions.T[:2])
        found["sweep_trailing"] = sweep(directions.T[::-1][:2])
    return found


def _jit(function: Callable[..., Any], config: ConfigDict) -> Any:
    """Compile a function whose first argument is the configuration."""
    return programs.jit(function, records.modules(config), static_argnums=0)
