"""Trackers: what they are told, what one may do wrong, and TensorBoard's files of a live run."""

import json
import math

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
    monkeypatch.setattr("time.time", lambda: 1.8e9)  # both runs start within one second
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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wandb", "got 'wandb'; allowed: tensorboard, or a dotted path"),
        ("no_such.tracker", "got 'no_such.tracker', which does not import .*'no_such'"),
        ("some_trackers.other", "got 'some_trackers.other', which does not import .*'other'"),
        (
            "some_trackers.number",
            "got 'some_trackers.number', of the class int; allowed: a class or function",
        ),
        ("tensorboard,wandb", "got 'wandb'"),
    ],
)
def test_a_name_of_no_tracker_is_answered_in_one_line(module, name, said):
    with pytest.raises(ConfigError, match=f"--tracker: {said}") as raised:
        trackers.find([name])
    assert "\n" not in str(raised.value)
