"""The built wheel, installed into a folder of its own and run from an empty one."""

import os
import subprocess
import sys

from mvae_jax.store import metrics_file
from tests.conftest import ROOT

SMALL = ("num_epochs=2", "hidden_size=16", "iwae_samples=0")
GRID = ["--dataset=digits", "--model=vae,mvae", "--latent=2", "--num_seeds=1"]


def install(folder):
    """Build the wheel and install it there, without what it needs."""
    python, wheels = [sys.executable, "-m"], folder / "wheels"
    build = [*python, "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    command = [*python, "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*command, str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


def accuracy(run):
    """Return the probe's accuracy that a run of one seed has stored."""
    (replicate,) = metrics_file.read(run / "metrics.json")["replicates"]
    (found,) = [v["value"] for v in replicate["values"] if v["metric"] == "probe_accuracy"]
    return found


def test_the_wheel_sweeps_digits_from_an_empty_folder(tmp_path):
    """Each run is the command of the README, in a process of its own, in an empty folder."""
    site, empty = install(tmp_path), tmp_path / "empty"
    empty.mkdir()

    def python(*arguments):
        # The installed copy, not the checkout: -P keeps the current folder off the path.
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert python("-c", "import mvae_jax; print(mvae_jax.__file__)").startswith(str(site))
    said = python("-m", "mvae_jax.sweep", *GRID, *(f"--config.{field}" for field in SMALL))
    assert "2 of 2 runs are complete, 0 failed" in said
    runs = [empty / "runs" / "digits" / "release" / f"{model}-z2" for model in ("vae", "mvae")]
    for run in runs:
        log = empty / "runs" / "logs" / run.relative_to(empty / "runs")
        assert "accuracy (linear probe)" in log.with_name(f"{log.name}.txt").read_text()
        assert (run / "report" / "tables.md").is_file()
    assert "2 runs: 2 done" in python("-m", "mvae_jax.sweep.watch", "runs")
    python("-m", "mvae_jax.report", "runs", "--no-figures")
    tables = (empty / "runs" / "report" / "tables.md").read_text()
    for run in runs:
        assert f" {accuracy(run):.4f} " in tables
