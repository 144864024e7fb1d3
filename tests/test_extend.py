"""docs/extend.md: each snippet as it is printed, run by the command beneath it."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import mvae_jax
from mvae_jax import posteriors
from mvae_jax.evaluate import metrics
from mvae_jax.store import metrics_file, run_folder
from tests.conftest import ROOT
from tests.fake_runs import write_run

PAGE = (ROOT / "mvae_jax" / "docs" / "extend.md").read_text(encoding="utf-8")
FEW = ["--config.num_seeds=1", "--config.num_epochs=2"]


def printed(heading):
    """Returns the file name and the text of a section's snippet, and the command beneath."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    snippet, command = (
        re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]
        for language in ("python", "bash")
    )
    return re.match(r"# (\w+\.py)\n", snippet)[1], snippet, shlex.split(command)


@pytest.fixture
def extend(tmp_path, monkeypatch):
    """Returns a function: (heading, flags) -> the module and the folder of the run it is in."""

    def run(heading, flags):
        file, snippet, command = printed(heading)
        (tmp_path / file).write_text(snippet, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *command[1:], *flags, *FEW, "--workdir=run"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        monkeypatch.syspath_prepend(tmp_path)
        module = file.removesuffix(".py")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return import_module(module), tmp_path / "run"

    return run


def scores(folder):
    """Returns the only seed's scores."""
    (found,) = json.loads((folder / "metrics.json").read_text())["replicates"]
    return {value["metric"]: value["value"] for value in found["values"]}


def test_a_family_of_yours_is_trained_scored_and_loaded(extend, tiny):
    module, folder = extend("A posterior family", tiny)
    assert np.isfinite(scores(folder)["elbo"])
    config, params = mvae_jax.load(folder, 777)
    assert config.model == "shared_scale"
    assert params["log_scale"] != 0  # it was trained
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), np.uint8))
    q = mvae_jax.encode(config, params, images)
    assert q.loc.shape == (3, 16)
    np.testing.assert_array_equal(q.log_scale, params["log_scale"])

    (origin,) = json.loads((folder / "environment.json").read_text())["origins"].values()
    assert "my_family.py" in origin["sources"]
    assert posteriors.of(config) is module.shared_scale
    one = module.SharedScale(q.loc[0], q.log_scale)
    noise = jax.random.normal(jax.random.key(0), (4000, 16))
    draws = jax.vmap(lambda e: module.sample(one, e))(noise)
    log_q = jax.vmap(lambda z: module.log_prob(one, z))(draws.z)
    of_scipy = scipy.stats.norm(one.loc, np.exp(one.log_scale)).logpdf(draws.z).sum(axis=1)
    np.testing.assert_allclose(log_q, of_scipy, rtol=1e-4)
    log_p = scipy.stats.norm.logpdf(draws.z).sum(axis=1)
    np.testing.assert_allclose(draws.log_ratio, of_scipy - log_p, atol=1e-3)
    error = np.std(draws.log_ratio) / np.sqrt(len(noise))
    assert abs(np.mean(draws.log_ratio) - module.kl(one, None)) < 4 * error + 1e-5


def test_a_likelihood_of_yours_is_trained_and_scored(extend, tiny):
    module, folder = extend("A likelihood", tiny)
    assert np.isfinite(scores(folder)["elbo"])
    x = np.linspace(0, 1, 2001)
    log_p = jax.vmap(module.log_prob, in_axes=(None, None, 0, 0))
    for logit in (-3.0, 0.0, 0.009, 5.0):
        logits = jnp.full((2001, 1), logit)
        density = np.exp(log_p(None, {}, logits, jnp.asarray(x[:, None])))
        assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-4)
        mean = np.trapezoid(x * density, x)
        assert module.mean(jnp.asarray(logit)) == pytest.approx(mean, abs=1e-4)


def test_a_tracker_of_yours_is_told_of_every_epoch(extend, tiny):
    _, folder = extend("A tracker", tiny)
    with open(folder / "epochs.csv", encoding="utf-8") as file:
        told = [(name, int(epoch), float(elbo)) for name, epoch, elbo in csv.reader(file)]
    logged = run_folder.read_epochs(folder / "logs" / "seed_777.jsonl")
    assert told == [("seed_777", line["epoch"], line["elbo"]) for line in logged]
    assert len(told) == 2
    assert scores(folder)


def test_a_metric_of_yours_is_computed_of_another_tools_embeddings(tmp_path):
    """From a folder outside the package; what the report shows of it is in metrics.json."""
    file, snippet, command = printed("A metric")
    (tmp_path / file).write_text(snippet, encoding="utf-8")
    run = tmp_path / "runs" / "pca"
    run.joinpath("embeddings").mkdir(parents=True)
    config = {"dataset": "blobs", "protocol": "release", "model": "pca", "latent_size": 2}
    run.joinpath("config.json").write_text(json.dumps(config))
    np.savez(run / "embeddings" / "seed_0.npz", mu_test=np.array([[3.0, 4.0], [0.0, 2.0]]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *command[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = metrics_file.read(run / "metrics.json")
    values = {row["metric"]: row["value"] for row in found["replicates"][0]["values"]}
    assert values["mean_radius"] == (5 + 2) / 2
    assert metrics.described(found)["mean_radius"].label == "mean radius (of mu)"


def test_a_report_section_of_yours_is_shown_behind_the_others(tmp_path):
    file, snippet, command = printed("A report section")
    (tmp_path / file).write_text(snippet, encoding="utf-8")
    elbos = {("vae", 2): -5.0, ("vae", 4): -4.0, ("mvae", 2): -3.0, ("mvae", 4): -6.0}
    for (model, z), elbo in elbos.items():
        write_run(tmp_path / "runs", model, z, {"elbo": {777: elbo - 0.5, 778: elbo + 0.5}})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *command[1:], "--no-figures"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"\| +(\w+) +\| +(\d+) +\| +(-[\d.]+) ",
        (tmp_path / "runs/report/latent_sizes.md").read_text(),
    )
    assert sorted(rows) == [("mvae", "2", "-3.00"), ("vae", "4", "-4.00")]
    assert "<h2>Latent sizes" in (tmp_path / "runs/report/index.html").read_text(encoding="utf-8")
