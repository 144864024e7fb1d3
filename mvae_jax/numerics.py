"""The settings of JAX and XLA that change numbers: the package fixes some and records the others.

A user may have set them for the whole process, by environment variables or `jax.config.update`.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

# How JAX differentiates, lowers and compiles, which changes the rounding.
RECORDED = (
    *("jax_accurate_erf_inv", "jax_compiler_enable_remat_pass", "jax_cond", "jax_custom_jvp3"),
    *("jax_custom_vjp3", "jax_default_dtype_bits", "jax_disable_most_optimizations"),
    *("jax_dynamic_shapes", "jax_enable_custom_vjp_by_custom_transpose", "jax_enable_pgle"),
    *("jax_exec_time_optimization_effort", "jax_memory_fitting_effort", "jax_memory_fitting_level"),
    *("jax_optimization_level", "jax_remat3", "jax_remat_barrier_no_cotangents"),
    *("jax_safer_randint", "jax_scan3", "jax_softmax_custom_jvp"),
    *("jax_threefry_gpu_kernel_lowering", "jax_use_direct_linearize"),
    *("jax_use_hlo_logistic_lowering", "jax_vjp3", "jax_vmap_primitive"),
)
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
# Beginnings of flags that change no number: the devices' count, dumps, profiles.
HARMLESS_FLAGS = ("--xla_force_host_platform_device_count", "--xla_dump_", "--xla_hlo_profile")


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Fix, inside the block or the decorated function, what the package's contract fixes.

    32 bit, Threefry keys whose draws may be partitioned, standard type promotion, compiled
    functions. The user's own settings hold again after it.
    """
    with (
        jax.enable_x64(False),
        jax.default_prng_impl("threefry2x32"),
        jax.threefry_partitionable(True),
        jax.numpy_dtype_promotion("standard"),
        jax.disable_jit(False),
    ):
        yield


def settings() -> dict[str, Any]:
    """Return the other settings that change numbers, by name; flags that do not are left out."""
    found = {name: jax.config.values[name] for name in RECORDED if name in jax.config.values}
    return {**found, **{name: _flags(os.environ.get(name, "")) for name in VARIABLES}}


def _flags(value: str) -> str:
    """Return the flags of a variable, sorted, without the harmless ones."""
    if value and not value.startswith("-") and Path(value).is_file():  # XLA takes a file, too
        value = Path(value).read_text(encoding="utf-8")
    return " ".join(sorted(f for f in value.split() if not f.startswith(HARMLESS_FLAGS)))
