"""Scores and embeddings as Parquet, read back by pyarrow."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

import mvae_jax
from mvae_jax.report import parquet
from tests.fake_runs import draw, write_run


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "runs", "vae", 2, {"elbo": draw(-20.0, 1.0, (777,))})
    (folder / "embeddings").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {"mu_train": rng.normal(size=(3, 2)), "mu_test": rng.normal(size=(2, 2))}
    arrays |= {"index_train": np.array([4, 0, 3]), "index_test": np.array([2, 1])}
    arrays |= {"label_train": np.array([7, 8, 9]), "label_test": np.array([7, 9])}
    np.savez(folder / "embeddings" / "seed_777.npz", **arrays)
    return folder, arrays


def test_the_command_writes_what_pyarrow_reads(tmp_path, run):
    _, arrays = run
    command = [sys.executable, "-m", "mvae_jax.report", tmp_path / "runs", "--parquet"]
    done = subprocess.run(
        [*command, f"--export={tmp_path / 'out'}"], capture_output=True, text=True, check=False
    )
    assert "scores.parquet, embeddings of 1 replicates" in done.stdout, done.stderr
    values, _ = mvae_jax.scores(tmp_path / "runs")
    found = pyarrow.parquet.read_table(tmp_path / "out/scores.parquet").to_pandas()
    pd.testing.assert_frame_equal(
        found.astype(object), values.astype(object), check_column_type=False
    )
    path = tmp_path / "out/embeddings/digits/release/vae-z2/seed_777.parquet"
    rows = pyarrow.parquet.read_table(path).to_pandas()
    assert list(rows.columns) == ["split", "index", "label", "mu_0", "mu_1"]
    assert rows.split.tolist() == ["train"] * 3 + ["test"] * 2
    assert rows["index"].tolist() == [4, 0, 3, 2, 1]
    assert rows.label.tolist() == [7, 8, 9, 7, 9]
    mu = np.concatenate([arrays["mu_train"], arrays["mu_test"]]).astype(np.float32)
    np.testing.assert_array_equal(rows[["mu_0", "mu_1"]], mu)


def test_a_file_without_embeddings_is_named(tmp_path):
    np.savez(tmp_path / "seed_1.npz", other=np.zeros(2))
    with pytest.raises(ValueError, match=r"seed_1\.npz: no mu_train, mu_valid or mu_test in it"):
        parquet.frame(tmp_path / "seed_1.npz")


def test_it_needs_the_export(tmp_path, run):
    command = [sys.executable, "-m", "mvae_jax.report", tmp_path / "runs", "--parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--parquet: is what --export writes besides; name its folder" in done.stderr
