"""A grid on this machine: what is listed, what runs, what is left out, and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import joblib
import pytest

from mvae_jax.store import json_file, status
from mvae_jax.sweep import __main__ as command
from mvae_jax.sweep import grid, local
from tests import in_process
from tests.conftest import ROOT

NAMES = ["vae-z2", "mvae-z2"]


@pytest.fixture(scope="module")
def start(tiny):
    """Return a function: root, *flags -> the process of a sweep over two tiny runs."""

    def start(root, *extra):
        flags = ["--dataset=digits", "--latent=2", "--num_seeds=1", "--config.num_epochs=2", *tiny]
        return subprocess.Popen(
            [sys.executable, "-m", "mvae_jax.sweep", *flags, f"--root={root}", *extra],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def call(start):
    """Return a function: root, *flags -> exit status, stdout and stderr of such a sweep."""

    def call(root, *extra):
        process = start(root, *extra)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    return call


def folder(root, name):
    return root / "tiny" / "release" / name


@pytest.fixture(scope="module")
def swept(tmp_path_factory, call):
    """The root of a sweep that has trained its two runs, for tests that only read it."""
    root = tmp_path_factory.mktemp("swept")
    returned, _, err = call(root)
    assert returned == 0, err
    assert "2 of 2 runs are complete, 0 failed" in err
    return root


@pytest.fixture
def root(swept, tmp_path):
    """A copy of that root, for tests that change it."""
    return shutil.copytree(swept, tmp_path / "root")


@pytest.fixture
def inside(tiny, monkeypatch, capsys):
    """Return a function: *flags -> exit status, stdout and stderr of a sweep in this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return partial(
        *(in_process.call, command.main, monkeypatch, capsys),
        *("--dataset=digits", "--latent=2", *tiny),
    )


def test_a_dry_run_prints_the_grid_in_order_and_touches_nothing(tmp_path, inside):
    flags = ("--latent=2,3", "--dry_run", f"--root={tmp_path / 'none'}")
    returned, out, _ = inside(*flags)
    entries = [json.loads(line) for line in out.splitlines()]
    assert returned == 0
    names = [os.path.basename(e["workdir"]) for e in entries]
    assert names == ["vae-z2", "mvae-z2", "vae-z3", "mvae-z3"]
    assert "--config=configs/digits.py:vae,2,release" in entries[0]["command"]
    assert not (tmp_path / "none").exists()
    _, longest, _ = inside(*flags, "--order=longest")
    assert [json.loads(line) for line in longest.splitlines()] == entries[::-1]


def test_a_users_configuration_is_found_from_any_folder(tmp_path, inside, monkeypatch):
    text = "from mvae_jax.config import base_config\n\n\ndef get_config(argument):\n"
    (tmp_path / "mine.py").write_text(f"{text}    return base_config('digits', argument)\n")
    monkeypatch.chdir(tmp_path)
    _, out, _ = inside("--dataset=mine.py", "--dry_run")
    assert (
        f"--config={tmp_path / 'mine.py'}:vae,2,release"
        in json.loads(out.splitlines()[0])["command"]
    )


TRAINED = ("--num_seeds=1", "--config.num_epochs=2")


def test_a_sweep_trains_every_run_and_keeps_its_output(swept):
    for name in NAMES:
        assert status.of(folder(swept, name)).state == "done"
        assert (swept / "logs" / "tiny" / "release" / f"{name}.txt").stat().st_size


def test_nothing_runs_a_second_time(swept, inside):
    stored = folder(swept, "vae-z2") / "timing.jsonl"
    before = stored.read_bytes()
    returned, _, err = inside(f"--root={swept}", *TRAINED)
    assert (returned, err) == (0, "2 of 2 runs are complete, 0 failed\n")
    assert stored.read_bytes() == before


def test_more_seeds_train_the_new_ones_alone(root, call):
    log = folder(root, "vae-z2") / "logs" / "seed_777.jsonl"
    before = log.read_bytes()
    returned, _, err = call(root, "--model=vae", "--num_seeds=2")
    assert returned == 0, err
    logs = sorted(log.parent.iterdir())
    assert [path.stem for path in logs] == ["seed_777", "seed_778"]
    assert [len(path.read_text().splitlines()) for path in logs] == [2, 2]
    assert log.read_bytes() == before


def test_another_configuration_is_reported_and_left_alone(swept, inside):
    stored = folder(swept, "vae-z2") / "timing.jsonl"
    before = stored.read_bytes()
    returned, _, err = inside(f"--root={swept}", *TRAINED, "--config.learning_rate=0.5")
    assert returned == 1
    assert "vae-z2: config: differs from the stored run's in learning_rate" in err
    assert "0 of 2 runs are complete, 0 failed, 2 left alone" in err
    assert stored.read_bytes() == before


def test_a_run_of_other_code_is_not_gone_on_with(root, capsys):
    environment = folder(root, "vae-z2") / "environment.json"
    described = json_file.read_json(environment)
    (origin,) = described["origins"].values()
    origin["sources"]["mvae_jax/model.py"] = "0" * 16
    environment.write_text(json_file.dumps(described))
    planned = grid.read(root / "sweep.jsonl")
    assert grid.sort_out(root, planned, overwrite=False) == ([], [])
    said = "1 trained runs are of other code, tiny/release/vae-z2 the first of them"
    assert said in capsys.readouterr().err
    more = [run._replace(command=[*run.command, "--config.num_epochs=3"]) for run in planned]
    missing, refused = grid.sort_out(root, more, overwrite=False)
    assert len(missing) == 1
    assert "other code (mvae_jax/model.py); restore" in refused[0][1]
    accepted = [run._replace(command=[*run.command, grid.ACCEPT]) for run in more]
    assert len(grid.sort_out(root, accepted, overwrite=False)[0]) == 2
    missing, refused = grid.sort_out(root, planned, overwrite=True)
    assert [run.workdir for run in missing] == ["tiny/release/vae-z2"]
    assert not refused


def test_overwrite_keeps_the_other_run_aside(root):
    config = folder(root, "mvae-z2") / "config.json"
    other = config.read_text().replace('"learning_rate": 0.001', '"learning_rate": 0.5')
    config.write_text(other)
    planned = grid.read(root / "sweep.jsonl")
    assert not any("learning_rate" in flag for run in planned for flag in run.command)
    missing, refused = grid.sort_out(root, planned, overwrite=True)
    assert [run.workdir for run in missing] == ["tiny/release/mvae-z2"]
    assert not refused
    assert (folder(root, ".mvae-z2.old-1") / "config.json").read_text() == other
    assert not folder(root, "mvae-z2").exists()


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
        (("--latent=2,2",), "--latent: got '2,2'"),
        (("--model=",), "--model: got ''"),
        (("--config.latent_size=4", "--latent=2,3"), "2 configurations of the grid"),
    ],
)
def test_a_mistake_is_answered_before_anything_runs(tmp_path, inside, flags, message):
    returned, _, err = inside(f"--root={tmp_path / 'none'}", *flags)
    assert returned == 2
    assert message in err
    assert not (tmp_path / "none").exists()


def test_a_failed_run_stops_no_other_and_shows_the_end_of_its_log(tmp_path, capsys):
    """Any command can be a run: its exit status counts."""
    fails = "for line in range(20): print('[/line]', line)\nraise SystemExit(7)"
    codes = {"good": "", "bad": fails, "held": f"raise SystemExit({local.LOCKED})", "last": ""}
    entries = [grid.PlannedRun(name, [sys.executable, "-c", c], 1.0) for name, c in codes.items()]
    assert local.execute(entries, 6, 1, tmp_path, local.slots(1)) == 1
    said = capsys.readouterr().err
    assert "bad: failed (exit status 7):\n  [/line] 5\n" in said
    assert "[/line] 4" not in said
    assert "held: another process is training there" in said
    assert "last: done, 3 of 6" in said  # one was complete, one is another run
    assert "3 of 6 runs are complete, 1 failed, 1 held by other processes, 1 left alone" in said
    assert (tmp_path / "logs" / "bad.txt.failed").read_text() == "exit status 7\n"
    assert not (tmp_path / "logs" / "good.txt.failed").exists()


def test_every_run_has_a_core_or_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = sorted(os.sched_getaffinity(0))
    assert [slot.cores for slot in local.slots(len(cores))] == [{core} for core in cores]
    assert len(local.slots(None)) == joblib.cpu_count()
    shares = local.slots(2)
    assert set.union(*(slot.cores for slot in shares)) == set(cores)
    say = "import os; print(sorted(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'])"
    command = [sys.executable, "-c", say]
    entry = grid.PlannedRun("one", command, 1.0)
    assert local.execute([entry], 1, 0, tmp_path, [local.Slot({}, {cores[-1]})]) == 0
    assert (tmp_path / "logs" / "one.txt").read_text() == f"[{cores[-1]}] \n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in local.slots(None)] == [
        "3",
        "GPU-7",
    ]
    shares = local.slots(1)
    assert local.execute([entry], 1, 0, tmp_path, shares) == 0
    assert (tmp_path / "logs" / "one.txt").read_text().endswith(f"{cores} 3\n")


def test_a_log_that_cannot_be_written_fails_its_run_alone(tmp_path, capsys):
    (tmp_path / "logs").write_text("no folder")
    entry = grid.PlannedRun("one", [sys.executable, "-c", ""], 1.0)
    assert local.execute([entry], 1, 0, tmp_path, local.slots(1)) == 1
    assert "one: failed ([Errno" in capsys.readouterr().err


def test_another_grid_is_added_to_the_file(tmp_path, inside):
    for flags in (("--latent=2",), ("--latent=3", "--config.num_epochs=7"), ("--latent=2",)):
        returned, *_ = inside(f"--root={tmp_path}", "--manifest_only", *flags)
        assert returned == 0
    entries = grid.read(tmp_path / "sweep.jsonl")
    epochs = {os.path.basename(entry.workdir): entry.num_epochs for entry in entries}
    assert epochs == {"vae-z2": 200, "mvae-z2": 200, "vae-z3": 7, "mvae-z3": 7}
    assert [entry.cost for entry in entries] == sorted(entry.cost for entry in entries)
    assert {entry.num_replicates for entry in entries} == {5}


def test_of_two_sweeps_at_once_one_trains_and_an_interrupt_saves(tmp_path, start):
    flags = ("--model=vae", "--config.num_epochs=100000")
    both = [start(tmp_path, *flags) for _ in range(2)]
    path = folder(tmp_path, "vae-z2")
    deadline = time.monotonic() + 150
    while status.of(path).epoch < 2 or all(process.poll() is None for process in both):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process, other = sorted(both, key=lambda process: process.poll() is not None)
    _, err = other.communicate(timeout=10)
    assert other.returncode == 1, err
    assert "another process is training there" in err
    assert "0 of 1 runs are complete, 0 failed, 1 held by other processes" in err
    assert status.of(path).state == "running"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "interrupted; the same command goes on" in err
    assert status.of(path).state == "stopped"
    assert list(path.glob("checkpoints/*/*"))
    lines = (path / "logs" / "seed_777.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(lines) + 1))
