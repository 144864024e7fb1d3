"""The replicate axis over several devices, each number of them in a process of its own."""

import os
import re
import subprocess
import sys

import jax
import joblib
import numpy as np
import pytest

from mvae_jax import replicas
from tests.conftest import ROOT

NUM_SEEDS = 11  # two for each of five devices, one and a copy of it for the sixth
TRAIN = f"""
import sys
import jax, numpy as np
from ml_collections import FrozenConfigDict
from mvae_jax import config as config_lib, replicas

config = config_lib.base_config("digits", "mvae,4")
config.update(image_shape=(6, 5, 1), pixel_scale=1 / 255, hidden_size=16, batch_size=10)
config = FrozenConfigDict(config)
pixels = np.random.default_rng(0).integers(0, 256, (95, 6, 5, 1), np.uint8)
images = replicas.share_images(pixels, {NUM_SEEDS})
for mode in sys.argv[2:]:
    states = replicas.init(config, range({NUM_SEEDS}))
    mesh = states.step.sharding.mesh
    lowered = replicas.epoch_program(config).lower(config, mode, mesh, states, images, None)
    program = lowered.compile()
    print(mesh.size)
    print(program.as_text())
    states, metrics = program(states, images, None)
    states, metrics = (replicas.to_host(tree, {NUM_SEEDS}) for tree in (states, metrics))
    leaves = jax.tree.leaves((states.params, states.opt_state))
    terms = {{"kl": metrics.kl, "log_likelihood": metrics.log_likelihood}}
    np.savez(f"{{sys.argv[1]}}-{{mode}}.npz", *leaves, **terms)
"""


def python(code, *arguments, **environment):
    """Returns what a fresh interpreter prints."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, env=kept | environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def flags(number):
    return f"--xla_force_host_platform_device_count={number} --xla_backend_optimization_level=0"


def trained(folder, name, mode):
    """Returns (mode, array) -> what TRAIN left."""
    with np.load(folder / f"{name}-{mode}.npz") as arrays:
        return {(mode, k): arrays[k] for k in arrays.files}


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """What one device trains with a thread per core, and what was printed."""
    folder = tmp_path_factory.mktemp("one")
    printed = python(TRAIN, folder / "1", "vmap", "map", XLA_FLAGS=flags(1))
    return trained(folder, 1, "vmap") | trained(folder, 1, "map"), printed


@pytest.mark.thorough
def test_eight_devices_train_what_one_does_and_need_nothing_of_each_other(one_device, tmp_path):
    printed_by_eight = python(TRAIN, tmp_path / "8", "vmap", "map", XLA_FLAGS=flags(8))
    for printed, used in ((one_device[1], 1), (printed_by_eight, 6)):
        assert [int(line) for line in printed.splitlines() if line.isdigit()] == [used] * 2
        collectives = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|send"
        assert not re.findall(rf"\b(?:{collectives})(?:-start)?\(", printed)
        assert printed.count("ENTRY") == 2
    by_eight = trained(tmp_path, 8, "vmap") | trained(tmp_path, 8, "map")
    for name, one in one_device[0].items():
        eight = by_eight[name].astype(np.float64)
        assert len(eight) == NUM_SEEDS
        if name[0] == "map":  # each seed's very bits
            np.testing.assert_array_equal(eight, one)
        if name[1] in ("kl", "log_likelihood"):
            np.testing.assert_allclose(eight, one, atol=0.01, rtol=0)
        assert np.linalg.norm(eight - one) <= 1e-4 * np.linalg.norm(one), name


def test_one_thread_trains_what_several_do(one_device, tmp_path):
    """Up to rounding: on a CPU several threads divide a product, where there are several."""
    python(TRAIN, tmp_path / "1", "map", XLA_FLAGS=flags(1), NPROC="1")
    for name, array in trained(tmp_path, 1, "map").items():
        several = one_device[0][name]
        assert np.linalg.norm(array - several) <= 1e-4 * np.linalg.norm(several), name


def test_states_go_to_the_host_and_back(make_config):
    states = replicas.init(make_config(), range(5, 8))
    on_host = replicas.to_host(states, 3)
    np.testing.assert_array_equal(on_host.seed, [5, 6, 7])
    again = replicas.to_devices(on_host)
    assert jax.tree.map(lambda a, b: a.sharding == b.sharding, states, again)
    for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


CORES = joblib.cpu_count()


@pytest.mark.skipif(CORES < 2, reason="one core cannot be divided")
@pytest.mark.parametrize(
    ("num_seeds", "environment", "devices"),
    [
        (CORES, {}, CORES),
        (CORES - 1, {}, 1),
        (CORES, {"NPROC": "2"}, 1),
        (CORES, {"LOKY_MAX_CPU_COUNT": "1"}, 1),  # as of a container with a share of one core
        (CORES, {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
    ],
)
def test_a_core_is_a_device_where_there_are_seeds_for_all(num_seeds, environment, devices):
    code = f"import jax\nfrom mvae_jax import replicas\nreplicas.split_cores({num_seeds})\n"
    printed = python(f"{code}print(jax.local_device_count())", JAX_PLATFORMS="cpu", **environment)
    assert int(printed) == devices


def test_two_devices_of_a_cpu_factorise_at_once():
    """XLA's batched LAPACK would never return: the matrices are factorised one by one."""
    code = """
import jax
from ml_collections import FrozenConfigDict
from mvae_jax import config as config_lib, replicas

config = config_lib.base_config("digits", "mvae,32")
config.update(image_shape=(6, 5, 1), hidden_size=16)
jax.block_until_ready(replicas.init(FrozenConfigDict(config), range(16)))
print(jax.device_count())
"""
    assert int(python(code, XLA_FLAGS="--xla_force_host_platform_device_count=2")) == 2
