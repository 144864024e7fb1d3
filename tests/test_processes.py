"""A run whose seeds do not train all at once: in chunks, in halves, in several processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import replicas
from mvae_jax.runs import checkpoint, environment, run, workdir
from mvae_jax.runs.workdir import RunError
from mvae_jax.store import config_file, run_folder
from tests.conftest import ROOT

pytestmark = pytest.mark.thorough

SMALL = {"hidden_size": 8, "batch_size": 500, "num_epochs": 4, "checkpoint_every": 2}
SMALL |= {"num_seeds": 3, "iwae_samples": 0}
FOLDERS = ("embeddings", "model", "pictures")


def small(**fields) -> FrozenConfigDict:
    config = config_lib.base_config("digits", "vae,3")
    config.update(SMALL | fields)
    return config_lib.validate(config)


def arrays(folder):
    """Returns path -> the arrays of every file of a seed."""
    found = {}
    for path in sorted(path for name in FOLDERS for path in (folder / name).glob("*.npz")):
        with np.load(path) as file:
            found[str(path.relative_to(folder))] = dict(file)
    return found


def epochs(folder):
    """Returns (seed, epoch) of every line of the logs, sorted."""
    texts = [path.read_text() for path in (folder / "logs").iterdir()]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return sorted((line["seed"], line["epoch"]) for line in lines)


def assert_equal_runs(folder, expected):
    """All seeds, all epochs, and the same numbers up to rounding."""
    assert epochs(folder) == epochs(expected)
    manifests = [run_folder.read_manifest(f) for f in (folder, expected)]
    trained = [{n: (r["seed"], r["epoch"]) for n, r in m["replicates"].items()} for m in manifests]
    assert trained[0] == trained[1]
    assert manifests[0]["sha256"].keys() == manifests[1]["sha256"].keys()
    found, wanted = arrays(folder), arrays(expected)
    assert found.keys() == wanted.keys()
    for path, file in wanted.items():
        for name, array in file.items():
            np.testing.assert_allclose(found[path][name], array, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All seeds in one program."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run.run(small(), folder)
    return folder


@pytest.fixture
def sizes(monkeypatch):
    """The number of seeds of every program that is started."""
    started = []
    original = replicas.init
    monkeypatch.setattr(
        replicas,
        "init",
        lambda config, seeds: started.append(len(seeds)) or original(config, seeds),
    )
    return started


def test_seeds_in_chunks(whole, tmp_path, sizes):
    run.run(small(seeds_per_program="2"), tmp_path / "run")
    assert sizes == [2, 1]
    assert_equal_runs(tmp_path / "run", whole)


def out_of_memory_above(most, monkeypatch):
    """Lets training fail as XLA does where more than so many seeds train at once."""
    original = replicas.train_epoch

    def train_epoch(config, mode, states, *images):
        if len(np.unique(states.seed)) > most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte.")
        return original(config, mode, states, *images)

    monkeypatch.setattr(replicas, "train_epoch", train_epoch)


def test_out_of_memory_halves_says_so_and_is_recorded(whole, tmp_path, sizes, monkeypatch, capsys):
    out_of_memory_above(1, monkeypatch)
    run.run(small(), tmp_path / "run")
    assert sizes == [3, 2, 1, 1, 1]
    assert "3 seeds do not fit the device's memory; trying 2" in capsys.readouterr().err
    assert config_file.read(tmp_path / "run" / "config.json").seeds_per_program == "1"
    assert_equal_runs(tmp_path / "run", whole)


def test_out_of_memory_after_an_epoch_logs_every_epoch_once(whole, tmp_path, monkeypatch):
    original = replicas.train_epoch
    epochs_of_all = []

    def train_epoch(config, mode, states, *images):
        if len(np.unique(states.seed)) == 3:
            epochs_of_all.append(1)
            if len(epochs_of_all) == 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return original(config, mode, states, *images)

    monkeypatch.setattr(replicas, "train_epoch", train_epoch)
    run.run(small(checkpoint_every=20), tmp_path / "run")
    assert_equal_runs(tmp_path / "run", whole)


def test_no_process_of_an_earlier_run_trains_on(tmp_path):
    """Of a run of two, process 0 was killed and process 1 has not noticed yet."""
    folder = tmp_path / "run"
    with workdir.lock(workdir.Workdir(folder, 1)), pytest.raises(workdir.LockedError):
        run.run(small(), folder)
    run.run(small(num_epochs=1), folder)


def test_a_checkpoint_that_no_longer_fits_is_halved(whole, tmp_path, sizes, monkeypatch):
    run.run(small(num_epochs=2), tmp_path / "run")
    sizes.clear()
    out_of_memory_above(2, monkeypatch)
    run.run(small(), tmp_path / "run")
    assert sizes == []  # nothing began anew
    folders = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert folders == ["seed_777-778", "seed_779-779"]
    assert_equal_runs(tmp_path / "run", whole)


def test_a_kill_between_the_halves_loses_no_seed(whole, tmp_path, sizes, monkeypatch):
    """The first half is saved, the whole not yet removed: the whole counts, and is halved again."""
    folder = tmp_path / "run"
    run.run(small(num_epochs=2), folder)
    both = folder / "checkpoints" / "seed_777-779"
    found = checkpoint.restore(
        both, replicas.empty(config_file.read(folder / "config.json"), range(777, 780))
    )
    half = jax.tree.map(lambda leaf: leaf[:2], found.state)
    sizes.clear()
    checkpoint.save(folder / "checkpoints" / "seed_777-778", 2, half, found.details)
    assert workdir.cohorts(workdir.Workdir(folder), small()) == [range(777, 780)]
    out_of_memory_above(2, monkeypatch)
    run.run(small(), folder)
    assert sizes == []  # nothing began anew
    assert_equal_runs(folder, whole)


def test_no_room_for_one_seed_is_one_line(tmp_path, monkeypatch):
    out_of_memory_above(0, monkeypatch)
    with pytest.raises(RunError, match="one seed does not fit the device's memory; lower"):
        run.run(small(), tmp_path / "run")


def test_another_failure_of_the_device_is_not_taken_for_that(tmp_path, monkeypatch):
    def train_epoch(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(replicas, "train_epoch", train_epoch)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run.run(small(), tmp_path / "run")


# --- several processes -------------------------------------------------------------------------


def start(folder, number, **fields):
    """Starts so many processes of four devices each, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = [f"--config.{name}={value}" for name, value in (SMALL | fields).items()]
    devices = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": devices, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "mvae_jax.main", "--config=configs/digits.py:vae,3", *flags]
    command += [f"--workdir={folder}", "--distributed", f"--coordinator={address}"]
    return [
        subprocess.Popen(
            [*command, f"--num_processes={number}", f"--process_id={process}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(number)
    ]


def finish(processes):
    """Returns what each printed, and its exit status."""
    said = [process.communicate(timeout=200)[0] for process in processes]
    return said, [process.returncode for process in processes]


def test_two_processes_share_the_seeds_and_a_killed_one_is_resumed(whole, tmp_path):
    folder = tmp_path / "run"
    long = {"num_epochs": 60, "checkpoint_every": 5}
    processes = start(folder, 2, **long)
    deadline = time.monotonic() + 120
    checkpoints = folder / "checkpoints/seed_779-779"
    while not any(checkpoints.glob("*.json")):  # the record of a whole one
        assert time.monotonic() < deadline, finish(processes)
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.05)
    processes[1].kill()
    processes[0].send_signal(signal.SIGTERM)
    while not (folder / ".stop").exists():
        assert time.monotonic() < deadline, finish(processes)
        time.sleep(0.05)
    time.sleep(1)  # it saves; then it would wait half a minute for the dead one
    processes[0].kill()
    finish(processes)
    assert not (folder / "embeddings" / "seed_779.npz").exists()

    said, statuses = finish(start(folder, 2, **long))
    assert statuses == [0, 0], said
    assert "wrote" in said[0]
    assert "wrote" not in said[1]
    # Every seed once, every epoch once.
    assert epochs(folder) == [(s, e) for s in range(777, 780) for e in range(1, 61)]
    found = sorted(path.name for path in checkpoints.parent.iterdir())
    assert found == ["seed_777-778", "seed_779-779"]

    alone = tmp_path / "alone"
    run.run(small(**long), alone)
    assert epochs(alone) == epochs(folder)
    found, wanted = arrays(folder), arrays(alone)
    assert found.keys() == wanted.keys()
    for path, file in wanted.items():
        if path.startswith("model"):
            for name, array in file.items():
                np.testing.assert_allclose(found[path][name], array, rtol=0.02, atol=2e-3)


def test_a_signal_to_one_process_stops_all(tmp_path):
    folder = tmp_path / "run"
    processes = start(folder, 2, num_epochs=100_000)
    deadline = time.monotonic() + 120
    while len({path.parent for path in folder.glob("checkpoints/*/*.json")}) < 2:
        assert time.monotonic() < deadline, finish(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGINT)
    said, statuses = finish(processes)
    assert statuses == [130, 130], said
    assert all("the same command resumes" in text for text in said)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("h:1", 2, None), "--process_id: missing; give all of"),
        (("h:1", 2, 2), "--process_id: got 2"),
    ],
)
def test_half_an_address_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        environment.connect(*given)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--distributed", "error: --distributed: the processes do not find each other"),
        ("--num_processes=2", "error: --num_processes: got 2 without --distributed"),
    ],
)
def test_processes_that_cannot_meet_are_told_so(flag, message):
    command = [sys.executable, "-m", "mvae_jax.main", "--config=configs/digits.py:vae,3", flag]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    *title, error = done.stderr.splitlines()
    assert error.startswith(message)
    assert title in ([], ["vae z=3 on digits, release protocol: 5 seeds, 200 epochs"])
