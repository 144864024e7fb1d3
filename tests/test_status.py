"""How far runs are, from their folders alone, and the page that shows it."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

from mvae_jax.store import status
from mvae_jax.store.run_folder import RunFolderError
from mvae_jax.sweep import watch
from tests.conftest import ROOT

CONFIG = {"dataset": "blobs", "protocol": "release", "model": "mvae", "latent_size": 4}
CONFIG |= {"first_seed": 7, "num_seeds": 2, "num_epochs": 10}


def write(folder, replicates=None, epochs=0, held=True, metrics=False, lap=2.0):
    """A run folder of two seeds, after so many epochs."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / ".lock").write_text("process 1 on host\n" if held else "")
    if replicates is not None:
        manifest = {"replicates": replicates, "sha256": {}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "logs").mkdir()
    for seed in (7, 8):
        lines = [
            {"seed": seed, "epoch": e, "elbo": -100.0 + e + seed} for e in range(1, epochs + 1)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "logs" / f"seed_{seed}.jsonl").write_text(text)
    times = [{"event": "epoch", "seconds": lap}] * epochs
    (folder / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in times))
    if metrics:
        entries = [{"replicate": name} for name in replicates]
        (folder / "metrics.json").write_text(json.dumps({"replicates": entries}))
    return folder


DONE = {f"seed_{seed}": {"seed": seed, "epoch": 10} for seed in (7, 8)}
FAILED = {**DONE, "seed_8": {"seed": 8, "epoch": 10, "failed": "kl was nan"}}


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        ("running", {"epochs": 4}),
        ("stopped", {"epochs": 4, "held": False}),
        ("unscored", {"epochs": 10, "replicates": DONE}),
        ("done", {"epochs": 10, "replicates": DONE, "metrics": True}),
        ("failed", {"epochs": 10, "replicates": FAILED, "metrics": True}),
        ("stopped", {"epochs": 10, "replicates": {"seed_7": DONE["seed_7"]}, "held": False}),
    ],
)
def test_states(tmp_path, state, fields):
    found = status.of(write(tmp_path / "run", **fields))
    assert found.state == state
    assert (found.done, found.planned) == (len(fields.get("replicates", ())), 2)
    assert (found.epoch, found.num_epochs) == (fields["epochs"], 10)
    if state != "done":
        assert found.elbo == pytest.approx(-100 + fields["epochs"] + 7.5)
    if state == "running":
        assert found.seconds_left == 12


def test_the_time_left_counts_no_compilation(tmp_path):
    folder = write(tmp_path / "run", epochs=4)
    laps = [("epoch", 50.0), ("epoch", 2.0), ("data", 1.0), ("epoch", 70.0), ("epoch", 4.0)]
    lines = [json.dumps({"event": name, "seconds": took}) + "\n" for name, took in laps]
    for number, expected in ((1, math.nan), (2, 6 * 2.0), (4, 6 * 2.0), (5, 6 * 3.0)):
        (folder / "timing.jsonl").write_text("".join(lines[:number]))
        assert status.of(folder).seconds_left == pytest.approx(expected, nan_ok=True)


def test_a_folder_that_is_not_there_waits(tmp_path):
    assert status.of(tmp_path / "none").state == "waiting"


def test_more_epochs_than_were_trained_are_not_done(tmp_path):
    folder = write(tmp_path / "run", replicates=DONE, epochs=10, held=False, metrics=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_epochs": 20}))
    assert status.of(folder).state == "stopped"


def test_what_was_killed_is_not_running_for_ever(tmp_path):
    folder = write(tmp_path / "run", epochs=4, lap=100.0)
    for silent, state in ((400, "running"), (600, "stopped")):  # five epochs are 500 s
        then = time.time() - silent
        for path in folder.iterdir():
            os.utime(path, (then, then))
        assert status.of(folder).state == state


def test_a_damaged_file_is_named(tmp_path):
    folder = write(tmp_path / "run")
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(RunFolderError, match=r"manifest\.json: holds no object"):
        status.of(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("logs/seed_7.jsonl", '{"epoch": 1, "elbo": "x"}'),
        ("logs/seed_7.jsonl", '{"epoch": 0}'),
        ("timing.jsonl", '{"event": "epoch", "seconds": "2"}'),
        ("config.json", json.dumps(CONFIG | {"sweep": {"beta": 3}})),
    ],
)
def test_damaged_logs_are_one_line(tmp_path, name, text):
    folder = write(tmp_path / "run", epochs=4)
    (folder / name).write_text(text)
    with pytest.raises(RunFolderError, match=rf"{folder / name}: '\S+' is "):
        status.of(folder)


def test_scores_of_fewer_seeds_are_no_scores_of_all(tmp_path):
    folder = write(tmp_path / "run", epochs=10, replicates=DONE, metrics=True)
    (folder / "metrics.json").write_text('{"replicates": [{"replicate": "seed_7"}]}')
    assert status.of(folder).state == "unscored"
    (folder / "metrics.json").write_text("garbage")
    assert status.of(folder).state == "unscored"


def test_the_page_counts_all_and_lists_what_matters(tmp_path):
    write(tmp_path / "a", epochs=4)
    write(tmp_path / "b", epochs=10, replicates=FAILED, metrics=True)
    write(tmp_path / "c", epochs=10, replicates=DONE, metrics=True)
    (write(tmp_path / "d") / "manifest.json").write_text("[]")
    write(tmp_path / "f", epochs=10, replicates=DONE, metrics=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "g.txt.failed").touch()
    asked = {"a": {}, "e": {}, "f": {"num_replicates": 3}, "g": {}, "c": {}}
    usual = {"cost": 1.0, "num_replicates": 2, "num_epochs": 10}
    lines = [{"workdir": name, **usual, **more} for name, more in asked.items()]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "sweep.jsonl").write_text(text + "[1]\n{}\n")
    command = [sys.executable, "-m", "mvae_jax.sweep.watch", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # a: 12 s; e: 20 s; f has two of three seeds.
    expected = "7 runs: 2 waiting, 1 running, 3 failed, 1 done; about 0:00:39 left"
    assert expected in done.stdout
    rows = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines()[2:] if row}
    assert rows["a"] == ["running", "0/2", "4/10", "-88.50", "0:00:12"]
    assert rows["b"][:2] == ["failed", "2/2"]
    assert rows["g"][:4] == [f"({tmp_path / 'logs' / 'g.txt'}", "says", "why)", "failed"]
    assert "c" not in rows
    assert not (tmp_path / "report").exists()


def test_durations():
    assert watch.duration(3_661.4) == "1:01:01"
    assert watch.duration(float("nan")) == ""
