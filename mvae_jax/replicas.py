"""The replicate axis: every seed of a run in one compiled program.

Nobody else knows that there is more than one: what `train` and `embed` say of one seed is mapped
over the leading axis [S] here, by `vmap` (one batched program) or `map` (one seed after the other
inside the same program; on a CPU often the faster).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from mvae_jax import train
from mvae_jax.train import EpochMetrics, TrainState


def init(config: ConfigDict, seeds: Sequence[int]) -> TrainState:
    """Returns the seeds' initial states, with a leading axis [S]."""
    return jax.jit(jax.vmap(partial(train.init, config)))(jnp.asarray(seeds))


@partial(jax.jit, static_argnames=("config", "mode"), donate_argnames="states")
def train_epoch(
    config: ConfigDict,
    mode: str,
    states: TrainState,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None = None,
) -> tuple[TrainState, EpochMetrics]:
    """Trains every seed for one epoch, in one dispatch; the states passed in are consumed."""
    return _over_replicates(
        mode, lambda s: train.train_epoch(config, s, images, valid_images), states
    )


def unstack(tree: Any) -> Iterator[Any]:
    """Yields the tree of one replicate after the other."""
    for replicate in range(len(jax.tree.leaves(tree)[0])):
        yield _take(tree, replicate)


@jax.jit
def _take(tree: Any, replicate: int | Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[replicate], tree)


def choose_mode(
    config: ConfigDict,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None = None,
) -> str:
    """Returns the faster of `vmap` and `map` on this device.

    Accelerators want the batched program. On a CPU both are timed on a few batches, since
    which one wins depends on the cores and the sizes, even for one seed.
    """
    if jax.default_backend() != "cpu":
        return "vmap"
    few = images[: 10 * config.batch_size]
    few_valid = None if valid_images is None else valid_images[: config.batch_size]
    seconds = {}
    for mode in ("vmap", "map"):
        states = init(config, range(config.num_seeds))
        states, _ = train_epoch(config, mode, states, few, few_valid)
        laps = []
        for _ in range(3):
            start = time.perf_counter()
            states, metrics = train_epoch(config, mode, states, few, few_valid)
            jax.block_until_ready((states, metrics))
            laps.append(time.perf_counter() - start)
        seconds[mode] = np.median(laps)
    return min(seconds, key=lambda mode: seconds[mode])


def _over_replicates(mode: str, function: Callable[[TrainState], Any], states: TrainState) -> Any:
    return jax.lax.map(function, states) if mode == "map" else jax.vmap(function)(states)
