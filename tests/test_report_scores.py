"""Scores as one tidy frame, for whoever wants the numbers."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mvae_jax
from tests.fake_runs import SEEDS, draw, write_run

COLUMNS = (
    *("dataset", "source", "protocol", "tag", "learning_rate", "weight_decay", "beta"),
    *("likelihood_variance", "model", "latent_size", "seed", "split", "metric", "value"),
)


def test_a_row_per_value_with_what_it_is_of(tmp_path):
    nmi = draw(0.5, 0.01)
    write_run(tmp_path, "vae", 4, {"nmi": nmi}, tag="warm", beta=4.0)
    write_run(tmp_path, "mvae", 16, {"nmi": draw(0.6, 0.01)})
    values, problems = mvae_jax.scores(tmp_path)
    assert tuple(values.columns) == COLUMNS
    assert problems.empty
    of_vae = values[(values.metric == "nmi") & (values.model == "vae")]
    assert dict(zip(of_vae.seed, of_vae.value, strict=True)) == nmi
    assert set(of_vae.tag) == {"warm"}
    assert set(of_vae.beta) == {4.0}
    assert values[values.model == "mvae"].beta.isna().all()  # a run that does not say
    means = values[values.metric == "nmi"].groupby(["model", "latent_size"], observed=True)
    assert means.value.mean()["mvae", 16] == pytest.approx(np.mean(list(draw(0.6, 0.01).values())))


def test_swept_replicates_are_told_apart(tmp_path):
    run = write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01, (777,))}, beta=1.0)
    metrics = json.loads((run / "metrics.json").read_text())
    (entry,) = metrics["replicates"]
    entries = [entry | {"replicate": f"seed_777__beta={beta}"} for beta in (1.0, 4.0)]
    (run / "metrics.json").write_text(json.dumps(metrics | {"replicates": entries}))
    swept = {e["replicate"]: {"seed": 777, "swept": {"beta": 4.0}} for e in entries[1:]}
    (run / "manifest.json").write_text(json.dumps({"replicates": swept, "sha256": {}}))
    values = mvae_jax.scores(run).values
    assert sorted(values[values.metric == "nmi"].beta) == [1.0, 4.0]


def test_what_is_lacking_is_the_second_frame(tmp_path):
    bad = write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    (bad / "metrics.json").write_text("{")
    write_run(tmp_path, "mvae", 4, {"nmi": draw(0.5, 0.01)}, num_seeds=6, first_seed=777)
    values, problems = mvae_jax.scores(tmp_path)
    assert set(values.model) == {"mvae"}
    reasons = " ".join(problems.reason)
    assert "metrics.json" in reasons
    assert "seed 782 of the 6 planned has no scores" in reasons


def test_scores_that_describe_the_run_no_more_are_left_out(tmp_path):
    run = write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["replicates"][0]["stale"] = "the embeddings are gone"
    (run / "metrics.json").write_text(json.dumps(metrics))
    values, problems = mvae_jax.scores(tmp_path)
    assert set(values.seed) == {*SEEDS[1:]}
    assert problems.reason.str.contains("stale").any()


def test_of_no_run_the_frames_are_empty(tmp_path):
    values, problems = mvae_jax.scores(tmp_path)
    assert isinstance(values, pd.DataFrame)
    assert values.empty
    assert len(problems) == 1


def test_many_folders_are_read_by_processes_to_the_same_frame(tmp_path, monkeypatch):
    for z in range(1, 13):
        for model in ("vae", "mvae"):
            write_run(tmp_path, model, z, {"nmi": draw(0.5, 0.01, rng=z)})
    here = mvae_jax.scores(tmp_path).values
    code = (
        "import sys, mvae_jax.report.scores as s\n"
        "s.FEW, s.CHUNK = 2, 5\n"
        "s.scores(sys.argv[1]).values.to_pickle(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "frame.pkl")]
    subprocess.run(command, check=True, timeout=120)
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "frame.pkl"), here)
