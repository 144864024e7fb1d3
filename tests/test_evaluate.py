"""Run folders in, metrics.json out: what is scored, kept, scored again, and refused."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, normalized_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvae_jax.evaluate import embeddings, plan, replicate, scoring
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, metrics_file, npz, seal
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")

LATENT_SIZE = 4
NUM_TEST = 60
CONFIG = {"dataset": "blobs", "protocol": "release", "model": "pca", "latent_size": LATENT_SIZE}


def arrays(seed=0, num_classes=3):
    """Everything that an embeddings file can hold."""
    rng = np.random.default_rng(seed)
    found = {}
    for split, n in (("train", 150), ("test", NUM_TEST)):
        found[f"label_{split}"] = np.arange(n, dtype=np.int32) % num_classes
        centres = 2 * np.eye(num_classes, LATENT_SIZE)[found[f"label_{split}"]]
        found[f"mu_{split}"] = (centres + rng.normal(size=(n, LATENT_SIZE))).astype(np.float32)
        found[f"index_{split}"] = np.arange(n)
    for name in embeddings.PER_EXAMPLE:
        found[f"{name}_test"] = rng.normal(size=NUM_TEST).astype(np.float32)
    return found | {"iwae_k": np.asarray(8), "seed": np.asarray(seed)}


def coupling(seed=0):
    return {"params/coupling": np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)}


def write_run(folder, seeds=(0, 1), **config):
    files.write_text(folder / "config.json", json.dumps(CONFIG | config))
    for seed in seeds:
        files.write_npz(folder / "embeddings" / f"seed_{seed}.npz", arrays(seed))
        files.write_npz(folder / "model" / f"seed_{seed}.npz", coupling(seed))
    return folder


def write_manifest(folder, replicates):
    paths = [*folder.glob("embeddings/*.npz"), *folder.glob("model/*.npz")]
    digests = {str(path.relative_to(folder)): files.sha256(path) for path in paths}
    content = {"version": 1, "replicates": replicates, "sha256": digests}
    files.write_text(folder / "manifest.json", json.dumps(content))


def change(folder, seed, /, **changed):
    """Rewrites a seed's embeddings; None takes an array out."""
    kept = {name: a for name, a in (arrays(seed) | changed).items() if a is not None}
    files.write_npz(folder / "embeddings" / f"seed_{seed}.npz", kept)


def entries(folder):
    found = metrics_file.read(folder / "metrics.json")["replicates"]
    return {entry["replicate"]: entry for entry in found}


def unsealed(path):
    """Returns a file's content without its digest, to be changed."""
    content = json.loads(path.read_text())
    del content[seal.FIELD]
    return content


def values(entry):
    return {row["metric"]: row["value"] for row in entry["values"]}


def reasons(entry):
    return {row["metric"]: row["reason"] for row in entry["absent"]}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run of two seeds, scored; tests copy it before they change it."""
    folder = write_run(tmp_path_factory.mktemp("scored") / "run")
    assert score([folder], jobs=1)
    return folder


@pytest.fixture
def run(scored, tmp_path):
    return shutil.copytree(scored, tmp_path / "run")


# --- what is written ---------------------------------------------------------------------------


def test_every_metric_has_a_value_that_says_where_it_comes_from(scored):
    content = metrics_file.read(scored / "metrics.json")
    assert content["version"] == metrics_file.VERSION
    assert {field: content[field] for field in CONFIG} == CONFIG
    assert [entry["seed"] for entry in content["replicates"]] == [0, 1]
    for entry in content["replicates"]:
        assert [row["metric"] for row in entry["values"]] == replicate.metric_names()
        assert entry["absent"] == []
        path = f"{entry['replicate']}.npz"
        assert entry["sha256"] == files.sha256(scored / "embeddings" / path)
        assert entry["sha256_model"] == files.sha256(scored / "model" / path)
        for row in entry["values"]:
            of_c = row["metric"] == "redundancy_index"
            assert (row["split"], row["n"]) == (("model", 12) if of_c else ("test", NUM_TEST))
            assert row["seed"] == entry["seed"]
    used = {name for row in entry["values"] for name in row["settings"]}
    assert used == set(content["settings"])


def test_values_are_those_of_the_arrays(scored):
    held, found = arrays(1), values(entries(scored)["seed_1"])
    elbo = held["log_likelihood_test"].astype(float) - held["kl_test"]
    assert found["elbo"] == pytest.approx(elbo.mean())
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"])
    assert found["iwae"] == pytest.approx(held["iwae_test"].mean())
    assert found["iwae_k"] == 8
    assert found["mse"] == pytest.approx(held["squared_error_sampled_test"].mean())
    assert found["mse_mean"] == pytest.approx(held["squared_error_mean_test"].mean())
    assert found["brier_halved"] == found["brier"] / 2
    assert found["probe_converged"] == 1
    assert found["active_units"] == LATENT_SIZE


def test_standardised_metrics_do_not_depend_on_the_coordinates_scales(run):
    before = values(entries(run)["seed_0"])
    scale = np.array([1, 1e-2, 30, 5], np.float32)
    held = arrays(0)
    change(run, 0, mu_train=held["mu_train"] * scale, mu_test=held["mu_test"] * scale)
    assert score([run], jobs=1)
    after = values(entries(run)["seed_0"])
    for name in before:
        if name.endswith(replicate.STANDARDISED):
            assert after[name] == pytest.approx(before[name], abs=1e-4), name
    assert abs(after["probe_nll"] - before["probe_nll"]) > 1e-3
    assert abs(after["nmi"] - before["nmi"]) > 1e-3


def test_standardised_metrics_are_scikit_learns(scored):
    """The probe by the training split's moments, k-means by the test split's own."""
    held, found = arrays(0), values(entries(scored)["seed_0"])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=10_000))
    pipeline.fit(held["mu_train"], held["label_train"])
    nll = log_loss(held["label_test"], pipeline.predict_proba(held["mu_test"]))
    assert found["probe_nll_standardised"] == pytest.approx(nll, abs=1e-5)
    x = StandardScaler().fit_transform(held["mu_test"].astype(float))
    clusters = KMeans(3, n_init=10, random_state=0).fit_predict(x)
    nmi = normalized_mutual_info_score(held["label_test"], clusters)
    assert found["nmi_standardised"] == pytest.approx(nmi)


def test_curves_add_up(scored):
    entry = entries(scored)["seed_0"]
    found, curves = values(entry), entry["curves"]
    for suffix in ("", replicate.STANDARDISED):
        curve = curves[f"reliability{suffix}"]
        assert sum(curve["examples"]) == curve["n"] == NUM_TEST
        gap = sum(
            n * abs(confidence - accuracy)
            for n, confidence, accuracy in zip(
                curve["examples"], curve["confidence"], curve["accuracy"], strict=True
            )
            if n
        )
        assert gap / NUM_TEST == pytest.approx(found[f"ece_fixed{suffix}"], abs=1e-5)
    spectrum = curves["covariance_eigenvalues"]["eigenvalue"]
    total = np.trace(np.cov(arrays(0)["mu_test"], rowvar=False))
    assert sum(spectrum) == pytest.approx(total, rel=1e-4)
    assert spectrum == sorted(spectrum, reverse=True)


def test_text_has_a_line_per_value(scored):
    text = (scored / "metrics.json").read_text()
    row = entries(scored)["seed_0"]["values"][0]
    assert f"    {json.dumps(row)},\n" in text


# --- rerun -------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """The names of the replicates that are scored from here on."""
    names = []
    original = scoring.score_replicate

    def recording(folder, name, *args):
        names.append(name)
        return original(folder, name, *args)

    monkeypatch.setattr(scoring, "score_replicate", recording)
    return names


def test_a_rerun_scores_nothing_and_changes_nothing(run, calls):
    before = (run / "metrics.json").read_bytes()
    assert score([run], jobs=1)
    assert calls == []
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("room", ["embeddings", "model"])
def test_a_rerun_scores_what_changed(run, calls, room):
    before = entries(run)
    path = run / room / "seed_1.npz"
    changed = arrays(1) | {"kl_test": np.ones(NUM_TEST)} if room == "embeddings" else coupling(7)
    files.write_npz(path, changed)
    assert score([run], jobs=1)
    assert calls == ["seed_1"]
    after = entries(run)
    assert after["seed_0"] == before["seed_0"]
    name = "kl" if room == "embeddings" else "redundancy_index"
    assert values(after["seed_1"])[name] != values(before["seed_1"])[name]


@pytest.mark.parametrize("changed", [True, False])
def test_a_model_file_that_goes_takes_no_score_along(run, calls, changed):
    before = entries(run)["seed_0"]
    if changed:  # so that it has to be scored again
        files.write_text(run / "config.json", json.dumps(CONFIG | {"batch_size": 7}))
    (run / "model" / "seed_0.npz").unlink()
    assert score([run], jobs=1)
    assert calls == (["seed_0", "seed_1"] if changed else [])
    after = entries(run)["seed_0"]
    assert set(values(after)) == set(values(before))
    assert reasons(after) == reasons(before)
    assert values(after)["redundancy_index"] == values(before)["redundancy_index"]


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
    assert set(values(entries(run)["seed_0"])) == set(replicate.metric_names())


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


# --- partial and bad input ---------------------------------------------------------------------


def test_a_foreign_run_needs_mu_test_only(tmp_path):
    folder = write_run(tmp_path / "run", seeds=())
    files.write_npz(folder / "embeddings" / "seed_3.npz", {"mu_test": arrays()["mu_test"]})
    assert score([folder], jobs=1)
    entry = entries(folder)["seed_3"]
    assert set(values(entry)) == {
        "active_units",
        "active_directions",
        "total_correlation",
        "off_diagonal_correlation",
    }
    found = reasons(entry)
    assert set(found) | set(values(entry)) == set(replicate.metric_names())
    assert found["elbo"] == "no per-example log_likelihood_test in the file"
    assert found["nmi"] == "the data set has no labels"


@pytest.mark.parametrize(
    ("missing", "absent", "reason"),
    [
        ({"kl_test"}, {"elbo", "log_likelihood", "kl", "elbo_release"}, "no per-example kl_test"),
        ({"iwae_test"}, {"iwae", "iwae_k"}, "no per-example iwae_test"),
        ({"squared_error_mean_test"}, {"mse_mean"}, "no per-example squared_error_mean_test"),
        (
            {"mu_train", "label_train"},
            {f"{m}{s}" for m in replicate.PROBE for s in ("", replicate.STANDARDISED)},
            "no mu_train in the file",
        ),
    ],
)
def test_what_a_file_lacks_is_absent_with_the_reason(tmp_path, missing, absent, reason):
    folder = write_run(tmp_path / "run", seeds=(0,))
    change(folder, 0, **dict.fromkeys(missing))
    assert score([folder], jobs=1)
    found = reasons(entries(folder)["seed_0"])
    assert set(found) == absent
    assert all(text.startswith(reason) for text in found.values())


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"label_test": np.full(NUM_TEST, 0)}, "the test labels are of one class"),
        ({"label_test": np.arange(NUM_TEST) % 5}, "test labels 3, 4 are not among the train ones"),
    ],
)
def test_labels_that_no_probe_can_learn(tmp_path, labels, reason):
    folder = write_run(tmp_path / "run", seeds=(0,))
    change(folder, 0, **labels)
    assert score([folder], jobs=1)
    assert reasons(entries(folder)["seed_0"])["probe_nll"] == reason


def test_collapsed_embeddings_are_scored(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,))
    flat = {
        f"mu_{split}": np.ones((n, 4), np.float32) for split, n in (("train", 150), ("test", 60))
    }
    change(folder, 0, **flat)
    assert score([folder], jobs=1)
    entry = entries(folder)["seed_0"]
    assert values(entry)["probe_accuracy"] == pytest.approx(1 / 3)
    assert values(entry)["probe_nll"] == pytest.approx(np.log(3))
    assert (values(entry)["active_units"], values(entry)["nmi"]) == (0, 0)
    assert "fewer than two coordinates vary" in reasons(entry)["total_correlation"]


def test_a_singular_correlation_is_absent_and_no_infinity(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,))
    mu = arrays(0)["mu_test"]
    mu[:, 1] = mu[:, 0]
    change(folder, 0, mu_test=mu)
    assert score([folder], jobs=1)
    assert reasons(entries(folder)["seed_0"]) == {"total_correlation": "the value is inf"}


def poison(name, row=3):
    array = arrays(0)[name].copy()
    array[row] = np.nan
    return {name: array}


BAD = {
    "mu_test is missing": {"mu_test": None},
    r"mu_train has shape \(150, 3\), not \[N, 4\]": {"mu_train": np.ones((150, 3))},
    r"mu_test has shape \(60,\)": {"mu_test": np.ones(60)},
    r"mu_test has shape \(0, 4\)": {"mu_test": np.ones((0, 4))},
    "mu_test is NaN or infinite in 1 of 60 rows": poison("mu_test"),
    "kl_test is NaN or infinite in 1 of 60 rows": poison("kl_test"),
    r"kl_test has shape \(59,\), not \[60\]": {"kl_test": np.ones(59)},
    r"label_test has shape \(61,\)": {"label_test": np.ones(61, int)},
    "label_test is float64, not integers": {"label_test": np.ones(60)},
    "label_test is up to 9223372036854775808": {"label_test": np.full(60, 2**63, np.uint64)},
    "mu_test is NaN or infinite in 60 of 60": {"mu_test": np.full((60, 4), np.longdouble("1e400"))},
    "label_train is missing": {"label_train": None},
    "mu_test is complex128": {"mu_test": np.ones((60, 4), complex)},
    "iwae_test needs iwae_k": {"iwae_k": None},
    "holds seed 5, not that of its name": {"seed": np.asarray(5)},
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_file_fails_its_replicate_and_no_other(run, capsys, message):
    change(run, 0, **BAD[message])
    assert not score([run], jobs=1)
    found = entries(run)
    assert "values" in found["seed_1"]
    failed = found["seed_0"]["stale"]
    assert "seed_0.npz" in failed
    assert "values" in found["seed_0"]
    with pytest.raises(FormatError, match=message):
        embeddings.read(run / "embeddings/seed_0.npz", run / "model/seed_0.npz", LATENT_SIZE)
    assert failed in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no zip", "truncated", "pickle"])
def test_an_unreadable_file_fails_its_replicate(run, content):
    path = run / "embeddings" / "seed_0.npz"
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-300])
    elif content == "pickle":
        np.savez(path, mu_test=np.array([{}], dtype=object))
    else:
        path.write_bytes(content)
    assert not score([run], jobs=1)
    said = "an array of Python objects" if content == "pickle" else "not a readable .npz of plain"
    assert said in entries(run)["seed_0"]["stale"]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 4)), r"is not square but \(3, 4\)"),
        (np.full((4, 4), np.inf), "NaN or infinite in 4 of 4"),
        (np.ones(4), r"has shape \(4,\)"),
    ],
)
def test_a_bad_coupling_fails_its_replicate(run, matrix, message):
    files.write_npz(run / "model" / "seed_0.npz", {"params/coupling": matrix})
    assert not score([run], jobs=1)
    with pytest.raises(FormatError, match=message):
        embeddings.read(run / "embeddings/seed_0.npz", run / "model/seed_0.npz", LATENT_SIZE)


def test_duplicates_of_a_seed_are_no_replicates(run, calls):
    folder = run / "embeddings"
    shutil.copy(folder / "seed_0.npz", folder / "seed_2.npz")  # the bytes of another seed
    files.write_npz(folder / "seed_01.npz", arrays(1) | {"kl_test": np.ones(NUM_TEST)})
    (folder / "last.npz").write_bytes((folder / "seed_1.npz").read_bytes() + b"\0")
    assert not score([run], jobs=1)
    found = entries(run)
    assert "values" in found["seed_0"]
    assert "has the bytes of seed_0.npz" in found["seed_2"]["failed"]
    for name, kind in {"seed_1": "stale", "seed_01": "failed"}.items():
        assert found[name][kind] == "seed_01 and seed_1 are of one seed; remove all but one"
    assert calls == []
    assert "the name is not seed_<n>.npz" in found["last"]["failed"]


def test_replicates_of_one_seed_and_other_swept_scalars_are_two(run):
    folder = run / "embeddings"
    swept = arrays(0) | {"kl_test": np.ones(NUM_TEST), "learning_rate": np.asarray(0.1)}
    files.write_npz(folder / "seed_0__learning_rate=0.1.npz", swept)
    assert score([run], jobs=1)
    assert entries(run)["seed_0__learning_rate=0.1"]["seed"] == 0


def test_what_training_lists_and_the_folder_lacks_is_failed(run):
    reason = "kl was inf in epoch 3"
    trained = {f"seed_{seed}": {"seed": seed, "epoch": 9} for seed in (0, 1, 2)}
    trained["seed_3"] = {"seed": 3, "epoch": 9, "failed": reason}
    files.write_text(run / "config.json", json.dumps(CONFIG | {"first_seed": 0, "num_seeds": 5}))
    write_manifest(run, trained)
    assert not score([run], jobs=1)
    found = entries(run)
    assert "embeddings/seed_2.npz is missing" in found["seed_2"]["failed"]
    assert found["seed_3"]["failed"] == reason
    assert "not trained yet" in found["seed_4"]["failed"]
    assert "values" in found["seed_0"]
    assert [entry["seed"] for entry in found.values()] == [0, 1, 2, 3, 4]


def test_a_file_that_training_did_not_write_is_failed(run):
    write_manifest(run, {f"seed_{seed}": {"seed": seed, "epoch": 9} for seed in (0, 1)})
    assert score([run], jobs=1)
    change(run, 1, kl_test=np.ones(NUM_TEST))
    assert not score([run], jobs=1)
    assert "not the file that training wrote" in entries(run)["seed_1"]["stale"]


def test_a_run_whose_seeds_all_failed_is_found(tmp_path):
    folder = tmp_path / "root" / "run"
    files.write_text(folder / "config.json", json.dumps(CONFIG))
    write_manifest(folder, {"seed_0": {"seed": 0, "epoch": 9, "failed": "kl was nan"}})
    assert not score([tmp_path / "root"], jobs=1)
    assert entries(folder)["seed_0"]["failed"] == "kl was nan"


# --- embeddings that are not kept --------------------------------------------------------------


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


# --- scores are never destroyed ----------------------------------------------------------------


@pytest.mark.parametrize("one", [str, Path, lambda path: [path]])
def test_an_exported_run_keeps_its_scores(tmp_path, capsys, one):
    source = ROOT / "launch/results/frey_face/release/vae-z32"
    copy = shutil.copytree(source, tmp_path / "run")
    before = (copy / "metrics.json").read_bytes()
    assert score(one(copy))
    assert (copy / "metrics.json").read_bytes() == before
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
    assert len(found["settings"]) == 1 + len(replicate.settings(1))


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


def test_what_another_process_scores_meanwhile_is_kept(run):
    (run / "metrics.json").rename(run / "elsewhere")
    planned = plan.plan(run)
    (run / "elsewhere").rename(run / "metrics.json")
    before = (run / "metrics.json").read_bytes()
    plan.write(planned)
    assert (run / "metrics.json").read_bytes() == before


def test_two_evaluations_at_once_keep_the_newer_scores(run):
    """Each has planned before the other wrote; both have older scores of the other's replicate."""
    for seed in (0, 1):
        change(run, seed, kl_test=np.full(NUM_TEST, 5.0))
    plans = [plan.plan(run) for _ in range(2)]
    for planned in plans:
        plan.write(planned)
    for planned, name in zip(plans, ("seed_1", "seed_0"), strict=True):
        plan.take(planned, name, scoring.score_replicate(run, name, LATENT_SIZE, 100))
        plan.write(planned)
    found = entries(run)
    assert [values(found[name])["kl"] for name in ("seed_0", "seed_1")] == [5.0, 5.0]
    assert not any("stale" in entry for entry in found.values())


@pytest.mark.parametrize(("reason", "kept"), [("out of memory: 9 GiB", True), ("one class", False)])
def test_what_the_memory_does_not_suffice_for_keeps_its_score(reason, kept):
    row = {"metric": "nmi", "value": 0.5}
    older = {"sha256": "a", "values": [row], "absent": []}
    newer = {"sha256": "a", "values": [], "absent": [{"metric": "nmi", "reason": reason}]}
    metrics_file.carry(older, newer)
    assert newer["values"] == ([row] if kept else [])


def test_an_edited_metrics_file_is_refused_until_its_digest_goes(run, capsys):
    path = run / "metrics.json"
    content = json.loads(path.read_text())
    content["replicates"][0]["values"][0]["value"] = 7.0
    path.write_text(json.dumps(content))
    assert not score(run, jobs=1)
    assert "remove its last field, file_sha256" in capsys.readouterr().err
    del content[seal.FIELD]
    path.write_text(json.dumps(content))
    assert score(run, jobs=1)
    assert entries(run)["seed_0"]["values"][0]["value"] == 7.0


def test_an_unreadable_metrics_file_is_moved_aside(run, capsys):
    (run / "metrics.json").write_text("{")
    assert score([run], jobs=1)
    assert (run / "metrics.json.old-1").read_text() == "{"
    assert "moved to" in capsys.readouterr().err


def test_scores_of_another_model_are_not_relabelled(run, capsys):
    before = (run / "metrics.json").read_bytes()
    files.write_text(run / "config.json", json.dumps(CONFIG | {"model": "vae"}))
    assert not score([run], jobs=1)
    assert "model is 'pca', in config.json 'vae'" in capsys.readouterr().err
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("path", ["", "/", "/tmp/..", ["/"], Path("/")])
def test_nobody_searches_the_root_by_accident(path):
    with pytest.raises(ValueError, match="path: got"):
        score(path)
    with pytest.raises(ValueError, match="path: got"):
        files.find_runs(path)


# --- config.json, metrics.json and the command -------------------------------------------------


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


def edited(content, edit):
    content = json.loads(json.dumps(content))
    edit(content)
    return content


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(version=2), "version is 2, not 1"),
        (lambda c: c.pop("latent_size"), "latent_size is None, not a int"),
        (lambda c: c["replicates"].append({}), r"replicates\[2\].replicate is None"),
        (lambda c: c["replicates"].append(c["replicates"][0]), "seed_0 2 times"),
        (lambda c: c["replicates"][1].pop("seed"), r"replicates\[1\].seed is None"),
        (lambda c: c["replicates"][1].pop("values"), r"replicates\[1\].values is None"),
        (
            lambda c: c["replicates"][0]["values"][3].update(value=float("nan")),
            r"values\[3\].value",
        ),
        (lambda c: c["replicates"][0]["values"][3].update(value="3"), r"value is '3', not a float"),
        (lambda c: c["replicates"][0]["values"][3].update(metric="kl"), "metric has kl 2 times"),
        (lambda c: c["replicates"][0]["values"][0].pop("n"), r"values\[0\].n is None"),
        (lambda c: c["replicates"][0]["values"][0].update(settings=["x"]), r"settings \['x'\]"),
        (lambda c: c["replicates"][0]["values"][0].update(seed=9), "of seed 9"),
        (lambda c: c["replicates"][0]["curves"]["reliability"].pop("split"), "curves.reliability"),
    ],
)
def test_reading_checks_the_format(run, edit, message):
    path = run / "metrics.json"
    path.write_text(json.dumps(edited(metrics_file.read(path), edit)))
    with pytest.raises(metrics_file.MetricsError, match=message) as caught:
        metrics_file.read(path)
    assert str(path) in str(caught.value)
    assert "run python -m mvae_jax.evaluate" in str(caught.value)


def test_a_missing_metrics_file_says_the_way_out(tmp_path):
    with pytest.raises(metrics_file.MetricsError, match=r"run python -m mvae_jax\.evaluate"):
        metrics_file.read(tmp_path / "metrics.json")


WITHOUT_JAX = (
    "import sys, runpy\n"
    "for name in ('jax', 'jaxlib', 'flax', 'optax', 'orbax'): sys.modules[name] = None\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_module('mvae_jax.evaluate', run_name='__main__')\n"
)


def command(*args):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, "evaluate", *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_the_command_runs_without_jax_and_says_how_it_went(tmp_path):
    folder = write_run(tmp_path / "run")
    done = command(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stderr
    assert set(values(entries(folder)["seed_0"])) == set(replicate.metric_names())
    change(folder, 0, mu_test=None)
    done = command(folder, "--jobs=1")
    assert done.returncode == 1
    assert "seed_0: failed:" in done.stderr
    assert "mu_test is missing" in done.stderr


def test_an_empty_root_is_no_success(tmp_path, capsys):
    assert not score([tmp_path])
    assert "no folder with embeddings/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [(["nowhere"], "got 'nowhere', which is no folder"), ([".", "--jobs=0"], "--jobs: got 0")],
)
def test_usage(args, message):
    done = command(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_foreign_bytes_are_an_error_and_no_crash(tmp_path):
    path = tmp_path / "seed_0.npz"
    np.savez_compressed(path, **arrays())
    good, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        bad = bytearray(good)
        for position in rng.integers(len(bad), size=5):
            bad[position] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        with contextlib.suppress(ValueError):
            npz.read(path)
            continue
        with pytest.raises(ValueError, match=r"seed_0\.npz: ") as caught:
            npz.read(path)
        cause = caught.value.__cause__
        outcomes.add(type(cause.__cause__ or cause).__name__)
    assert len(outcomes) > 3  # several kinds, one of them beyond zipfile's


UNSCALED = [
    *("elbo", "mse", "nmi", "ari", "nmi_standardised", "ari_standardised", "total_correlation"),
    *("off_diagonal_correlation", "redundancy_index"),
]


@pytest.mark.parametrize(("scale", "precision"), [(2.0**120, "f4"), (2.0**1000, "f8")])
def test_embeddings_of_any_size_are_scored(scored, tmp_path, scale, precision):
    """Squares overflow from 2^64 on in single precision, from 2^512 on in double."""
    run = write_run(tmp_path / "run", seeds=(0,))
    mu = {name: arrays(0)[name].astype(precision) * scale for name in ("mu_train", "mu_test")}
    change(run, 0, **{name: array.astype(precision) for name, array in mu.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score([run], jobs=1)
    entry, wanted = entries(run)["seed_0"], values(entries(scored)["seed_0"])
    found = values(entry)
    assert set(reasons(entry)) == {"active_directions"}
    assert found["active_units"] == LATENT_SIZE
    assert {name: found[name] for name in UNSCALED} == pytest.approx(
        {name: wanted[name] for name in UNSCALED}, rel=1e-12
    )
    # The penalty of the raw probe is negligible here, that of the other is not.
    assert found["probe_nll_standardised"] == pytest.approx(wanted["probe_nll_standardised"])
    assert found["probe_nll"] == pytest.approx(wanted["probe_nll"], abs=0.05)
    assert found["probe_converged"] == 1


def test_a_metric_that_fails_costs_no_other(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0,))
    mu = {name: arrays(0)[name].astype(np.float64) for name in ("mu_train", "mu_test")}
    change(run, 0, mu_train=mu["mu_train"] * 1e-300, mu_test=mu["mu_test"] * 1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score([run], jobs=1)
    entry = entries(run)["seed_0"]
    absent = reasons(entry)
    assert set(absent) == {"active_directions", *replicate._suffixed(replicate.PROBE)}
    assert absent["probe_nll_standardised"].startswith("could not be computed: overflow")
    assert {"elbo", "mse", "nmi", "probe_nll"} <= set(values(entry))


def test_a_metric_without_memory_is_tried_again(run, calls, monkeypatch):
    def fails(*_arguments, **_settings):
        raise MemoryError("Unable to allocate 1 TiB")

    change(run, 0, mu_train=arrays(5)["mu_train"])
    with monkeypatch.context() as patch:
        patch.setattr(replicate.probe, "fit", fails)
        assert score([run], jobs=1)
    entry = entries(run)["seed_0"]
    assert reasons(entry)["probe_nll"] == "out of memory: Unable to allocate 1 TiB"
    assert "nmi" in values(entry)
    calls.clear()
    assert score([run], jobs=1)
    assert calls == ["seed_0"]
    assert not reasons(entries(run)["seed_0"])


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


def test_the_test_examples_are_recorded(tmp_path):
    """Equal indices have equal digests, whatever their type; without them there is none."""
    run = write_run(tmp_path / "run", seeds=(0, 1, 2))
    change(run, 1, index_test=np.arange(NUM_TEST, dtype=np.int32))
    change(run, 2, index_test=None)
    score([run], jobs=1)
    found = entries(run)
    assert {entry["num_test"] for entry in found.values()} == {NUM_TEST}
    digests = [found[f"seed_{seed}"]["sha256_index_test"] for seed in range(3)]
    assert digests[0] == digests[1] != digests[2]
    assert digests[2] is None
