"""The run folder: resume, refusal, more epochs, more seeds, failed seeds; and the two stages."""

import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

import mvae_jax
from mvae_jax import config as config_lib
from mvae_jax import inference, model, replicas
from mvae_jax.config import ConfigError
from mvae_jax.runs import checkpoint, run, stop
from mvae_jax.runs.checkpoint import CheckpointError
from mvae_jax.runs.workdir import LockedError, RunError, Workdir, lock, log_time
from mvae_jax.store import config_file, files, json_file
from mvae_jax.store.status import time_summary
from tests.conftest import ROOT

SMALL = {
    "hidden_size": 8,
    "batch_size": 500,
    "num_epochs": 4,
    "num_seeds": 2,
    "seed_mode": "vmap",
    "checkpoint_every": 2,
}


def small(argument="mvae,3", **fields) -> FrozenConfigDict:
    config = config_lib.base_config("digits", argument)
    config.update(SMALL | fields)
    return config_lib.validate(config)


TIMES = "timing.jsonl"


def contents(folder):
    """Returns the SHA-256 of every file that must be bitwise equal."""
    varying = (TIMES, "environment.json")
    return {
        str(path.relative_to(folder)): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in varying
        and "done" not in path.parts  # which has the time of an epoch, and the others' SHA-256
        and "checkpoints" not in path.parts
        and "report" not in path.parts  # which shows times and paths
    }


def log(folder, seed):
    """Returns the lines of a seed's log."""
    text = (folder / "logs" / f"seed_{seed}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def done(folder):
    """Returns the records of the replicates that are done."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "done").iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two seeds and four epochs; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run.run(small(), folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


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


def test_a_second_process_is_refused_while_one_trains(folder):
    with (
        lock(Workdir(folder)),
        pytest.raises(LockedError, match=rf"process {os.getpid()} on \S+ is"),
    ):
        run.run(small(num_epochs=5), folder)


def test_saved_terms_and_embeddings_are_those_of_the_saved_model(finished):
    """Recomputed in numpy from model/ alone: the forward pass, the KL and the likelihood."""
    _, params = mvae_jax.load(finished, 777)
    from sklearn.datasets import load_digits

    arrays = np.load(finished / "embeddings" / "seed_777.npz", allow_pickle=False)
    x = np.round(load_digits().images * 255 / 16)[arrays["index_test"]].reshape(-1, 64) / 255
    layer = {name: params[name]["Dense_0"] for name in ("mean", "log_variance", "pixels")}
    for name in ("encoder", "decoder"):
        layer[name] = params[name]["layer_0"]["Dense_0"]

    def affine(name, inputs):
        return inputs @ np.float64(layer[name]["kernel"]) + np.float64(layer[name]["bias"])

    c = np.float64(params["coupling"])
    hidden = np.tanh(affine("encoder", x))
    mu, variance = affine("mean", hidden) @ c.T, np.exp(affine("log_variance", hidden))
    np.testing.assert_allclose(arrays["mu_test"], mu, atol=1e-5)
    covariance = np.einsum("ij,nj,kj->nik", c, variance, c)
    kl = 0.5 * (
        np.trace(covariance, axis1=1, axis2=2)
        + (mu**2).sum(axis=1)
        - 3
        - np.linalg.slogdet(covariance)[1]
    )
    np.testing.assert_allclose(arrays["kl_test"], kl, rtol=1e-4)

    logits = affine("pixels", np.tanh(affine("decoder", mu)))
    error = np.mean((x - 1 / (1 + np.exp(-logits))) ** 2, axis=1)
    np.testing.assert_allclose(arrays["squared_error_mean_test"], error, rtol=1e-4)
    # A sampled z reconstructs worse than the mean, on average, and its bound is finite.
    assert arrays["squared_error_sampled_test"].mean() > error.mean()
    assert np.isfinite(arrays["log_likelihood_test"]).all()
    assert (arrays["log_likelihood_test"] < 0).all()


def test_python_functions(finished):
    config, params = mvae_jax.load(finished, 777)
    images = jnp.zeros((5, 8, 8, 1), jnp.uint8)
    q = jax.jit(mvae_jax.encode, static_argnums=0)(config, params, images)
    for wrong in (images / 255, images[..., 0], images[:, :7]):
        with pytest.raises(ValueError, match=r"allowed: uint8 \[N, 8, 8, 1\]"):
            inspect.unwrap(mvae_jax.encode)(config, params, wrong)  # without the tests' type checks
    assert q.loc.shape == (5, 3)
    means = jax.jit(mvae_jax.decode, static_argnums=0)(config, params, q.loc)
    assert means.shape == (5, 8, 8, 1)
    draws = jax.jit(mvae_jax.sample_prior, static_argnums=(0, 3))(
        config, params, jax.random.key(0), 4
    )
    assert draws.shape == (4, 8, 8, 1)
    assert ((draws > 0) & (draws < 1)).all()
    with pytest.raises(FileNotFoundError, match="seed_777, seed_778"):
        mvae_jax.load(finished, 5)


@pytest.mark.parametrize("argument", ["mvae,3", "vae,3"])
def test_python_functions_refuse_what_is_of_no_model_or_of_another(folder, argument):
    config = config_lib.replace(small(argument), image_shape=(8, 8, 1), pixel_scale=1 / 255)
    params = model.init(config, jax.random.key(0))
    images, z = jnp.zeros((5, 8, 8, 1), jnp.uint8), jnp.zeros((4, 3))

    def answers(config):
        yield lambda: mvae_jax.encode(config, params, images)
        yield lambda: mvae_jax.decode(config, params, z)
        yield lambda: mvae_jax.sample_prior(config, params, jax.random.key(0), 4)

    q = mvae_jax.encode(config, params, images)
    assert hasattr(q, "coupling") == (config.model == "mvae")
    other = "vae" if config.model == "mvae" else "mvae"
    for name, reason in (
        ("pca", "got 'pca'; allowed: vae, mvae, triangular"),
        (other, f"'{other}'; take both"),
    ):
        for answer in answers(config_lib.replace(config, model=name)):
            with pytest.raises(ValueError, match=reason):
                answer()
    foreign = {"dataset": "digits", "protocol": "release", "model": "pca", "latent_size": 3}
    (folder / "config.json").write_text(json_file.dumps(foreign))
    with pytest.raises(ConfigError, match="'pca' was not trained by mvae_jax"):
        mvae_jax.load(folder, 777)


def test_python_functions_give_the_same_under_any_settings(finished, user_settings):
    config, params = mvae_jax.load(finished, 777)
    key, z = jax.random.key(0), np.random.default_rng(0).normal(size=(4, 3))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)

    def found():
        for wrap in (lambda f: f, partial(jax.jit, static_argnums=0)):
            yield wrap(mvae_jax.encode)(config, params, jnp.asarray(images)).loc
            yield wrap(mvae_jax.decode)(config, params, jnp.asarray(z))
        yield mvae_jax.sample_prior(config, params, jax.random.clone(key), 4)

    expected = list(found())
    with user_settings():
        others = list(found())
    for one, other in zip(expected, others, strict=True):
        assert other.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_interrupted_and_resumed_is_bitwise_the_uninterrupted_run(finished, tmp_path, monkeypatch):
    """SIGTERM in epoch 3: a checkpoint at once, and the same files in the end."""
    original, epochs = replicas.train_epoch, []

    def interrupting(*arguments):
        epochs.append(1)
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(replicas, "train_epoch", interrupting)
    with pytest.raises(stop.Interrupted, match="after epoch 3"):
        run.run(small(), tmp_path / "run")
    assert not (tmp_path / "run" / "embeddings").exists()
    run.run(small(), tmp_path / "run")
    assert len(epochs) == 4
    assert contents(tmp_path / "run") == contents(finished)


def test_best_valid_keeps_the_epoch_of_the_best_validation_elbo(tmp_path, monkeypatch):
    """Interrupted and resumed; the kept parameters are those of a run that ends at that epoch."""
    # A large step makes the validation ELBO rise and fall.
    changes = {"learning_rate": 1.0, "num_epochs": 6, "num_seeds": 2}
    config = small("mvae,3,paper", select="best_valid", **changes)
    original, epochs = replicas.train_epoch, []

    def interrupting(*arguments):
        epochs.append(1)
        if len(epochs) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(replicas, "train_epoch", interrupting)
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


def test_best_valid_needs_a_validation_split(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.select.*release.*no validation split"):
        run.run(small(select="best_valid"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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


# --- checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a[1]", "a*?", "a\\b", "gs:", "caf\udce9"])
def test_a_checkpoint_below_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "seed_1-2"
    state = {"values": np.arange(6.0)}
    for epoch in (3, 4, 5):
        checkpoint.save(folder, epoch, state, {"of": epoch})
    restored = checkpoint.restore(folder, {"values": np.zeros(6)})
    assert restored.epoch == 5
    assert restored.details == {"of": 5}
    np.testing.assert_array_equal(restored.state["values"], state["values"])
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["4", "4.json", "5", "5.json"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints, of epochs 3 and 4, and what restores them; copy it before changing it."""
    folder = tmp_path_factory.mktemp("saved") / "seed_0-1"
    states = replicas.to_host(replicas.init(small_resolved(), range(2)), 2)
    for epoch in (3, 4):
        checkpoint.save(folder, epoch, states._replace(step=states.step + epoch), {"of": epoch})
    return folder, states


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def damage_checkpoint(where, how):
    largest = max(where.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    if how == "flip":
        flip(largest)
    elif how == "truncate":
        largest.write_bytes(largest.read_bytes()[:100])
    elif how == "remove":  # as a removal that was cut off
        largest.unlink()
    elif how == "record":
        flip(where.with_name(f"{where.name}.json"))


@pytest.mark.parametrize("how", ["flip", "truncate", "remove", "record"])
def test_training_falls_back_to_the_good_checkpoint_before(saved, tmp_path, capsys, how):
    folder, states = shutil.copytree(saved[0], tmp_path / "seed_0-1"), saved[1]
    damage_checkpoint(folder / "4", how)
    found = checkpoint.restore(folder, states)
    assert found.epoch == 3
    assert found.state.step.tolist() == [3, 3]
    said = capsys.readouterr().err
    assert str(folder / "4") in said
    assert "going on from epoch 3" in said
    assert sorted(path.name for path in folder.iterdir()) == ["3", "3.json"]
    damage_checkpoint(folder / "3", how)
    with pytest.raises(CheckpointError, match=f"{folder / '3'}.*--overwrite"):
        checkpoint.restore(folder, states)
    assert (folder / "3").is_dir()


def test_a_checkpoint_without_its_record_is_not_whole(saved, tmp_path):
    folder = shutil.copytree(saved[0], tmp_path / "seed_0-1")
    (folder / "4.json").unlink()  # killed before it was written
    assert checkpoint.restore(folder, saved[1]).epoch == 3
    (folder / "3.json").unlink()
    assert checkpoint.restore(folder, saved[1]) is None
    checkpoint.save(folder, 2, saved[1], {})
    checkpoint.save(folder, 5, saved[1], {})
    assert sorted(path.name for path in folder.iterdir()) == ["2", "2.json", "5", "5.json"]


def test_a_damaged_log_falls_back_too(tmp_path, capsys):
    """Of the lines behind the earlier checkpoint; of those before it there is no way back."""
    folder = tmp_path / "run"
    config = small(num_epochs=4, checkpoint_every=1)
    original = checkpoint.prune
    with pytest.MonkeyPatch.context() as patch:  # as if killed before the seeds were embedded
        patch.setattr(checkpoint, "prune", lambda folder, keep: original(folder, 2))
        run.run(config, folder)
    before = contents(folder)
    shutil.rmtree(folder / "done")
    path = folder / "logs" / "seed_778.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b"7", b"8")]))
    run.run(config, folder)
    assert f"{path}: damaged" in capsys.readouterr().err
    assert contents(folder) == before
    shutil.rmtree(folder / "done")
    path.write_bytes(b"".join([lines[0].replace(b"7", b"8"), *lines[1:]]))
    with pytest.raises(CheckpointError, match="damaged"):
        run.run(config, folder)


def small_resolved():
    fields = {**small().to_dict(), "image_shape": (8, 8, 1), "pixel_scale": 1 / 255}
    return FrozenConfigDict(fields)


EPOCHS = 400
LONG = {"num_epochs": EPOCHS, "checkpoint_every": 40}


def command(folder, *extra):
    flags = [f"--config.{name}={value}" for name, value in (SMALL | LONG).items()]
    config = "--config=configs/digits.py:mvae,3"
    return [sys.executable, "-m", "mvae_jax.main", config, *flags, f"--workdir={folder}", *extra]


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
    for done in outputs:
        assert done.returncode == 0, done.stderr
        assert "accuracy (linear probe)" in done.stdout
        assert f"epoch {EPOCHS}/{EPOCHS}, ELBO -" in done.stderr
    assert f"epoch {EPOCHS // 10}/" in outputs[1].stderr
    assert f"epoch {EPOCHS // 10}/" not in outputs[0].stderr  # it did not begin anew
    found, expected = contents(killed), contents(whole)
    assert found == expected
    assert any(name.startswith("embeddings/") for name in found)
    assert "metrics.json" in found
    assert (killed / "report" / "tables.tex").is_file()


def test_the_seconds_are_summed_by_stage(tmp_path):
    events = [("data", 1), ("epoch", 5), ("epoch", 2), ("epoch", 2), ("data", 1), ("epoch", 4)]
    events += [("epoch", 2), ("embed", 3), ("import", 1), ("report", 2)]
    for event, seconds in events:
        log_time(Workdir(tmp_path), event, float(seconds))
    expected = "seconds: import 1.0, data 2.0, compile 5.0, train 10.0, embed 3.0, report 2.0"
    assert time_summary(tmp_path) == expected


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
