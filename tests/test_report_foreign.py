"""Embeddings of another tool: scikit-learn's PCA of digits, through the same two commands."""

import csv
import json
import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from mvae_jax.report import render
from tests.fake_runs import draw, write_run


def write_pca(run, latent_size):
    """Writes what a foreign run needs: config.json and embeddings/seed_<n>.npz."""
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    (run / "embeddings").mkdir(parents=True)
    described = {"dataset": "digits", "protocol": "release", "model": "pca"}
    (run / "config.json").write_text(json.dumps(described | {"latent_size": latent_size}))
    train, test, label_train, label_test = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    pca = PCA(latent_size).fit(train)
    np.savez(
        run / "embeddings/seed_0.npz",
        mu_train=pca.transform(train).astype(np.float32),
        mu_test=pca.transform(test).astype(np.float32),
        label_train=label_train,
        label_test=label_test,
    )


def test_pca_is_scored_and_becomes_a_third_column(tmp_path):
    write_pca(tmp_path / "pca-z4", 4)
    for model in ("vae", "mvae"):
        for z in (4, 16):
            write_run(tmp_path, model, z, {"mse": draw(0.05, 0.001)}, num_test=360)
    for arguments in (["evaluate", tmp_path / "pca-z4"], ["report", "--no-figures", tmp_path]):
        command = [sys.executable, "-m", f"mvae_jax.{arguments[0]}", *map(str, arguments[1:])]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    header = next(line for line in done.stdout.splitlines() if line.startswith("z "))
    assert header.split()[1:4] == ["vae", "mvae", "pca"]
    with (tmp_path / "report/tables.csv").open() as file:
        found = {row["metric"]: row for row in csv.DictReader(file) if row["model"] == "pca"}
    assert 0.75 < float(found["probe_accuracy"]["mean"]) < 0.9
    assert found["probe_accuracy"]["seeds"] == "1"
    assert "mse" not in found  # PCA has no sampled z, and the table says so
    assert "pca z=4: absent: mse (no per-example squared_error_sampled_test" in done.stdout


def test_other_test_examples_are_not_shown_beside(tmp_path, capsys):
    for model, number in (("vae", 360), ("mvae", 360), ("pca", 797)):
        write_run(tmp_path, model, 4, {"nmi": draw(0.5, 0.01)}, num_test=number)
    assert not render([tmp_path], tmp_path / "report", draw=False)
    said = capsys.readouterr().err
    assert "pca z=4: scored on other test examples than vae (797, not 360" in said
    assert said.count("error:") == 1
