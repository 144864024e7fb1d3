"""The built wheel, installed and run from an empty folder, and the versions of what it needs."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from mvae_jax.store import metrics_file
from tests.conftest import ROOT

SMALL = ("num_epochs=2", "hidden_size=16", "iwae_samples=0")
GRID = ["--dataset=digits", "--model=vae,mvae", "--latent=2", "--num_seeds=1"]
FIT = """
import mvae_jax
small = dict(latent_size=2, num_seeds=2, num_epochs=2, hidden_size=16, iwae_samples=0)
vae, mvae = (mvae_jax.fit(model, "digits", **small) for model in ("vae", "mvae"))
found = mvae_jax.compare(vae, mvae)
images = mvae.decode([[0.0, 0.0]] * 9)
model = mvae_jax.MVAE(2, num_epochs=1, fields={"hidden_size": 16}).fit(images.reshape(9, 64))
assert model.transform(images.reshape(9, 64)).shape == (9, 2)
split = vae.embeddings()
z = [split[f"{array}_{part}"] for part in ("train", "test") for array in ("mu", "label")]
assert mvae_jax.evaluate(*z, name="again").seeds == [0]
print([*found.index[:3]], mvae.encode((255 * images).astype("uint8")).shape, flush=True)
"""


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


@pytest.mark.thorough
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

    for checked_in in (ROOT / "mvae_jax").rglob("*"):
        if checked_in.suffix in (".md", ".typed"):
            carried = site / checked_in.relative_to(ROOT)
            assert carried.read_bytes() == checked_in.read_bytes()
    assert (site / "mvae_jax" / "docs" / "metrics.md").is_file()
    assert (site / "mvae_jax" / "py.typed").is_file()
    assert python("-c", "import mvae_jax; print(mvae_jax.__file__)").startswith(str(site))
    assert "['elbo', 'log_likelihood', 'kl'] (9, 2)" in python("-c", FIT)
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


def direct(*extras):
    """Return the direct dependencies, and those of the extras: name -> specifiers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {}
    texts = list(project["dependencies"])
    waiting = list(extras)
    while waiting:
        texts += project["optional-dependencies"][waiting.pop()]
    for text in texts:
        requirement = Requirement(text)
        if requirement.name == "mvae_jax":
            found |= direct(*requirement.extras)
        else:
            found[canonicalize_name(requirement.name)] = requirement.specifier
    return found


def pinned(file):
    """Return name -> version of a constraints file, which holds nothing else."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", pin) for pin in pins)
    return {canonicalize_name(name): version for name, version in (p.split("==") for p in pins)}


def test_the_lowest_versions_are_those_that_the_project_allows():
    lowest = {
        name: next(bound.version for bound in bounds if bound.operator == ">=")
        for name, bounds in direct("test").items()
    }
    assert pinned("constraints-lowest.txt") == lowest


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lowest.txt"])
def test_pinned_versions_are_allowed(file):
    pins = pinned(file)
    for name, bounds in direct(
        *(["test", "dev"] if file == "constraints.txt" else ["test"])
    ).items():
        assert Version(pins[name]) in bounds, name
