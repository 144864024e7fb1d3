"""A run that is killed or told to stop, anywhere, ends as if nothing had happened.

    pytest -m slow -s tests/test_kills.py

Kills: at 100 random moments, and before and after each call of POINTS. Signals: at random moments
of every phase, from the import to the report.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvae_jax.store import files
from tests.conftest import ROOT

pytestmark = pytest.mark.thorough

EPOCHS = 60
FIELDS = {"hidden_size": 8, "batch_size": 500, "num_epochs": EPOCHS, "num_seeds": 2}
FIELDS |= {"checkpoint_every": 5, "iwae_samples": 2}
FLAGS = [f"--config.{name}={value}" for name, value in FIELDS.items()]
VARYING = ("timing.jsonl", "environment.json")  # and `done`, which has the time of an epoch
# Where a run is killed: module, function, which of its calls.
POINTS = [
    ("mvae_jax.store.files", "write_bytes", 1),
    ("mvae_jax.store.files", "write_bytes", 2),
    ("mvae_jax.store.files", "write_bytes", 4),
    ("os", "replace", 1),
    ("os", "replace", 3),
    ("mvae_jax.runs.workdir", "append_epoch", 1),
    ("mvae_jax.runs.workdir", "append_epoch", 24),
    ("mvae_jax.runs.workdir", "cut_back", 1),
    ("mvae_jax.runs.checkpoint", "save", 1),
    ("mvae_jax.runs.checkpoint", "save", 3),
    ("mvae_jax.runs.checkpoint", "_digests", 2),
    ("mvae_jax.runs.checkpoint", "_remove", 2),
    ("mvae_jax.runs.checkpoint", "prune", 4),
    ("shutil", "rmtree", 1),
    ("mvae_jax.embed", "write", 2),
    ("mvae_jax.runs.workdir", "record_done", 1),
    ("mvae_jax.runs.workdir", "record_done", 2),
    ("mvae_jax.evaluate.plan", "_write", 2),
    ("mvae_jax.report.formats", "write", 1),
]
KILLED_AT = """
import importlib, os, signal, sys
module, name, number, after, *sys.argv[1:] = sys.argv[1:]
home = importlib.import_module(module)
original, calls = getattr(home, name), []
def killing(*arguments, **options):
    calls.append(1)
    if len(calls) == int(number) and after == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments, **options)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(home, name, killing)
from mvae_jax import main
from mvae_jax.terminal import command
main.entry_point()
"""


def contents(folder):
    """Returns the SHA-256 of every file that must be bitwise equal; checkpoints are no result."""
    left_out = {"checkpoints", "report", "done"}
    return {
        str(path.relative_to(folder)): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        # What a kill has left of a write is hidden, and goes with a later write of that file.
        if path.is_file()
        and path.name not in VARYING
        and not path.name.endswith(".tmp")
        and not left_out & {*path.parts}
    }


def start(folder, *prefix):
    command = [*(prefix or (sys.executable, "-m", "mvae_jax.main"))]
    command += ["--config=configs/digits.py:mvae,3", *FLAGS, f"--workdir={folder}"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it leaves behind can be found
    )


def end(process):
    """Returns exit status and stderr; fails where a process of the session is left."""
    _, err = process.communicate(timeout=300)
    deadline = time.monotonic() + 10
    while (left := processes(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"left behind: {left}"
    assert "Traceback" not in err, err
    return process.returncode, err


def processes(session):
    """Returns the command lines of a session's processes that are alive."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, _, of_session, *_ = (folder / "stat").read_text().rpartition(") ")[2].split()
            if int(of_session) == session and state != "Z":
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody disturbs, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert end(start(folder))[0] == 0  # and compiles
    began = time.monotonic()
    assert end(start(folder.parent / "again"))[0] == 0
    return contents(folder), time.monotonic() - began


def assert_resumes(folder, expected):
    returned, err = end(start(folder))
    assert returned == 0, err
    assert contents(folder) == expected


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments(whole, tmp_path):
    expected, seconds = whole
    moments, kills, runs, lost = random.Random(0), 0, 0, 0
    while kills < 100:
        folder = tmp_path / f"run-{runs}"
        for _ in range(5):  # of each run, before it may end
            process = start(folder)
            time.sleep(moments.uniform(0.3, 1.0) * seconds)
            process.kill()
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
            lost += process.returncode != -signal.SIGKILL  # it had ended before
        assert_resumes(folder, expected)
        runs += 1
    print(f"\n{kills} kills in {runs} runs ({lost} came after the end): no difference")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p[0]}.{p[1]}-{p[2]}")
def test_a_kill_at_each_named_point(whole, tmp_path, point, after):
    module, name, number = point
    prefix = [sys.executable, "-c", KILLED_AT, module, name, str(number), str(after)]
    process = start(tmp_path / "run", *prefix)
    _, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, err
    assert_resumes(tmp_path / "run", whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_in_every_phase(whole, tmp_path, signum):
    expected, seconds = whole
    moments, statuses = random.Random(int(signum)), []
    for trial in range(4):
        folder = tmp_path / f"run-{trial}"
        for part in range(5):
            process = start(folder)
            time.sleep((part + moments.random()) / 5 * seconds + 0.2)  # Python is starting before
            process.send_signal(signum)
            returned, err = end(process)
            statuses.append(returned)
            assert returned in (0, 130), (returned, err)
            if returned == 130:
                assert "the same command" in err.splitlines()[-1], err
        assert_resumes(folder, expected)
    print(f"\n{signum.name}: {statuses.count(130)} of {len(statuses)} interrupted; no difference")


def test_a_kill_between_two_files(tmp_path):
    """One point of those above, without a run to compare with: the same command completes it."""
    folder = tmp_path / "run"
    prefix = [sys.executable, "-c", KILLED_AT, "mvae_jax.runs.checkpoint", "_digests", "2", "1"]
    process = start(folder, *prefix)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert len(os.listdir(folder / "checkpoints/seed_777-778")) == 3  # one is not whole
    returned, err = end(start(folder))
    assert returned == 0, err
    lines = (folder / "logs/seed_777.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == EPOCHS
