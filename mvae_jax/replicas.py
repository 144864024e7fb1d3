"""The replicate axis: every seed of a run in one compiled program, on all devices of the machine.

Nobody else knows that there is more than one: what `train` says of one seed is mapped over the
leading axis [S] here, by `vmap` (one batched program) or `map` (one seed after the other inside
the same program; on a CPU often the faster), and the axis is dealt out to the devices, which need
nothing of each other. Where the seeds do not divide, the last one is trained more than once.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from mvae_jax import train
from mvae_jax.train import EpochMetrics, TrainState

OVER_SEEDS, EVERYWHERE = PartitionSpec("seeds"), PartitionSpec()


def split_cores(num_seeds: int) -> None:
    """Makes every core a device of its own, if seeds for all of them are to train on a CPU.

    Cores that share the products of one small network mostly wait for each other: a seed per core
    was measured 1.2 to 1.5 times as fast. To be called before JAX looks for its devices; what the
    environment says of them stands.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    accelerators = importlib.metadata.entry_points(group="jax_plugins")
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu" or not (
        accelerators or importlib.util.find_spec("libtpu")
    )
    said = {"NPROC", "PJRT_NPROC", "JAX_NUM_CPU_DEVICES"} & os.environ.keys()
    forced = "device_count" in os.environ.get("XLA_FLAGS", "")
    if only_cpu and not (said or forced) and num_seeds >= cores > 1:
        os.environ["NPROC"] = "1"  # threads of XLA's own, besides the one of each device
        jax.config.update("jax_num_cpu_devices", cores)


def init(config: ConfigDict, seeds: Sequence[int]) -> TrainState:
    """Returns the seeds' initial states, with a leading axis [S] that the devices share."""
    mesh = _mesh(len(seeds))
    function = jax.vmap(partial(train.init, config))
    padded = _pad(np.asarray(seeds, np.int32), mesh)
    return jax.jit(_shard(function, mesh, OVER_SEEDS))(padded)


def share_images(images: UInt8[np.ndarray, "n ..."], num_seeds: int) -> UInt8[Array, "n ..."]:
    """Returns the images on every device that trains."""
    return jax.device_put(images, NamedSharding(_mesh(num_seeds), EVERYWHERE))


def train_epoch(
    config: ConfigDict,
    mode: str,
    states: TrainState,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None = None,
) -> tuple[TrainState, EpochMetrics]:
    """Trains every seed for one epoch, in one dispatch; the states passed in are consumed."""
    sharding = states.step.sharding
    assert isinstance(sharding, NamedSharding)  # as `init` and `to_devices` return them
    return _train_epoch(config, mode, sharding.mesh, states, images, valid_images)


@partial(jax.jit, static_argnames=("config", "mode", "mesh"), donate_argnames="states")
def _train_epoch(
    config: ConfigDict,
    mode: str,
    mesh: Mesh,
    states: TrainState,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None,
) -> tuple[TrainState, EpochMetrics]:
    def of_a_device(states: TrainState, images: Array, valid_images: Array | None) -> Any:
        def one_seed(state: TrainState) -> tuple[TrainState, EpochMetrics]:
            return train.train_epoch(config, state, images, valid_images)

        return jax.lax.map(one_seed, states) if mode == "map" else jax.vmap(one_seed)(states)

    function = _shard(of_a_device, mesh, (OVER_SEEDS, EVERYWHERE, EVERYWHERE))
    return function(states, images, valid_images)


def profile(config: ConfigDict, mode: str, images: UInt8[Array, "n ..."], folder: Path) -> None:
    """Writes a trace of ten compiled training steps, for TensorBoard or Perfetto, to the folder."""
    few = images[: 10 * config.batch_size]
    states, metrics = train_epoch(config, mode, init(config, range(config.num_seeds)), few)
    jax.block_until_ready(metrics)
    with jax.profiler.trace(folder):
        jax.block_until_ready(train_epoch(config, mode, states, few))


def to_host(tree: Any, num_seeds: int) -> Any:
    """Returns states or metrics as numpy arrays [S, ...], which know of no device."""
    return jax.tree.map(lambda leaf: leaf[:num_seeds], jax.device_get(tree))


def empty(config: ConfigDict, seeds: Sequence[int]) -> TrainState:
    """Returns numpy arrays of the shapes and types that `to_host` gives, with no values yet."""
    shapes = jax.eval_shape(jax.vmap(partial(train.init, config)), np.asarray(seeds, np.int32))
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)


def to_devices(states: TrainState) -> TrainState:
    """Returns states that were on the host as the devices share them."""
    mesh = _mesh(len(states.step))
    return jax.tree.map(
        lambda leaf: jax.device_put(_pad(leaf, mesh), NamedSharding(mesh, OVER_SEEDS)), states
    )


def unstack(tree: Any, num_seeds: int) -> Iterator[Any]:
    """Yields the states or metrics of one seed after the other, as numpy arrays."""
    on_host = to_host(tree, num_seeds)
    for replicate in range(num_seeds):
        yield jax.tree.map(lambda leaf: leaf[replicate], on_host)  # noqa: B023


def choose_mode() -> str:
    """Returns `vmap` on accelerators, which want the batched program, and `map` on a CPU.

    There, `map` keeps a seed's cost and its very bits whatever the number of seeds, where the
    batched program was measured from a fifth faster to a fifth slower.
    """
    return "map" if jax.default_backend() == "cpu" else "vmap"


def _mesh(num_seeds: int) -> Mesh:
    """Returns as many local devices as it takes to give none more seeds than it must have."""
    devices = jax.local_devices()
    per_device = -(-num_seeds // len(devices))
    return Mesh(np.array(devices[: -(-num_seeds // per_device)]), ("seeds",))


def _pad(leaf: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Repeats the last seed until the devices have equally many."""
    missing = -len(leaf) % mesh.size
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


def _shard(function: Callable[..., Any], mesh: Mesh, inputs: Any) -> Callable[..., Any]:
    """Runs the function on every device, with the seeds that are there."""
    return jax.shard_map(
        function, mesh=mesh, in_specs=inputs, out_specs=OVER_SEEDS, check_vma=False
    )
