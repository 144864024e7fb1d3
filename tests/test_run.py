"""The run folder: its files, refusals, locks, failed seeds and times."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvae_jax import inference, replicas
from mvae_jax.config import ConfigError
from mvae_jax.runs import run
from mvae_jax.runs.workdir import LockedError, RunError, Workdir, lock, log_time
from mvae_jax.store import files
from mvae_jax.store.status import time_summary
from tests.conftest import ROOT
from tests.trained_runs import contents, done, log, small


def test_the_run_folder_holds_what_the_contract_says(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        *("config.json", "environment.json", "timing.jsonl"),
        *("checkpoints", "embeddings", "model", "pictures", "logs", "done", ".lock"),
    }
    config = json.loads((finished / "config.json").read_text())
    assert config["image_shape"] == [8, 8, 1]
    assert config["seed_mode"] == "vmap"
    lines = log(finished, 777) + log(finished, 778)
    assert [(line["seed"], line["epoch"]) for line in lines] == [
        (seed, epoch) for seed in (777, 778) for epoch in (1, 2, 3, 4)
    ]
    for line in lines:
        assert line["elbo"] == pytest.approx(line["log_likelihood"] - line["kl"])
        assert line["kl"] >= 0
    for name, record in done(finished).items():
        assert len(record["sha256"]) == 3
        for path, digest in record["sha256"].items():
            assert files.sha256(finished / path) == digest
        content = (finished / "logs" / f"{name}.jsonl").read_bytes()
        assert record["log"]["bytes"] == len(content)
        assert record["epoch_seconds"] > 0
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__

    with np.load(finished / "embeddings" / "seed_778.npz", allow_pickle=False) as arrays:
        assert int(arrays["seed"]) == 778
        assert arrays["mu_train"].shape == (1438, 3)
        assert arrays["mu_test"].dtype == np.float32
        both = np.concatenate([arrays["index_train"], arrays["index_test"]])
        assert sorted(both) == list(range(1797))
    with np.load(finished / "pictures" / "seed_778.npz", allow_pickle=False) as pictures:
        assert pictures["input"].shape == (48, 8, 8, 1)
        assert pictures["sweep"].shape == (10, 10, 8, 8, 1)
        with np.load(finished / "model" / "seed_778.npz", allow_pickle=False) as arrays:
            u, _, _ = np.linalg.svd(arrays["params/coupling"].astype(np.float64))
        config, params = inference.load(finished, 778)
        values = pictures["sweep_values"]
        z = (values[7] * u[:, 0] + values[2] * u[:, 1]).astype(np.float32)
        mean = inference.decode(config, params, jnp.asarray(z[None]))[0]
        assert not np.allclose(pictures["sweep_trailing"], pictures["sweep_leading"])
        np.testing.assert_allclose(pictures["sweep_leading"][7, 2], mean, atol=1e-5)


def test_every_machine_and_version_trains_to_the_same_numbers(finished):
    """As jax 0.10.2 on Python 3.11 and jax 0.12.0 on Python 3.13 have them."""
    recorded = {777: (-45.193237, 1.6037382), 778: (-44.428158, 0.9987374)}
    for seed, numbers in recorded.items():
        last = log(finished, seed)[-1]
        assert (last["log_likelihood"], last["kl"]) == pytest.approx(numbers, rel=1e-5)


def test_a_folder_that_is_being_trained_in_is_not_moved_aside(folder):
    with lock(Workdir(folder)), pytest.raises(LockedError):
        run.run(small(num_epochs=2), folder, overwrite=True)
    assert (folder / "config.json").is_file()
    assert not list(folder.parent.glob(".*old*"))


def test_a_second_process_is_refused_while_one_trains(folder):
    with (
        lock(Workdir(folder)),
        pytest.raises(LockedError, match=rf"process {os.getpid()} on \S+ is"),
    ):
        run.run(small(num_epochs=5), folder)


def test_best_valid_needs_a_validation_split(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.select.*release.*no validation split"):
        run.run(small(select="best_valid"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_overwrite_moves_the_old_run_aside(folder):
    before = contents(folder)
    run.run(small(hidden_size=9), folder, overwrite=True)
    assert contents(folder.parent / ".run.old-1") == before
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 9
    assert files.find_runs([folder.parent]) == [folder]


def test_overwrite_of_a_link_moves_the_link_aside(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    run.run(small(hidden_size=9), link, overwrite=True)
    assert json.loads((link / "config.json").read_text())["hidden_size"] == 9
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 8


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds no run"):
        run.run(small(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failed_seed_is_named_and_left_out(finished, tmp_path, monkeypatch, capsys):
    from mvae_jax import evaluate, report

    original = replicas.init

    def poisoned(config, seeds):
        states = original(config, seeds)
        params = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), states.params)
        return states._replace(params=params)

    folder = tmp_path / "run"
    monkeypatch.setattr(replicas, "init", poisoned)
    run.run(small(), folder)
    assert "seed_778: failed, log_likelihood was nan in epoch 1" in capsys.readouterr().err
    assert not (folder / "embeddings" / "seed_778.npz").exists()
    for line in (folder / "logs" / "seed_778.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    healthy = contents(finished)["embeddings/seed_777.npz"]
    assert contents(folder)["embeddings/seed_777.npz"] == healthy

    assert not evaluate.score([folder])
    assert not report.render([folder], tmp_path / "report")
    printed = capsys.readouterr().out
    assert "778" in printed
    assert "log_likelihood was nan in epoch 1" in printed


def test_all_seeds_failed(tmp_path, monkeypatch):
    original = replicas.init

    def poisoned(config, seeds):
        states = original(config, seeds)
        return states._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, states.params))

    monkeypatch.setattr(replicas, "init", poisoned)
    with pytest.raises(RunError, match="every seed has failed"):
        run.run(small(), tmp_path / "run")


def test_the_seconds_are_summed_by_stage(tmp_path):
    events = [("data", 1), ("epoch", 5), ("epoch", 2), ("epoch", 2), ("data", 1), ("epoch", 4)]
    events += [("epoch", 2), ("embed", 3), ("import", 1), ("report", 2)]
    for event, seconds in events:
        log_time(Workdir(tmp_path), event, float(seconds))
    expected = "seconds: import 1.0, data 2.0, compile 5.0, train 10.0, embed 3.0, report 2.0"
    assert time_summary(tmp_path) == expected


@pytest.mark.thorough
def test_a_profile_is_written_and_changes_nothing(tmp_path):
    run.run(small(), tmp_path / "plain")
    run.run(small(), tmp_path / "profiled", profile=tmp_path / "trace")
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    plain, profiled = (contents(tmp_path / name) for name in ("plain", "profiled"))
    assert plain == profiled


def test_a_second_process_finds_the_programs_of_the_first(tmp_path):
    """The cache is the user's own, in a folder of the machine's kind; its programs do the same."""
    code = """
import hashlib
import jax, numpy as np
from ml_collections import FrozenConfigDict
from mvae_jax import config as config_lib, replicas
from mvae_jax.runs import environment

config = config_lib.base_config("digits", "mvae,3")
config.update(image_shape=(8, 8, 1), pixel_scale=1 / 255, hidden_size=8)
config = FrozenConfigDict(config)
environment.prepare_jax(1)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
images = replicas.share_images(np.zeros((20, 8, 8, 1), np.uint8), 1)
states, _ = replicas.train_epoch(config, "map", replicas.init(config, [0]), images)
bits = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(states.params))
print(sum("cache_hit" in event for event in hits) > 0, hashlib.sha256(bits).hexdigest())
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    (found, first), (found_again, again) = (line.split() for line in said)
    assert (found, found_again) == ("False", "True")
    assert first == again
    (folder,) = (tmp_path / "mvae_jax" / "programs").iterdir()
    assert list(folder.iterdir())
    assert folder.stat().st_mode & 0o077 == 0
