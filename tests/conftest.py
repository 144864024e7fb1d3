"""What every test shares: strict JAX, checked shapes, small configurations, and the real data."""

import os
from contextlib import contextmanager
from pathlib import Path

# Two CPU devices, so that what ignores a second device fails here; quick compiles, since every test
# compiles programs of its own that then run for milliseconds.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
)

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook
from ml_collections import FrozenConfigDict
from threadpoolctl import threadpool_limits

# Every annotated shape is checked at run time; must come before the package's modules load.
install_import_hook("mvae_jax", "beartype.beartype")

from tests.evaluated_runs import calls, run, scored  # noqa: E402, F401
from tests.published_files import memory, published, ready, server  # noqa: E402, F401
from tests.trained_runs import finished, folder  # noqa: E402, F401

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

ROOT = Path(__file__).parent.parent

# Public data sets for tests on real bytes; such tests skip where the folder is absent.
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The flags of runs that take a moment, on the data set `tiny`: few, small, without labels."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images = np.random.default_rng(0).integers(0, 256, (120, 4, 4), dtype=np.uint8)
    np.savez(path, images=images)
    fields = {"dataset": path, "hidden_size": 8, "batch_size": 20, "iwae_samples": 0}
    return [f"--config.{field}={value}" for field, value in fields.items()]


@pytest.fixture
def one_thread(request):
    """One thread in numpy, but in slow tests: on small arrays more only hinder each other."""
    with threadpool_limits(None if "slow" in request.keywords else 1):
        yield


@pytest.fixture
def user_settings():
    """Returns a context in which a user has set all that changes numbers, for the process."""
    changed = {
        "jax_enable_x64": True,
        "jax_default_prng_impl": "rbg",
        "jax_threefry_partitionable": False,
        "jax_random_seed_offset": 5,
        "jax_numpy_dtype_promotion": "strict",
    }

    @contextmanager
    def set_all():
        before = {name: getattr(jax.config, name) for name in changed}
        try:
            for name, value in changed.items():
                jax.config.update(name, value)
            yield
            assert {name: getattr(jax.config, name) for name in changed} == changed
        finally:
            for name, value in before.items():
                jax.config.update(name, value)

    return set_all


@pytest.fixture
def make_config():
    """Returns a function: (argument, **fields) -> a small configuration on 6 x 5 images."""
    from mvae_jax import config as config_lib

    def make(argument: str = "mvae,4", **fields) -> FrozenConfigDict:
        config = config_lib.base_config("digits", argument)
        small = {
            "hidden_size": 16,
            "batch_size": 8,
            "num_epochs": 2,
            "num_seeds": 3,
            "seed_mode": "vmap",
            "image_shape": (6, 5, 1),
            "pixel_scale": 1 / 255,
        }
        config.update(small | fields)
        return FrozenConfigDict(config)

    return make
