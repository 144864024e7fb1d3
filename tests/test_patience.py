"""Patience: each seed stops by itself, stays as it is, and ends where it would have ended alone."""

import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvae_jax import config as config_lib
from mvae_jax import replicas
from mvae_jax.config import ConfigError
from mvae_jax.runs import run
from mvae_jax.store import run_folder
from tests.trained_runs import contents, done, killed_and_resumed, log, small

PATIENT = {
    "optimizer": "optax.lion",
    "clip_norm": 0.1,
    "checkpoint_every": 4,
    "iwae_samples": 0,
    "seed_mode": "map",
    "patience": 1,
    "num_epochs": 40,
    "num_seeds": 3,
    "learning_rate": 0.02,
    "batch_size": 200,
    "select": "best_valid",
}


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (30, 6, 5, 1), np.uint8))


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A run of three seeds that each stop by themselves."""
    folder = tmp_path_factory.mktemp("patient") / "run"
    config = small("vae,3,paper", **PATIENT)
    run.run(config, folder)
    return config, folder


def test_each_seed_stops_once_its_patience_is_over(patient):
    config, folder = patient
    records = done(folder)
    stops = {name: record["stopped_epoch"] for name, record in records.items()}
    assert len({*stops.values()}) > 1
    for name, stop in stops.items():
        lines = log(folder, int(name.removeprefix("seed_")))
        elbos = [line["valid_elbo"] for line in lines]
        assert [line["epoch"] for line in lines] == list(range(1, stop + 1))
        best = 1 + int(np.argmax(elbos))
        # Never before were there so many epochs without a better one.
        records_at = [
            n for n, elbo in enumerate(elbos, 1) if elbo > max([-math.inf, *elbos[: n - 1]])
        ]
        assert np.diff(records_at).max(initial=0) <= config.patience
        assert best == records_at[-1] == stop - config.patience
        assert records[name]["selected_epoch"] == best
        assert records[name]["epoch"] == config.num_epochs
        assert run_folder.read_manifest(folder)["replicates"][name]["stopped_epoch"] == stop


def test_a_stopped_seed_is_the_one_trained_alone(patient, tmp_path):
    config, folder = patient
    stops = {name: record["stopped_epoch"] for name, record in done(folder).items()}
    first = int(min(stops, key=stops.get).removeprefix("seed_"))
    run.run(config_lib.replace(config, first_seed=first, num_seeds=1), tmp_path / "alone")
    assert contents(tmp_path / "alone").items() - contents(folder).items() == {
        ("config.json", contents(tmp_path / "alone")["config.json"])
    }


def test_a_resume_among_stopped_seeds_is_bitwise(patient, tmp_path, monkeypatch):
    config, folder = patient
    stops = [record["stopped_epoch"] for record in done(folder).values()]
    killed_and_resumed(config, tmp_path / "run", monkeypatch, max(stops) - 1)
    assert min(stops) < max(stops) - 1 - (max(stops) - 1) % 4 + 1  # stopped in the checkpoint
    assert contents(tmp_path / "run") == contents(folder)
    assert [r["stopped_epoch"] for r in done(tmp_path / "run").values()] == [
        r["stopped_epoch"] for r in done(folder).values()
    ]


def test_more_epochs_train_no_stopped_seed(patient, tmp_path):
    config, folder = patient
    again = shutil.copytree(folder, tmp_path / "run")
    run.run(config_lib.replace(config, num_epochs=50), again)
    ours, before = contents(again), contents(folder)
    assert {name for name in before if ours[name] != before[name]} == {"config.json"}
    assert {record["epoch"] for record in done(again).values()} == {50}


def test_patience_needs_a_validation_split(tmp_path):
    with pytest.raises(
        ConfigError, match=r"config\.patience: got 3; allowed: 0, since the release"
    ):
        run.run(small("vae,3", patience=3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stopped_replicate_leaves_the_others_alone_in_one_batch(make_config, images):
    """Under `vmap`, where all are computed; also of a family that follows an inverse."""
    config = make_config("mvae,4", patience=1)
    states = replicas.init(config, range(3))
    states, _ = replicas.train_epoch(config, "vmap", states, images, images[:10])
    one_stopped = states._replace(best=states.best._replace(epoch=states.best.epoch.at[1].set(-5)))
    before = jax.device_get(one_stopped)
    copies = [jax.tree.map(jnp.copy, of) for of in (states, one_stopped)]
    plain, _ = replicas.train_epoch(config, "vmap", copies[0], images, images[:10])
    after, metrics = replicas.train_epoch(config, "vmap", copies[1], images, images[:10])
    assert [bool(stopped) for stopped in metrics.stopped][1]
    after, plain = jax.device_get(after), jax.device_get(plain)
    for old, ours, others in zip(
        *map(jax.tree.leaves, (before.params, after.params, plain.params)), strict=True
    ):
        np.testing.assert_array_equal(ours[1], old[1])
        np.testing.assert_array_equal(ours[[0, 2]], others[[0, 2]])
    assert after.best.params is None  # of select=last
    assert after.step[:3].tolist() == [8, 4, 8]
