"""A grid on this machine: what is listed, what runs, what is left out, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time

import joblib
import pytest

from mvae_jax.store import json_file, seal, status
from mvae_jax.sweep import __main__ as command
from mvae_jax.sweep import grid, local
from tests.conftest import ROOT

NAMES = ["vae-z2", "mvae-z2"]


@pytest.fixture
def start(tiny):
    """Returns a function: root, *flags -> the process of a sweep over two tiny runs."""

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


@pytest.fixture
def call(start):
    """Returns a function: root, *flags -> exit status, stdout and stderr of such a sweep."""

    def call(root, *extra):
        process = start(root, *extra)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    return call


def folder(root, name):
    return root / "tiny" / "release" / name


@pytest.fixture
def inside(tiny, monkeypatch, capsys):
    """Returns a function: *flags -> exit status, stdout and stderr of a sweep in this process."""

    def inside(*flags):
        arguments = ["sweep", "--dataset=digits", "--latent=2", *tiny, *flags]
        monkeypatch.setattr(sys, "argv", arguments)
        try:
            command.main()
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return inside


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


def test_every_run_is_done_once_and_another_configuration_is_reported(tmp_path, call, capsys):
    """Nothing runs a second time; what is another run is left alone, or with --overwrite kept."""
    returned, _, err = call(tmp_path)
    assert returned == 0, err
    assert "2 of 2 runs are complete, 0 failed" in err
    for name in NAMES:
        assert status.of(folder(tmp_path, name)).state == "done"
        assert (tmp_path / "logs" / "tiny" / "release" / f"{name}.txt").stat().st_size
    stored = folder(tmp_path, "vae-z2") / "timing.jsonl"
    before = stored.read_bytes()
    returned, _, err = call(tmp_path)
    assert (returned, err) == (0, "2 of 2 runs are complete, 0 failed\n")

    returned, _, err = call(tmp_path, "--config.learning_rate=0.5")
    assert returned == 1
    assert "vae-z2: config: differs from the stored run's in learning_rate" in err
    assert "0 of 2 runs are complete, 0 failed, 2 left alone" in err
    assert stored.read_bytes() == before

    environment = folder(tmp_path, "vae-z2") / "environment.json"
    described = json_file.read_json(environment)
    (origin,) = described["origins"].values()
    origin["sources"]["mvae_jax/model.py"] = "0" * 16
    environment.write_text(seal.dumps(described))
    entries = grid.read(tmp_path / "sweep.jsonl")
    assert grid.sort_out(tmp_path, entries, overwrite=False) == ([], [])
    said = "1 trained runs are of other code, tiny/release/vae-z2 the first of them"
    assert said in capsys.readouterr().err
    more = [e._replace(command=[*e.command, "--config.num_epochs=3"]) for e in entries]
    missing, refused = grid.sort_out(tmp_path, more, overwrite=False)
    assert len(missing) == 1
    assert "other code (mvae_jax/model.py); restore" in refused[0][1]
    accepted = [e._replace(command=[*e.command, grid.ACCEPT]) for e in more]
    assert len(grid.sort_out(tmp_path, accepted, overwrite=False)[0]) == 2

    config = folder(tmp_path, "mvae-z2") / "config.json"
    other = config.read_text().replace('"learning_rate": 0.001', '"learning_rate": 0.5')
    config.write_text(other)
    assert not any("learning_rate" in flag for entry in entries for flag in entry.command)
    missing, differing = grid.sort_out(tmp_path, entries, overwrite=True)
    assert [e.workdir for e in missing] == ["tiny/release/vae-z2", "tiny/release/mvae-z2"]
    assert not differing
    assert (folder(tmp_path, ".mvae-z2.old-1") / "config.json").read_text() == other
    assert not folder(tmp_path, "mvae-z2").exists()


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
    """Runs that are but commands: what counts is their exit status."""
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


def test_two_sweeps_at_once_then_more_seeds(tmp_path, start, call):
    """A run is trained once; then the new seed alone."""
    flags = ("--model=vae", "--config.num_epochs=30")
    both = [start(tmp_path, *flags) for _ in range(2)]
    said = [process.communicate(timeout=200)[1] for process in both]
    statuses = sorted(process.returncode for process in both)
    assert statuses in ([0, 1], [0, 0]), said  # 1: the other one holds the folder
    assert statuses == [0, 0] or "1 held by other processes" in "".join(said)
    lines = (folder(tmp_path, "vae-z2") / "logs" / "seed_777.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 31))
    returned, _, err = call(tmp_path, *flags, "--num_seeds=2")
    assert returned == 0, err
    logs = sorted((folder(tmp_path, "vae-z2") / "logs").iterdir())
    assert [path.stem for path in logs] == ["seed_777", "seed_778"]
    assert [len(path.read_text().splitlines()) for path in logs] == [30, 30]


def test_an_interrupt_saves_the_running_ones_and_the_same_command_goes_on(tmp_path, start):
    flags = ("--model=vae", "--config.num_epochs=100000")
    process = start(tmp_path, *flags)
    path = folder(tmp_path, "vae-z2")
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
