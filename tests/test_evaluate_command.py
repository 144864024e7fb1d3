"""The command and its roots: exit status, messages, processes, and damage beside good runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mvae_jax.evaluate import __main__, scoring
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files
from tests.conftest import ROOT
from tests.evaluated_runs import CONFIG, change, entries, values, write_run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_result_is_written_as_it_finishes(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run", seeds=(0, 1, 2))
    original, seen = scoring.score_replicate, []

    def watching(folder, name, *args):
        seen.append({n for n, entry in entries(folder).items() if "values" in entry})
        if name == "seed_2":
            raise KeyboardInterrupt
        return original(folder, name, *args)

    monkeypatch.setattr(scoring, "score_replicate", watching)
    with pytest.raises(KeyboardInterrupt):
        score([folder], jobs=1)
    assert seen == [set(), {"seed_0"}, {"seed_0", "seed_1"}]
    # An interrupted evaluation is not a complete one of fewer seeds.
    assert "not scored yet" in entries(folder)["seed_2"]["failed"]


def test_processes_give_what_one_gives(scored, tmp_path, capsys):
    folders = [write_run(tmp_path / name) for name in ("a", "b")]
    assert score([tmp_path], jobs=2)
    for folder in folders:
        for name, entry in entries(folder).items():
            expected = values(entries(scored)[name])
            assert values(entry) == pytest.approx(expected, abs=1e-6)
    assert "[4/4]" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["", "/", "/tmp/..", ["/"], Path("/")])
def test_nobody_searches_the_root_by_accident(path):
    with pytest.raises(ValueError, match="path: got"):
        score(path)
    with pytest.raises(ValueError, match="path: got"):
        files.find_runs(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "does not exist"),
        ("{", "not readable"),
        ("[]", "holds no object"),
        (json.dumps(CONFIG | {"latent_size": "4"}), "'latent_size' is '4'; write int there"),
        (json.dumps(CONFIG | {"latent_size": True}), "'latent_size' is True"),
        (json.dumps({"dataset": "blobs"}), "'protocol' is missing; write str there"),
        (json.dumps(CONFIG | {"batch_size": 0}), "'batch_size' is 0; write an integer"),
    ],
)
def test_a_bad_config_fails_its_run_and_no_other(run, tmp_path, capsys, config, message):
    other = write_run(tmp_path / "other", seeds=(0,))
    (other / "config.json").unlink()
    if config is not None:
        (other / "config.json").write_text(config)
    assert not score([tmp_path], jobs=1)
    assert message in capsys.readouterr().err
    assert not (other / "metrics.json").exists()


WITHOUT_JAX = """
import runpy, sys

class Refuse:
    def find_spec(self, name, *_):
        if name in ("jax", "jaxlib", "flax", "optax", "orbax"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_module("mvae_jax.evaluate", run_name="__main__")
"""


def command(*args):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, "evaluate", *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_the_command_runs_without_jax_and_says_how_it_went(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "run")
    done = command(tmp_path, "--jobs=1")
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stderr
    assert set(values(entries(folder)["seed_0"])) == METRICS.keys()
    change(folder, 0, mu_test=None)
    monkeypatch.setattr(sys, "argv", ["evaluate", str(folder), "--jobs=1"])
    assert __main__.main() == 1
    said = capsys.readouterr().err
    assert "seed_0: failed:" in said
    assert "mu_test is missing" in said


def test_an_empty_root_is_no_success(tmp_path, capsys):
    assert not score([tmp_path])
    assert "no folder with embeddings/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "got 'nowhere', which is no folder"),
        ([".", "--jobs=0"], "--jobs: got 0"),
        ([".", "--metric=nowhere.mine"], "--metric: got 'nowhere.mine', which does not import"),
    ],
)
def test_usage(args, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate", *args])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "manifest", [{"replicates": {"seed_0": 3}, "sha256": {}}, {"replicates": {"seed_0": {}}}]
)
def test_a_damaged_manifest_fails_its_run_and_no_other(tmp_path, capsys, manifest):
    bad, good = write_run(tmp_path / "bad"), write_run(tmp_path / "good", seeds=(0,))
    files.write_text(bad / "manifest.json", json.dumps(manifest))
    assert not score([tmp_path], jobs=1)
    assert "failed" not in entries(good)["seed_0"]
    assert str(bad / "manifest.json") in capsys.readouterr().err


def test_an_empty_path_beside_a_good_one(tmp_path, capsys):
    run = write_run(tmp_path / "run", seeds=(0,))
    (tmp_path / "empty").mkdir()
    assert not score([run, tmp_path / "empty"], jobs=1)
    assert f"at or below {tmp_path / 'empty'}" in capsys.readouterr().err
    assert "failed" not in entries(run)["seed_0"]
