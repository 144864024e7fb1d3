"""Evaluation again: what is scored, what is kept, what is stale, and nothing is destroyed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mvae_jax.evaluate import plan, probe, scoring
from mvae_jax.evaluate.metrics import METRICS, settings
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, metrics_file
from tests.conftest import ROOT
from tests.evaluated_runs import (
    CONFIG,
    NUM_TEST,
    arrays,
    change,
    coupling,
    entries,
    pictures,
    poison,
    reasons,
    unsealed,
    values,
    write_manifest,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_rerun_scores_nothing_and_changes_nothing(run, calls):
    before = (run / "metrics.json").read_bytes()
    assert score([run], jobs=1)
    assert calls == []
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("room", "changed", "metric"),
    [
        ("embeddings", arrays(1) | {"kl_test": np.ones(NUM_TEST)}, "kl"),
        ("model", coupling(7), "redundancy_index"),
        ("pictures", pictures(7), "mse_first_48"),
    ],
)
def test_a_rerun_scores_what_changed(run, calls, room, changed, metric):
    before = entries(run)
    files.write_npz(run / room / "seed_1.npz", changed)
    assert score([run], jobs=1)
    assert calls == ["seed_1"]
    after = entries(run)
    assert after["seed_0"] == before["seed_0"]
    assert values(after["seed_1"])[metric] != values(before["seed_1"])[metric]


@pytest.mark.parametrize("room", ["model", "pictures"])
@pytest.mark.parametrize("changed", [True, False])
def test_a_file_that_goes_takes_no_score_along(run, calls, changed, room):
    before = entries(run)["seed_0"]
    if changed:  # so that it has to be scored again
        files.write_text(run / "config.json", json.dumps(CONFIG | {"batch_size": 7}))
    (run / room / "seed_0.npz").unlink()
    assert score([run], jobs=1)
    assert calls == (["seed_0", "seed_1"] if changed else [])
    after = entries(run)["seed_0"]
    assert set(values(after)) == set(values(before))
    assert reasons(after) == reasons(before)
    of_file = "redundancy_index" if room == "model" else "mse_first_48"
    assert values(after)[of_file] == values(before)[of_file]
    assert after[f"sha256_{room}"] == before[f"sha256_{room}"]


def forget(run, *splits, versions=None):
    """Takes the metrics over these splits out of metrics.json, as of a version without them."""
    content = metrics_file.read(run / "metrics.json")
    for entry in content["replicates"]:
        entry["values"] = [row for row in entry["values"] if row["split"] not in splits]
        entry["versions"] = versions or entry["versions"]
        del entry["sha256_pictures"]
    metrics_file.write(run / "metrics.json", content)


def test_what_an_earlier_version_did_not_know_is_all_that_is_computed(run, calls, monkeypatch):
    before = (run / "metrics.json").read_bytes()
    forget(run, "run", "pictures")
    monkeypatch.setattr(probe, "fit", None)  # nothing is fitted again
    plan.plan(run)  # which is all that an interrupted evaluation does
    assert not any("stale" in entry for entry in entries(run).values())
    assert score([run], jobs=1)
    assert calls == ["seed_0", "seed_1"]
    assert (run / "metrics.json").read_bytes() == before


def test_a_value_that_is_kept_says_by_which_versions_it_was_computed(run):
    forget(run, "run", "pictures", versions={"numpy": "1.0"})
    assert score([run], jobs=1)
    entry = entries(run)["seed_0"]
    assert entry["versions"] == scoring.VERSIONS
    of_value = {row["metric"]: row.get("versions") for row in entry["values"]}
    assert of_value["probe_nll"] == {"numpy": "1.0"}
    assert of_value["num_parameters"] is None


def test_pictures_that_come_later_are_scored(run, calls):
    path = run / "pictures" / "seed_0.npz"
    path.rename(run / "elsewhere.npz")
    (run / "metrics.json").unlink()
    assert score([run], jobs=1)
    assert "mse_first_48" in reasons(entries(run)["seed_0"])
    (run / "elsewhere.npz").rename(path)
    calls.clear()
    assert score([run], jobs=1)
    assert calls == ["seed_0"]
    assert not reasons(entries(run)["seed_0"])


def test_a_rerun_scores_all_under_other_settings(run, calls):
    config = CONFIG | {"batch_size": 7}
    files.write_text(run / "config.json", json.dumps(config))
    assert score([run], jobs=1)
    assert calls == ["seed_0", "seed_1"]


@pytest.mark.parametrize("damage", ["version", "text", "metric"])
def test_a_rerun_scores_all_of_another_version(run, calls, damage):
    path = run / "metrics.json"
    content = unsealed(path)
    if damage == "version":
        content["version"] = 0
    elif damage == "metric":  # as of a version that had fewer
        for entry in content["replicates"]:
            del entry["values"][0]
    path.write_text("{" if damage == "text" else json.dumps(content))
    assert score([run], jobs=1)
    assert calls == ["seed_0", "seed_1"]
    assert set(values(entries(run)["seed_0"])) == METRICS.keys()


def test_embeddings_go_once_all_are_scored_and_the_scores_stay(run, calls):
    files.write_text(run / "config.json", json.dumps(CONFIG | {"keep_embeddings": False}))
    before = entries(run)
    change(run, 1, kl_test=poison("kl_test")["kl_test"])
    assert not score([run], jobs=1)
    assert len(plan.embedding_files(run)) == 2  # a failed seed keeps them all
    change(run, 1)
    assert score([run], jobs=1)
    assert plan.embedding_files(run) == []
    assert score([run], jobs=1)
    assert entries(run) == before
    assert calls == ["seed_1"]  # the file that was scored is back, and its scores are kept


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("damage", ["settings", "version"])
def test_scores_are_never_lost_with_the_embeddings(run, capsys, damage, kept):
    files.write_text(run / "config.json", json.dumps(CONFIG | {"keep_embeddings": kept}))
    assert score([run], jobs=1)
    shutil.rmtree(run / "embeddings")
    (run / "embeddings").mkdir()
    path = run / "metrics.json"
    content = unsealed(path)
    content |= {"version": 0} if damage == "version" else {"settings": {}}
    path.write_text(json.dumps(content))
    assert not score([run], jobs=1)
    assert json.loads(path.read_text()) == content
    assert "the embeddings are gone" in capsys.readouterr().err


@pytest.mark.parametrize("one", [str, Path, lambda path: [path]])
def test_an_archive_keeps_its_scores(tmp_path, capsys, one):
    copy = shutil.copytree(ROOT / "launch/results", tmp_path / "archive")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert score(one(copy))
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    said = capsys.readouterr().err
    assert said == f"{copy}: an archive of scores, which are kept as they are\n"


@pytest.mark.parametrize("one", [str, Path, lambda path: [path]])
def test_a_run_whose_arrays_are_gone_keeps_its_scores(run, capsys, one):
    assert score([run], jobs=1)
    shutil.rmtree(run / "embeddings")
    (run / "embeddings").mkdir()
    before = (run / "metrics.json").read_bytes()
    capsys.readouterr()
    assert score(one(run))
    assert (run / "metrics.json").read_bytes() == before
    assert "kept as they were, because their embeddings are gone" in capsys.readouterr().err


def test_scores_of_other_settings_are_kept_under_their_own(run, calls):
    (run / "embeddings" / "seed_0.npz").unlink()
    before = entries(run)["seed_0"]
    for batch_size in (7, 8, 7):
        files.write_text(run / "config.json", json.dumps(CONFIG | {"batch_size": batch_size}))
        assert score([run], jobs=1)
        found = metrics_file.read(run / "metrics.json")
        kept, rescored = found["replicates"]
        assert values(kept) == values(before)
        of_elbo = {
            entry["replicate"]: found["settings"][row["settings"][0]]["batch_size"]
            for entry in (kept, rescored)
            for row in entry["values"]
            if row["metric"] == "elbo_release"
        }
        assert of_elbo == {"seed_0": 100, "seed_1": batch_size}
    assert calls == ["seed_1"] * 3
    assert len(found["settings"]) == 1 + len(settings(CONFIG))


@pytest.mark.parametrize("change", ["failed", "trained on"])
def test_scores_that_training_has_left_behind_are_stale(run, capsys, change):
    write_manifest(run, {"seed_0": {"seed": 0, "epoch": 9}, "seed_1": {"seed": 1, "epoch": 9}})
    (run / "embeddings" / "seed_0.npz").unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["sha256"]["embeddings/seed_0.npz"] = "0" * 64
    if change == "failed":
        manifest["replicates"]["seed_0"]["failed"] = "kl was nan"
    files.write_text(run / "manifest.json", json.dumps(manifest))
    before = entries(run)["seed_0"]
    assert not score([run], jobs=1)
    after = entries(run)["seed_0"]
    assert ("kl was nan" if change == "failed" else "train again") in after.pop("stale")
    assert after == before
    assert "stale" in capsys.readouterr().err
    write_manifest(run, {})
    assert score([run], jobs=1)
    assert entries(run)["seed_0"] == before


def test_a_metric_of_the_users_own_survives_new_scores(run, calls):
    content = metrics_file.read(run / "metrics.json")
    own = content["replicates"][0]["values"][0] | {"metric": "their_own", "value": 7.0}
    content["replicates"][0]["values"].append(own)
    metrics_file.write(run / "metrics.json", content)
    (run / "model" / "seed_0.npz").unlink()
    files.write_npz(run / "model" / "seed_0.npz", coupling(7))
    assert score([run], jobs=1)
    assert calls == ["seed_0"]
    assert values(entries(run)["seed_0"])["their_own"] == 7.0


def test_two_evaluations_at_once_keep_the_newer_scores(run):
    """Each has planned before the other wrote; both have older scores of the other's replicate."""
    for seed in (0, 1):
        change(run, seed, kl_test=np.full(NUM_TEST, 5.0))
    plans = [plan.plan(run) for _ in range(2)]
    for planned, name in zip(plans, ("seed_1", "seed_0"), strict=True):
        plan.take(planned, name, scoring.score_replicate(run, name, CONFIG))
    found = entries(run)
    assert [values(found[name])["kl"] for name in ("seed_0", "seed_1")] == [5.0, 5.0]
    assert not any("stale" in entry for entry in found.values())


def test_scores_of_another_model_are_not_relabelled(run, capsys):
    before = (run / "metrics.json").read_bytes()
    files.write_text(run / "config.json", json.dumps(CONFIG | {"model": "vae"}))
    assert not score([run], jobs=1)
    assert "model is 'pca', in config.json 'vae'" in capsys.readouterr().err
    assert (run / "metrics.json").read_bytes() == before
