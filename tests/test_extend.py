"""docs/extend.md: each snippet as it is printed, run by the command beneath it."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np

from mvae_jax.evaluate import metrics
from mvae_jax.store import metrics_file
from tests.conftest import ROOT

PAGE = (ROOT / "mvae_jax" / "docs" / "extend.md").read_text(encoding="utf-8")


def printed(heading):
    """Returns the file name and the text of a section's snippet, and the command beneath."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    snippet, command = (
        re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]
        for language in ("python", "bash")
    )
    return re.match(r"# (\w+\.py)\n", snippet)[1], snippet, shlex.split(command)


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
