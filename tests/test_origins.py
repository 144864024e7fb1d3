"""What decides numbers besides the configuration: recorded, refused on resume, or fixed."""

import shutil

import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import sources
from mvae_jax.config import ConfigError
from mvae_jax.runs import checkpoint, environment, run
from mvae_jax.store import origins, run_folder

FAMILY = ("mvae_jax.posteriors.mvae", "mvae_jax.likelihoods")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Returns a function: fields -> the configuration of a run that takes a moment."""
    path = tmp_path_factory.mktemp("data") / "own.npz"
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.savez(path, images=images)
    small = {"dataset": str(path), "hidden_size": 4, "batch_size": 30, "iwae_samples": 0}
    small |= {"num_seeds": 1, "num_epochs": 2, "seed_mode": "map"}

    def make(**fields) -> FrozenConfigDict:
        made = config_lib.base_config("digits", "mvae,2")
        made.update(small | fields)
        return config_lib.validate(made)

    return make


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run.run(config(), folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def edited(monkeypatch):
    """The sources as they are after an edit of model.py."""
    other = sources.hashes(FAMILY) | {"mvae_jax/model.py": "0" * 16}
    monkeypatch.setattr(sources, "hashes", lambda extra=(): other)


def origins_of(folder):
    """Returns the identifiers that each replicate's record has, and those of the folder."""
    replicates = run_folder.read_manifest(folder)["replicates"]
    return {name: r["origins"] for name, r in replicates.items()}, set(origins.read(folder))


def test_every_replicate_and_checkpoint_says_what_trained_it(finished):
    replicates, known = origins_of(finished)
    (origin,) = known
    assert replicates == {"seed_777": [origin]}
    details = checkpoint.newest_details(finished / "checkpoints" / "seed_777-777")
    assert details["origins"] == [origin]
    assert origins.read(finished)[origin]["sources"] == sources.hashes(FAMILY)


def test_a_run_of_other_sources_goes_on_only_if_told_to(folder, config, edited, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    for more in ({"num_seeds": 2}, {"num_epochs": 3}):
        with pytest.raises(ConfigError, match=r"mvae_jax/model\.py\); restore.*--accept_changes"):
            run.run(config(**more), folder)
    for path, text in before.items():
        assert path.read_bytes() == text
    run.run(config(num_epochs=3, num_seeds=2), folder, accept_changes=True)
    assert "mvae_jax/model.py" in capsys.readouterr().err
    replicates, known = origins_of(folder)
    assert len(known) == 2
    assert set(replicates["seed_777"]) == known
    assert len(replicates["seed_778"]) == 1


def test_a_finished_run_of_other_sources_says_so(folder, config, edited, capsys):
    run.run(config(), folder)
    assert "mvae_jax/model.py" in capsys.readouterr().err


def test_another_compiler_flag_is_refused_and_another_machine_told(
    folder, config, monkeypatch, capsys
):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true --xla_dump_to=x")
    with pytest.raises(ConfigError, match=r"XLA_FLAGS \(.* and '--xla_cpu_enable_fast_math=true'"):
        run.run(config(num_seeds=2), folder)
    monkeypatch.undo()
    elsewhere = environment.origin(config()) | {"device": "H100"}
    monkeypatch.setattr(environment, "origin", lambda config: elsewhere)
    run.run(config(num_epochs=3), folder)
    assert "another device ('cpu' and 'H100')" in capsys.readouterr().err


def test_a_user_s_settings_change_no_number(finished, config, tmp_path, user_settings):
    with user_settings():
        run.run(config(), tmp_path / "run")
    for name in ("embeddings", "model", "pictures"):
        paths = [folder / name / "seed_777.npz" for folder in (finished, tmp_path / "run")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_comments_and_docstrings_do_not_change_the_hash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    texts = {
        "one": 'def f(x):\n    """Doubles."""\n    return 2 * x  # twice\n',
        "two": "def f(x):\n    return (2 * x)\n",
        "three": "def f(x):\n    return 3 * x\n",
    }
    found = {}
    for name, text in texts.items():
        package = tmp_path / f"family_{name}"
        package.mkdir()
        (package / "__init__.py").write_text("from . import inner\n")
        (package / "inner.py").write_text(text)
        found[name] = sources.hashes([f"family_{name}"])[f"family_{name}/inner.py"]
    assert found["one"] == found["two"] != found["three"]


def test_the_hashed_files_are_those_that_train_and_embed():
    names = {name.rpartition(".")[2] for name in sources.modules(FAMILY)}
    assert {"replicas", "train", "elbo", "model", "embed", "likelihoods"} <= names
    assert {"mvae", "inverse"} <= names
    assert "vae" not in names
    assert not {"config", "files", "run", "cohort", "evaluate", "mvae_jax"} & names
