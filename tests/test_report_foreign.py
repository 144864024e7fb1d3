"""Embeddings of another tool: scikit-learn's PCA of digits, through the same two commands."""

import csv
import re
import shutil
import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mvae_jax.report import render
from tests.conftest import ROOT
from tests.fake_runs import draw, write_run


def write_pca(root):
    """Runs the manual's example, on the split of a run of its own."""
    labels = load_digits().target
    indices = np.arange(len(labels))
    train, test = train_test_split(indices, test_size=0.2, stratify=labels, random_state=0)
    folder = root / "runs/digits/release/mvae-z16/embeddings"
    folder.mkdir(parents=True)
    np.savez(
        folder / "seed_777.npz",
        **{"index_train": train, "index_test": test, "mu_test": np.zeros((len(test), 16))},
        **{"label_train": labels[train], "label_test": labels[test]},
    )
    page = (ROOT / "mvae_jax" / "docs" / "embeddings.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(import json.*?)```", page, re.DOTALL)
    subprocess.run([sys.executable, "-c", source], cwd=root, check=True)
    return root / "runs/digits/release/pca-z16"


def test_pca_is_scored_and_becomes_a_third_column(tmp_path):
    run = write_pca(tmp_path / "example")
    shutil.rmtree(run.parent / "mvae-z16")
    for model in ("vae", "mvae"):
        for z in (4, 16):
            write_run(tmp_path, model, z, {"mse": draw(0.05, 0.001)}, num_test=360)
    for arguments in (["evaluate", run], ["report", "--no-figures", tmp_path]):
        command = [sys.executable, "-m", f"mvae_jax.{arguments[0]}", *map(str, arguments[1:])]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    header = next(line for line in done.stdout.splitlines() if line.startswith("z "))
    assert header.split()[1:4] == ["vae", "mvae", "pca"]
    with (tmp_path / "report/tables.csv").open() as file:
        found = {row["metric"]: row for row in csv.DictReader(file) if row["model"] == "pca"}
    assert 0.93 < float(found["probe_accuracy"]["mean"]) < 0.98
    assert found["probe_accuracy"]["seeds"] == "1"
    assert "mse" not in found  # PCA has no sampled z, and the table says so
    assert "pca z=16: absent: mse (no per-example squared_error_sampled_test" in done.stdout


def test_other_test_examples_are_not_shown_beside(tmp_path, capsys):
    for model, number in (("vae", 360), ("mvae", 360), ("pca", 797)):
        write_run(tmp_path, model, 4, {"nmi": draw(0.5, 0.01)}, num_test=number)
    assert not render([tmp_path], tmp_path / "report", draw=False)
    said = capsys.readouterr().err
    assert "pca z=4: scored on other test examples than vae (797, not 360" in said
    assert said.count("error:") == 1
