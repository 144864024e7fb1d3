"""The replicate axis: every seed of a run in one compiled program.

Nobody else knows that there is more than one: what `train` and `embed` say of one seed is mapped
over the leading axis [S] here, by `vmap` (one batched program) or `map` (one seed after the other
inside the same program; on a CPU often the faster).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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


def profile(config: ConfigDict, mode: str, images: UInt8[Array, "n ..."], folder: Path) -> None:
    """Writes a trace of ten compiled training steps, for TensorBoard or Perfetto, to the folder."""
    few = images[: 10 * config.batch_size]
    states, metrics = train_epoch(config, mode, init(config, range(config.num_seeds)), few)
    jax.block_until_ready(metrics)
    with jax.profiler.trace(folder):
        jax.block_until_ready(train_epoch(config, mode, states, few))


def unstack(tree: Any) -> Iterator[Any]:
    """Yields the tree of one replicate after the other."""
    for replicate in range(len(jax.tree.leaves(tree)[0])):
        yield _take(tree, replicate)


@jax.jit
def _take(tree: Any, replicate: int | Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[replicate], tree)


def choose_mode() -> str:
    """Returns `vmap` on accelerators, which want the batched program, and `map` on a CPU.

    There, `map` keeps a seed's cost and its very bits whatever the number of seeds, where the
    batched program was measured from a fifth faster to a fifth slower.
    """
    return "map" if jax.default_backend() == "cpu" else "vmap"


def _over_replicates(mode: str, function: Callable[[TrainState], Any], states: TrainState) -> Any:
    return jax.lax.map(function, states) if mode == "map" else jax.vmap(function)(states)
