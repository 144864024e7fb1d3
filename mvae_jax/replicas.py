"""The replicate axis: every training of a run in one compiled program, on all local devices.

A replicate is a seed with its values of the swept fields. Nobody else knows that there is more than
one: what `train` says of one is mapped over the leading axis [R] here, by `vmap` (one batched
program) or `map` (one after the other inside the same program; on a CPU often the faster), and the
axis is dealt out to the devices, which need nothing of each other. Where the replicates do not
divide, the last one is trained more than once.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import joblib
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, UInt8
from ml_collections import ConfigDict

from mvae_jax import config as config_lib
from mvae_jax import posteriors, programs, records, train
from mvae_jax.train import EpochMetrics, TrainState

OVER_REPLICATES, EVERYWHERE = PartitionSpec("replicates"), PartitionSpec()


def split_cores(num_seeds: int) -> None:
    """Make every core a device of its own, if seeds for all of them are to train on a CPU.

    Cores that share the products of one small network mostly wait for each other: a seed per core
    was measured 1.2 to 1.5 times as fast. To be called before JAX looks for its devices; what the
    environment says of them stands.
    """
    cores = joblib.cpu_count()  # a container's share of them counts, too
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
    """Return the seeds' initial states, with a leading axis [R] that the devices share."""
    values = _values(config, seeds)
    mesh = _mesh(len(values[0]))
    padded = jax.tree.map(lambda leaf: _pad(leaf, mesh), values)
    static, modules = ("config", "mesh"), records.modules(config)
    init: Callable[..., TrainState] = programs.jit(_init, modules, static_argnames=static)
    return init(config, mesh, *padded)


def _init(config: ConfigDict, mesh: Mesh, seeds: Array, swept: dict[str, Array]) -> TrainState:
    function = jax.vmap(partial(train.init, config))
    states: TrainState = _shard(function, mesh, OVER_REPLICATES)(seeds, swept)
    return states


def share_images(images: UInt8[np.ndarray, "n ..."], number: int) -> UInt8[Array, "n ..."]:
    """Return the images on every device that trains."""
    return jax.device_put(images, NamedSharding(_mesh(number), EVERYWHERE))


def train_epoch(
    config: ConfigDict,
    mode: str,
    states: TrainState,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None = None,
) -> tuple[TrainState, EpochMetrics]:
    """Train every replicate for one epoch, in one dispatch; the states passed in are consumed.

    Where the family follows something, the first epoch is exact. An epoch in which a replicate has
    strayed too far is then trained again, exactly, and the result is taken for that replicate.
    """
    sharding = states.step.sharding
    assert isinstance(sharding, NamedSharding)  # as `init` and `to_devices` return them
    family = posteriors.of(config)
    arguments = (config, mode, sharding.mesh, states, images, valid_images)
    if family.error is None:
        result: tuple[TrainState, EpochMetrics] = epoch_program(config)(*arguments)
        return result
    if not states.step[0]:
        result = epoch_program(config)(*arguments, exact=True)
        return result
    followed = epoch_program(config, donate=False)(*arguments)
    strayed = followed[1].carry_error > family.max_error
    if not jax.device_get(strayed).any():
        return followed
    states, metrics = _choose(strayed, epoch_program(config)(*arguments, exact=True), followed)
    return states, metrics._replace(carry_error=followed[1].carry_error)


def epoch_program(config: ConfigDict, donate: bool = True) -> Any:
    """Return the compiled function of `train_epoch`, with the mesh as third argument.

    donate: let the program write over the states that it is given
    """
    modules = records.modules(config)
    options: dict[str, Any] = {"static_argnames": ("config", "mode", "mesh", "exact")}
    if donate:
        options["donate_argnames"] = "states"
    return programs.jit(_train_epoch, modules, **options)


def _train_epoch(
    config: ConfigDict,
    mode: str,
    mesh: Mesh,
    states: TrainState,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None,
    exact: bool = False,
) -> tuple[TrainState, EpochMetrics]:
    def of_a_device(states: TrainState, images: Array, valid_images: Array | None) -> Any:
        def one_replicate(state: TrainState) -> tuple[TrainState, EpochMetrics]:
            return train.train_epoch(config, state, images, valid_images, exact)

        return (
            jax.lax.map(one_replicate, states) if mode == "map" else jax.vmap(one_replicate)(states)
        )

    function = _shard(of_a_device, mesh, (OVER_REPLICATES, EVERYWHERE, EVERYWHERE))
    return function(states, images, valid_images)


@jax.jit
def _choose(is_first: Bool[Array, " r"], first: Any, second: Any) -> Any:
    """Return the one or the other result, by replicate."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(is_first.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, first, second)


def profile(config: ConfigDict, mode: str, images: UInt8[Array, "n ..."], folder: Path) -> None:
    """Write a trace of ten compiled training steps, for TensorBoard or Perfetto, to the folder."""
    few = images[: 10 * config.batch_size]
    states = init(config, config_lib.seeds(config))
    states, metrics = train_epoch(config, mode, states, few)
    jax.block_until_ready(metrics)
    with jax.profiler.trace(folder):
        jax.block_until_ready(train_epoch(config, mode, states, few))


def to_host(tree: Any, number: int) -> Any:
    """Return states or metrics as numpy arrays [R, ...], which know of no device."""
    return jax.tree.map(lambda leaf: leaf[:number], jax.device_get(tree))


def empty(config: ConfigDict, seeds: Sequence[int]) -> TrainState:
    """Return numpy arrays of the shapes and types that `to_host` gives, with no values yet."""
    shapes = jax.eval_shape(jax.vmap(partial(train.init, config)), *_values(config, seeds))
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)


def to_devices(states: TrainState) -> TrainState:
    """Return states that were on the host as the devices share them."""
    mesh = _mesh(len(states.step))
    return jax.tree.map(
        lambda leaf: jax.device_put(_pad(leaf, mesh), NamedSharding(mesh, OVER_REPLICATES)), states
    )


def unstack(tree: Any, number: int) -> Iterator[Any]:
    """Yield the states or metrics of one replicate after the other, as numpy arrays."""
    on_host = to_host(tree, number)
    for replicate in range(number):
        yield jax.tree.map(lambda leaf: leaf[replicate], on_host)  # noqa: B023


def choose_mode() -> str:
    """Return `vmap` on accelerators, which want the batched program, and `map` on a CPU.

    There, `map` keeps a seed's cost and its very bits whatever the number of seeds, where the
    batched program was measured from a fifth faster to a fifth slower.
    """
    return "map" if jax.default_backend() == "cpu" else "vmap"


def _values(config: ConfigDict, seeds: Sequence[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the replicates' seeds and swept values, [R] each."""
    replicates = config_lib.replicates(seeds, config.sweep)
    fields = replicates[0].swept
    swept = {f: np.asarray([r.swept[f] for r in replicates], np.float32) for f in fields}
    return np.asarray([r.seed for r in replicates], np.int32), swept


def _mesh(number: int) -> Mesh:
    """Return as many local devices as it takes to give none more replicates than it must have."""
    devices = jax.local_devices()
    per_device = -(-number // len(devices))
    return Mesh(np.array(devices[: -(-number // per_device)]), ("replicates",))


def _pad(leaf: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Repeat the last replicate until the devices have equally many."""
    missing = -len(leaf) % mesh.size
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


def _shard(function: Callable[..., Any], mesh: Mesh, inputs: Any) -> Callable[..., Any]:
    """Run the function on every device, with the replicates that are there."""
    return jax.shard_map(
        function, mesh=mesh, in_specs=inputs, out_specs=OVER_REPLICATES, check_vma=False
    )
