"""The same command again: what it resumes, trains anew, refuses and leaves as it is."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import mvae_jax
from mvae_jax import replicas
from mvae_jax.config import ConfigError
from mvae_jax.runs import run, stop
from mvae_jax.store import config_file
from tests.conftest import ROOT
from tests.trained_runs import SMALL, TIMES, contents, done, log, small


def test_the_same_command_again_does_nothing(folder):
    def everything():
        files_there = [path for path in folder.rglob("*") if path.is_file()]
        return {p: p.stat().st_mtime_ns for p in files_there if p.name not in (".lock", TIMES)}

    before = everything()
    run.run(small(seed_mode="auto"), folder)
    assert everything() == before


def test_a_kill_before_the_first_epoch_leaves_a_folder_that_starts(tmp_path, monkeypatch):
    def killed(*_arguments):
        raise SystemExit

    monkeypatch.setattr(replicas, "choose_mode", killed)
    with pytest.raises(SystemExit):
        run.run(small(seed_mode="auto"), tmp_path / "run")
    run.run(small(), tmp_path / "run")
    assert (tmp_path / "run" / "embeddings" / "seed_778.npz").is_file()


def test_a_deleted_file_is_written_anew_and_no_other(folder):
    before = contents(folder)
    untouched = folder / "embeddings" / "seed_778.npz"
    modified = untouched.stat().st_mtime_ns
    (folder / "embeddings" / "seed_777.npz").unlink()
    run.run(small(), folder)
    assert contents(folder) == before
    assert untouched.stat().st_mtime_ns == modified


def test_a_deleted_cohort_trains_again_and_a_backup_of_it_stays(folder):
    before = contents(folder)
    checkpoints = folder / "checkpoints"
    (checkpoints / "seed_777-778").rename(checkpoints / "seed_777-778.backup")
    (checkpoints / "seed_note").write_text("mine")
    shutil.rmtree(folder / "done")
    run.run(small(), folder)
    assert contents(folder) == before
    assert sorted(done(folder)) == ["seed_777", "seed_778"]
    assert (checkpoints / "seed_777-778.backup").is_dir()
    assert (checkpoints / "seed_note").is_file()


def test_data_is_known_by_its_content(tmp_path, monkeypatch):
    """Another path of the same file resumes; the same path, another pixel, is refused."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (600, 4, 4), np.uint8), np.arange(600) % 3
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    config = {"dataset": str(tmp_path / "own.npz"), "batch_size": 100, "num_epochs": 1}
    run.run(small(**config), tmp_path / "run")
    before = contents(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for spelling in ("own.npz", "./own.npz", "../" + tmp_path.name + "/own.npz"):
        run.run(small(**config | {"dataset": spelling}), tmp_path / "run")
    assert contents(tmp_path / "run") == before
    images[0, 0, 0] ^= 1
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    with pytest.raises(ConfigError, match="data_sha256"):
        run.run(small(**config | {"num_seeds": 3}), tmp_path / "run")


def terminate_in(epoch, monkeypatch):
    """SIGTERM as that epoch begins; returns a list that grows by one with each epoch."""
    original, epochs = replicas.train_epoch, []

    def train_epoch(*arguments):
        epochs.append(1)
        if len(epochs) == epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(replicas, "train_epoch", train_epoch)
    return epochs


def test_interrupted_and_resumed_is_bitwise_the_uninterrupted_run(finished, tmp_path, monkeypatch):
    """SIGTERM in epoch 3: a checkpoint at once, and the same files in the end."""
    epochs = terminate_in(3, monkeypatch)
    with pytest.raises(stop.Interrupted, match="after epoch 3"):
        run.run(small(), tmp_path / "run")
    assert not (tmp_path / "run" / "embeddings").exists()
    run.run(small(), tmp_path / "run")
    assert len(epochs) == 4
    assert contents(tmp_path / "run") == contents(finished)


@pytest.mark.thorough
def test_best_valid_keeps_the_epoch_of_the_best_validation_elbo(tmp_path, monkeypatch):
    """Interrupted and resumed; the kept parameters are those of a run that ends at that epoch."""
    # A large step makes the validation ELBO rise and fall.
    changes = {"learning_rate": 1.0, "num_epochs": 6, "num_seeds": 2}
    config = small("mvae,3,paper", select="best_valid", **changes)
    terminate_in(4, monkeypatch)
    with pytest.raises(stop.Interrupted):
        run.run(config, tmp_path / "run")
    run.run(config, tmp_path / "run")
    selected = {}
    for seed in (777, 778):
        curve = [line["valid_elbo"] for line in log(tmp_path / "run", seed)]
        selected[seed] = done(tmp_path / "run")[f"seed_{seed}"]["selected_epoch"]
        assert selected[seed] == 1 + int(np.argmax(curve))
    assert min(selected.values()) < 6  # or the test shows nothing

    seed, epoch = min(selected.items(), key=lambda item: item[1])
    short = small("mvae,3,paper", **(changes | {"num_epochs": epoch}))
    run.run(short, tmp_path / "short")
    _, kept = mvae_jax.load(tmp_path / "run", seed)
    _, last = mvae_jax.load(tmp_path / "short", seed)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_changed_config_is_refused_and_nothing_changes(folder):
    before = contents(folder)
    with pytest.raises(ConfigError, match=r"hidden_size \(8 stored, 9.*learning_rate"):
        run.run(small(hidden_size=9, learning_rate=0.1), folder)
    with pytest.raises(ConfigError, match="num_seeds"):
        run.run(small(num_seeds=1), folder)
    assert contents(folder) == before


def test_a_field_that_changes_no_number_refuses_no_resume(folder):
    before = contents(folder)
    harmless = {"checkpoint_every": 3, "keep_embeddings": False, "tag": "other"}
    run.run(small(seeds_per_program="1", **harmless), folder)
    stored = config_file.read(folder / "config.json", sealed=True)
    assert {field: stored[field] for field in harmless} == harmless
    after = contents(folder)
    assert after.pop("config.json") != before.pop("config.json")
    assert after == before


def test_more_epochs_go_on_from_the_last(folder, tmp_path):
    run.run(small(num_epochs=6), folder)
    run.run(small(num_epochs=6), tmp_path / "at_once")
    assert contents(folder) == contents(tmp_path / "at_once")


@pytest.mark.thorough
def test_more_seeds_train_the_new_ones_alone(folder, monkeypatch):
    before = contents(folder)
    trained = []
    original = replicas.init
    monkeypatch.setattr(replicas, "init", lambda c, s: trained.append(list(s)) or original(c, s))
    run.run(small(num_seeds=4), folder)
    assert trained == [[779, 780]]
    after = contents(folder)
    for name in before:
        if name.startswith(("embeddings", "model", "pictures")):
            assert after[name] == before[name]
    # Seed 779 is the one that it would have been in a run of its own.
    run.run(small(first_seed=779, num_seeds=1), folder.parent / "alone")
    name = "model/seed_779.npz"
    with np.load(folder / name) as ours, np.load(folder.parent / "alone" / name) as alone:
        for array in ours.files:
            np.testing.assert_allclose(ours[array], alone[array], rtol=1e-3, atol=1e-5)
    # And more epochs then carry both cohorts on.
    run.run(small(num_seeds=4, num_epochs=5), folder)
    assert {record["epoch"] for record in done(folder).values()} == {5}


EPOCHS = 400


LONG = {"num_epochs": EPOCHS, "checkpoint_every": 40}


def command(folder, *extra):
    flags = [f"--config.{name}={value}" for name, value in (SMALL | LONG).items()]
    config = "--config=configs/digits.py:mvae,3"
    return [sys.executable, "-m", "mvae_jax.main", config, *flags, f"--workdir={folder}", *extra]


@pytest.mark.thorough
def test_killed_at_random_moments_ends_as_if_never_killed(tmp_path):
    """kill -9 behind a checkpoint, twice; then the same command: all bitwise equal, and a table."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    moments = random.Random(0)
    seen: set[str] = set()
    for _ in range(2):
        process = subprocess.Popen(
            command(killed), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        new: set[str] = set()
        while not new - seen and time.monotonic() < deadline:
            new = {p.name for p in killed.glob("checkpoints/*/*.json")}
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        seen |= new
    assert seen  # killed behind a checkpoint
    assert not (killed / "metrics.json").exists()  # and before the end
    outputs = [
        subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True)
        for folder in (killed, whole)
    ]
    for ended in outputs:
        assert ended.returncode == 0, ended.stderr
        assert "accuracy (linear probe)" in ended.stdout
        assert f"epoch {EPOCHS}/{EPOCHS}, ELBO -" in ended.stderr
    assert f"epoch {EPOCHS // 10}/" in outputs[1].stderr
    assert f"epoch {EPOCHS // 10}/" not in outputs[0].stderr  # it did not begin anew
    found, expected = contents(killed), contents(whole)
    assert found == expected
    assert any(name.startswith("embeddings/") for name in found)
    assert "metrics.json" in found
    assert (killed / "report" / "tables.tex").is_file()
