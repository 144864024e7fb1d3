"""What scoring writes of one replicate: values, where they come from, and why others are absent."""

import warnings

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, normalized_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvae_jax.evaluate import probe
from mvae_jax.evaluate.metrics import METRICS, STANDARDISED
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, metrics_file
from tests.evaluated_runs import (
    CONFIG,
    LATENT_SIZE,
    NUM_PICTURES,
    NUM_TEST,
    arrays,
    change,
    entries,
    reasons,
    values,
    write_run,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_metric_has_a_value_that_says_where_it_comes_from(scored):
    content = metrics_file.read(scored / "metrics.json")
    assert content["version"] == metrics_file.VERSION
    assert {field: content[field] for field in CONFIG} == CONFIG
    assert [entry["seed"] for entry in content["replicates"]] == [0, 1]
    for entry in content["replicates"]:
        assert [row["metric"] for row in entry["values"]] == list(METRICS)
        assert entry["absent"] == []
        path = f"{entry['replicate']}.npz"
        assert entry["sha256"] == files.sha256(scored / "embeddings" / path)
        assert entry["sha256_model"] == files.sha256(scored / "model" / path)
        assert entry["sha256_pictures"] == files.sha256(scored / "pictures" / path)
        counts = {"test": NUM_TEST, "model": 12, "run": 1, "pictures": NUM_PICTURES}
        for row in entry["values"]:
            assert row["split"] == METRICS[row["metric"]].split
            assert row["n"] == counts[row["split"]]
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
        if name.endswith(STANDARDISED):
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
    for suffix in ("", STANDARDISED):
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
    assert set(found) | set(values(entry)) == METRICS.keys()
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
            {m for m, record in METRICS.items() if "probe" in record.settings},
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


def test_a_metric_that_fails_costs_no_other(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0,))
    mu = {name: arrays(0)[name].astype(np.float64) for name in ("mu_train", "mu_test")}
    change(run, 0, mu_train=mu["mu_train"] * 1e-300, mu_test=mu["mu_test"] * 1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score([run], jobs=1)
    entry = entries(run)["seed_0"]
    absent = reasons(entry)
    of_squares = {"total_correlation", "off_diagonal_correlation", "active_units"}
    standardised = {m for m in METRICS if m.endswith(STANDARDISED)}
    assert set(absent) == {"active_directions", *of_squares, *standardised}
    assert absent["active_units"].startswith("could not be computed: overflow")
    assert {"elbo", "mse", "nmi", "probe_nll"} <= set(values(entry))


def test_a_metric_without_memory_is_tried_again(run, calls, monkeypatch):
    def fails(*_arguments, **_settings):
        raise MemoryError("Unable to allocate 1 TiB")

    change(run, 0, mu_train=arrays(5)["mu_train"])
    with monkeypatch.context() as patch:
        patch.setattr(probe, "fit", fails)
        assert score([run], jobs=1)
    entry = entries(run)["seed_0"]
    assert reasons(entry)["probe_nll"] == "out of memory: Unable to allocate 1 TiB"
    assert "nmi" in values(entry)
    calls.clear()
    assert score([run], jobs=1)
    assert calls == ["seed_0"]
    assert not reasons(entries(run)["seed_0"])
