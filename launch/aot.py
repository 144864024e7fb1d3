"""Compile an epoch of any configuration for an accelerator that is not here, and print its costs.

    pip install -e ".[tpu]"    # about 0.5 GB; for an H100 ".[cuda]", about 5 GB
    python launch/aot.py --target=v5e --config=configs/mnist_basic.py:lu,16
    python launch/aot.py --target=h100 --config=configs/mnist_basic.py:mvae,16 --config.num_seeds=16

The program is the one that a run dispatches on such a device, `vmap` over the seeds. For an H100,
what counts is read from XLA's dump: the kernels of a training step, the loops inside it, at each of
which the host waits, the command buffers, which launch many kernels at once, and what stands apart
from these and is launched by itself. Memory is of states, results and temporary arrays; all seeds
share the images. The most seeds that fit leave nothing for other programs. Nothing is measured on
an accelerator, and no figure here is a time on one.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()

import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from tabulate import tabulate

from mvae_jax import config as config_lib
from mvae_jax.command_line import define_config, parse_flags
from mvae_jax.datasets.catalogue import CATALOGUE

DEVICE_BYTES = {"h100": 80e9, "v5e": 16e9}
TOPOLOGY = {"h100": ("cuda", "", "1x1x1"), "v5e": ("tpu", "v5e:2x2", None)}
# What XLA has to know of the card, by which it chooses its kernels (NVIDIA's data sheet and CUDA's
# table of compute capability 9.0).
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448  registers_per_core_limit: 65536
  registers_per_block_limit: 65536  core_count: 132  fpus_per_core: 128
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98
  device_memory_size: 84942979072  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class Compiled(NamedTuple):
    """One program.

    seconds: to compile
    shared:  bytes of the images
    own:     bytes of all else, for all seeds
    thunks:  XLA's list of what it launches
    """

    seconds: float
    shared: int
    own: int
    thunks: str


def main() -> None:
    """Compile and print one row."""
    flags.DEFINE_enum("target", "h100", list(TOPOLOGY), "what to compile for")
    define_config(flags.FLAGS)
    parse_flags(sys.argv)
    config, target = flags.FLAGS.config, flags.FLAGS.target
    if config.dataset not in CATALOGUE:
        sys.exit(f"error: config.dataset: got '{config.dataset}'; allowed: {', '.join(CATALOGUE)}")
    with tempfile.TemporaryDirectory() as folder:
        found = compile_for(target, config, Path(folder))
    per_seed = found.own / config.num_seeds
    row: dict[str, Any] = {
        "target": target,
        "model": config.model,
        "z": config.latent_size,
        "seeds": config.num_seeds,
        "compile s": f"{found.seconds:.1f}",
        "MB per seed": f"{per_seed / 1e6:.1f}",
        "seeds that fit": f"{(DEVICE_BYTES[target] - found.shared) / per_seed:,.0f}",
    }
    if target == "h100":
        row |= launches(found.thunks)
    print(tabulate([row], headers="keys"))


def compile_for(target: str, config: Any, dump: Path) -> Compiled:
    """Compile an epoch of the configuration for one device of the target."""
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
    if target == "h100":
        more = f"--xla_gpu_autotune_level=0 --xla_dump_to={dump} --xla_dump_hlo_as_text"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {more}"
    os.environ["JAX_PLATFORMS"] = "cpu"  # of what is computed here
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding

    from mvae_jax import posteriors, replicas, train

    platform, name, topology = TOPOLOGY[target]
    options: dict[str, Any] = {"topology": topology} if topology else {}
    if target == "h100":
        options["target_config"] = H100
    devices = topologies.get_topology_desc(name, platform, **options).devices
    mesh = Mesh(np.array(devices[:1]), ("replicates",))

    number, *shape = CATALOGUE[config.dataset].shape
    config = config_lib.replace(config, image_shape=tuple(shape), pixel_scale=1 / 255)
    of_program = config_lib.of_program(config)

    def place(tree: Any, spec: Any) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    seeds = jax.ShapeDtypeStruct((config.num_seeds,), np.int32)
    states = jax.eval_shape(jax.vmap(lambda seed: train.init(of_program, seed)), seeds)
    images = jax.ShapeDtypeStruct((number * 4 // 5, *shape), np.uint8)
    donate = posteriors.of(of_program).error is None  # as `replicas.train_epoch` does it
    program = replicas.epoch_program(of_program, donate)
    start = time.perf_counter()
    compiled = program.lower(
        of_program,
        "vmap",
        mesh,
        place(states, replicas.OVER_REPLICATES),
        place(images, replicas.EVERYWHERE),
        None,
    ).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    size = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    thunks = [
        path.read_text(encoding="utf-8")
        for path in dump.glob("*thunk_sequence_after_thunk_passes.txt")
    ]
    shared, own = images.size, size - memory.alias_size_in_bytes - images.size
    return Compiled(seconds, shared, own, max(thunks, key=len, default=""))


def launches(thunks: str) -> dict[str, int]:
    """Return what the host launches in one training step, of XLA's list for the whole epoch.

    The epoch's loop over steps is the one loop that is not indented.
    """
    lines = iter(thunks.splitlines())
    for line in lines:
        if re.match(r"\d+: kWhile", line):
            break
    kinds: Counter[str] = Counter()
    for line in lines:
        if re.match(r"\d", line):  # what follows the loop
            break
        if match := re.match(r"\s+\d+: k(\w+)", line):
            kinds[match[1]] += 1
    buffers, loops = kinds.pop("CommandBuffer", 0), kinds.pop("While", 0)
    wrappers = kinds.pop("DynamicSliceFusion", 0) + kinds.pop("Conditional", 0)
    kernels = kinds.total() - 1  # the loop's own condition
    return {
        "kernels": kernels,
        "loops": loops,
        "command buffers": buffers,
        "apart": wrappers + sum(kinds[kind] for kind in ("CustomCall", "TriangularSolve")),
    }


if __name__ == "__main__":
    terminal.command(main)
