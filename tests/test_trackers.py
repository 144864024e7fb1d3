"""Trackers: what they are told, what one may do wrong, and TensorBoard's files of a live run."""

import itertools
import json
import math
import struct

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.runs import run, trackers

FILE = """
class Fails:
    def __init__(self, folder, config): pass
    def log(self, replicate, epoch, values): raise RuntimeError("no network")
    def finish(self): print("finished")

def cannot_start(folder, config): return 1 / 0

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_trackers.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def config(tiny):
    made = config_lib.base_config("digits", "vae,2")
    flags = dict(flag.removeprefix("--config.").split("=") for flag in tiny)
    made.update({k: v if k == "dataset" else int(v) for k, v in flags.items()})
    made.update(num_epochs=3, num_seeds=1)
    return config_lib.validate(made)


def test_a_tracker_that_raises_is_named_once_and_the_run_goes_on(module, config, tmp_path, capsys):
    found = trackers.find(["some_trackers.Fails", "some_trackers.cannot_start"])
    told = []

    class Keeps:
        def __init__(self, folder, config):
            told.append((folder, config.model))

        def log(self, replicate, epoch, values):
            told.append((replicate, epoch, sorted(values)))

        def finish(self):
            told.append("finished")

    run.run(config, tmp_path / "run", trackers={**found, "keeps": Keeps})
    said = [line for line in capsys.readouterr().err.splitlines() if "tracker" in line]
    assert sorted(line.partition(" failed")[0] for line in said) == [
        "note: the tracker some_trackers.Fails",
        "note: the tracker some_trackers.cannot_start",
    ]
    assert "(RuntimeError: no network)" in "".join(said)
    names = ["elbo", "kl", "log_likelihood", "loss", "parameter_norm"]
    epochs = [("seed_777", epoch, names) for epoch in (1, 2, 3)]
    assert told == [(tmp_path / "run", "vae"), *epochs, "finished"]
    assert (tmp_path / "run" / "done" / "seed_777.json").is_file()


def test_an_interrupted_run_finishes_its_trackers(config, tmp_path):
    told = []

    class Stops:
        def __init__(self, folder, config):
            pass

        def log(self, replicate, epoch, values):
            told.append((replicate, epoch, values))

        def finish(self):
            told.append("finished")

    def interrupted():
        with trackers.tracking({"stops": Stops}, tmp_path, config) as log:
            log("seed_1", 1, {"elbo": math.nan})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [told[0][:2], told[1]] == [("seed_1", 1), "finished"]


def test_a_slow_tracker_does_not_wait_for_ever(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trackers, "FINISH_SECONDS", 0.1)
    with trackers.tracking({"slow": lambda *_: __import__("time").sleep(2)}, tmp_path, config):
        pass
    assert "note: the tracker slow has not finished" in capsys.readouterr().err


def test_tensorboard_shows_what_the_log_holds_after_a_resume_too(config, tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.time", lambda: 1.8e9 + 1e-6 * next(clock))  # within one second
    folder = tmp_path / "run"
    for epochs in (2, 3):
        more = config_lib.replace(config, num_epochs=epochs)
        run.run(more, folder, trackers=trackers.find(["tensorboard"]))
    read = EventAccumulator(str(folder / "tensorboard" / "seed_777")).Reload()
    lines = (folder / "logs" / "seed_777.jsonl").read_text().splitlines()
    for name in ("elbo", "kl", "log_likelihood", "parameter_norm"):
        logged = [(json.loads(line)["epoch"], json.loads(line)[name]) for line in lines]
        assert len(logged) == 3
        shown = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in read.Scalars(name)]
        assert logged == shown


def run_twice(config, folder, name):
    """Trains 2 epochs and then 1 more with a tracker; returns the log's lines."""
    for epochs in (2, 3):
        more = config_lib.replace(config, num_epochs=epochs)
        run.run(more, folder, trackers=trackers.find([name]))
    lines = (folder / "logs" / "seed_777.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_mlflow_has_one_run_of_a_replicate_after_a_resume_too(config, tmp_path, monkeypatch, capfd):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    lines = run_twice(config, tmp_path / "run", "mlflow")
    assert "tracker" not in capfd.readouterr().err
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("mvae_jax")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run seed_777"
    assert found.data.params["hidden_size"] == "8"
    for name in ("elbo", "kl", "loss"):
        history = client.get_metric_history(found.info.run_id, name)
        told = [(metric.step, metric.value) for metric in history]
        assert told == [(line["epoch"], pytest.approx(line[name])) for line in lines]


def leveldb_records(log, position):
    """Yields the records of a LevelDB log: in blocks of 32 KiB, each part behind a header of 7 B.

    position: of the log's first byte in its file
    """
    record = b""
    start = 0
    while start + 7 < len(log):
        left = 32768 - (start + position) % 32768
        if left < 7:
            start += left
            continue
        length, kind = struct.unpack("<HB", log[start + 4 : start + 7])
        record += log[start + 7 : start + 7 + length]
        start += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def test_wandb_keeps_a_run_of_each_replicate_offline(config, tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    config = config_lib.replace(config, num_seeds=2)
    run.run(config, tmp_path / "run", trackers=trackers.find(["wandb"]))
    assert "tracker" not in capfd.readouterr().err
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    found = {}
    for file in files:
        elbos = []
        for data in leveldb_records(file.read_bytes()[7:], 7):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                name = record.run.display_name
            items = record.history.item
            values = {".".join([i.key, *i.nested_key]).strip("."): i.value_json for i in items}
            elbos += [json.loads(values["elbo"])] if "elbo" in values else []
        found[name] = elbos
    for seed in (777, 778):
        lines = (tmp_path / "run" / "logs" / f"seed_{seed}.jsonl").read_text().splitlines()
        logged = [json.loads(line)["elbo"] for line in lines]
        assert found[f"run seed_{seed}"] == pytest.approx(logged)


def test_a_tracker_without_its_library_is_answered_with_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in trackers.OURS:
        with pytest.raises(ConfigError, match=rf"pip install 'mvae_jax\[{name}\]'"):
            trackers.find([name])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("comet", "got 'comet'; allowed: tensorboard, wandb, mlflow, or a dotted path"),
        ("no_such.tracker", "got 'no_such.tracker', which does not import .*'no_such'"),
        ("some_trackers.other", "got 'some_trackers.other', which does not import .*'other'"),
        (
            "some_trackers.number",
            "got 'some_trackers.number', of the class int; allowed: a class or function",
        ),
        ("tensorboard,comet", "got 'comet'"),
    ],
)
def test_a_name_of_no_tracker_is_answered_in_one_line(module, name, said):
    with pytest.raises(ConfigError, match=f"--tracker: {said}") as raised:
        trackers.find([name])
    assert "\n" not in str(raised.value)
