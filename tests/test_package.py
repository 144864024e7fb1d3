"""The built wheel, installed into an empty folder and run from another."""

import os
import subprocess
import sys

from tests.conftest import ROOT


def test_the_wheel_runs_digits_from_an_empty_folder(tmp_path):
    python = [sys.executable, "-m"]
    wheels, site, empty = tmp_path / "wheels", tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    build = [*python, "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    install = [*python, "pip", "install", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)

    # The installed copy, not the checkout: -P keeps the current folder off the path.
    environment = {**os.environ, "PYTHONPATH": str(site)}
    flags = ["--config.num_epochs=2", "--config.num_seeds=2", "--config.seed_mode=vmap"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mvae_jax.main", "--config=configs/digits.py:mvae,2", *flags],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy (linear probe)" in done.stdout
    run = empty / "runs" / "digits" / "release" / "mvae-z2"
    assert (run / "metrics.json").is_file()
    assert (run / "report" / "tables.md").is_file()

    where = subprocess.run(
        [sys.executable, "-P", "-c", "import mvae_jax; print(mvae_jax.__file__)"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
