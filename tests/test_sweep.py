"""A grid on this machine: what is listed, what runs, what is left out, and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mvae_jax import status
from tests.conftest import ROOT

FLAGS = ("--dataset=digits", "--latent=2,3", "--num_seeds=1", "--config.num_epochs=2")
FLAGS += ("--config.hidden_size=8", "--config.iwae_samples=0", "--config.batch_size=500")
NAMES = ["vae-z2", "mvae-z2", "vae-z3", "mvae-z3"]


def start(root, *extra):
    command = [sys.executable, "launch/sweep.py", *FLAGS, f"--root={root}", *extra]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweep(root, *extra):
    """Returns exit status, stdout and stderr."""
    process = start(root, *extra)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def folder(root, name):
    return root / "digits" / "release" / name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    returned, _, err = sweep(root)
    assert returned == 0, err
    assert "4 of 4 runs are complete, 0 failed" in err
    return root


def test_a_dry_run_prints_the_grid_in_order_and_touches_nothing(tmp_path):
    returned, out, _ = sweep(tmp_path / "none", "--dry_run")
    entries = [json.loads(line) for line in out.splitlines()]
    assert returned == 0
    assert [os.path.basename(e["workdir"]) for e in entries] == NAMES
    assert "--config=configs/digits.py:vae,2,release" in entries[0]["command"]
    assert not (tmp_path / "none").exists()
    _, longest, _ = sweep(tmp_path / "none", "--dry_run", "--order=longest")
    assert [json.loads(line) for line in longest.splitlines()] == entries[::-1]


def test_every_run_is_complete_and_a_second_call_runs_none(finished):
    for name in NAMES:
        assert status.of(folder(finished, name)).state == "done"
        assert (finished / "logs" / "digits" / "release" / f"{name}.txt").stat().st_size
    start = time.monotonic()
    returned, _, err = sweep(finished)
    assert (returned, time.monotonic() - start < 20) == (0, True)
    assert err == "4 of 4 runs are complete, 0 failed\n"


def test_another_configuration_is_reported_and_left_alone(finished):
    before = (folder(finished, "vae-z2") / "config.json").read_bytes()
    returned, _, err = sweep(finished, "--config.learning_rate=0.5", "--latent=2")
    assert returned == 1
    assert "vae-z2: config: differs from the stored run's in learning_rate" in err
    assert "0 of 2 runs are complete" in err
    assert (folder(finished, "vae-z2") / "config.json").read_bytes() == before


def test_overwrite_moves_another_configuration_aside_and_nothing_else(finished, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    other = folder(root, "mvae-z2") / "config.json"
    before = other.read_text().replace('"learning_rate": 0.001', '"learning_rate": 0.5')
    other.write_text(before)
    returned, _, err = sweep(root, "--latent=2", "--overwrite")
    assert returned == 0, err
    assert "mvae-z2: done, 2 of 2" in err  # the other was complete
    assert (folder(root, ".mvae-z2.old-1") / "config.json").read_text() == before
    assert '"learning_rate": 0.001' in other.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dataset=cifra10",), "cifra10"),
        (("--model=gan",), "model"),
        (("--latent=two",), "latent"),
        (("--config.learning_rat=1",), "did you mean learning_rate?"),
        (("--config.learning_rate=-1",), "config.learning_rate: got -1"),
        (("--learning_rate=1",), "--config.FIELD=VALUE"),
        (("--jobs=0",), "--jobs: got 0"),
    ],
)
def test_a_mistake_is_answered_before_anything_runs(tmp_path, flags, message):
    returned, _, err = sweep(tmp_path / "none", *flags)
    assert returned == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "none").exists()


def test_a_failed_run_stops_no_other_and_shows_its_log(finished, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    for name in ("vae-z2", "vae-z3"):
        (folder(root, name) / "embeddings" / "seed_777.npz").unlink()
    next(folder(root, "vae-z2").glob("checkpoints/*/*/_CHECKPOINT_METADATA")).write_text("{")
    returned, _, err = sweep(root, "--jobs=1")
    assert returned == 1
    assert "vae-z2: failed (exit status 1):" in err
    assert "delete that folder to train its seeds from the start" in err
    assert "vae-z3: done, 3 of 4" in err
    assert "3 of 4 runs are complete, 1 failed" in err


def test_two_sweeps_at_once_then_more_seeds(tmp_path):
    """A run is trained once; then the new seed alone."""
    flags = ("--latent=2", "--model=vae", "--config.num_epochs=30")
    both = [start(tmp_path, *flags) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    lines = (folder(tmp_path, "vae-z2") / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 31))
    returned, _, err = sweep(tmp_path, *flags, "--num_seeds=2")
    assert returned == 0, err
    lines = (folder(tmp_path, "vae-z2") / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [777] * 30 + [778] * 30


def test_an_interrupt_saves_the_running_ones_and_the_same_command_goes_on(tmp_path):
    flags = ("--latent=3", "--model=vae", "--config.num_epochs=3000")
    process = start(tmp_path, *flags)
    path = folder(tmp_path, "vae-z3")
    deadline = time.monotonic() + 100
    while status.of(path).epoch < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status.of(path).state == "running"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert status.of(path).state == "stopped"
    assert list(path.glob("checkpoints/*/*"))
