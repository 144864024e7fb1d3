"""A full disk, at every kind of write: one line, nothing half written, and it goes on with room."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.thorough

FIELDS = {"hidden_size": 64, "batch_size": 500, "num_epochs": 6, "num_seeds": 2}
FIELDS |= {"checkpoint_every": 2, "iwae_samples": 0}
FLAGS = [f"--config.{name}={value}" for name, value in FIELDS.items()]
SIZE = 64 << 20  # bytes of the disk


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, in memory."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(mounted)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk needs root and tmpfs")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def run(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def train(folder):
    return run("mvae_jax.main", "--config=configs/digits.py:mvae,3", *FLAGS, f"--workdir={folder}")


def used(folder):
    return sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*"))


def fill(disk, free):
    """Leaves so many bytes of the disk."""
    stat = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))


def assert_one_line(done):
    assert done.returncode not in (0, 2), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "No space left on device" in errors[0], done.stderr


def temporary(disk):
    """Returns the temporary files and folders that are left."""
    return [
        path for path in disk.rglob("*") if ".tmp" in path.name or "orbax-checkpoint" in path.name
    ]


SHARES = [pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.03, 0.6, 0.9)]


@pytest.mark.parametrize("share", [0.3, *SHARES])
def test_a_disk_that_fills_while_a_run_is_written(disk, tmp_path, share):
    whole = tmp_path / "whole"
    assert train(whole).returncode == 0
    fill(disk, int(share * used(whole)))
    done = train(disk / "run")
    assert_one_line(done)
    assert not temporary(disk)
    (disk / "filler").unlink()
    done = train(disk / "run")
    assert done.returncode == 0, done.stderr
    for name in ("model", "embeddings", "pictures", "logs"):
        for path in (whole / name).iterdir():
            assert (disk / "run" / name / path.name).read_bytes() == path.read_bytes()


def test_a_disk_that_is_full_for_the_later_stages(disk):
    folder = disk / "run"
    assert train(folder).returncode == 0
    scores = (folder / "metrics.json").read_bytes()
    (folder / "metrics.json").unlink()
    fill(disk, 0)
    for command in (
        ("mvae_jax.evaluate", folder),
        ("mvae_jax.report", folder, f"--out={disk}/out"),
        ("mvae_jax.report", folder, f"--export={disk}/exported"),
        ("mvae_jax.datasets", f"--samples={disk}/samples.npz"),
    ):
        done = run(*command)
        assert done.returncode == 1, done.stderr
        assert "error: " in done.stderr
        assert not temporary(disk)
    (disk / "filler").unlink()
    assert run("mvae_jax.evaluate", folder).returncode == 0
    assert (folder / "metrics.json").read_bytes() == scores
    assert run("mvae_jax.report", folder, f"--export={disk}/exported").returncode == 0
