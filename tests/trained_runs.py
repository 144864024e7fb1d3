"""Small runs that were trained, for the tests of training, resume and reading."""

import json
import shutil

import pytest
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import replicas
from mvae_jax.runs import run
from mvae_jax.store import files

SMALL = {
    "hidden_size": 8,
    "batch_size": 500,
    "num_epochs": 4,
    "num_seeds": 2,
    "seed_mode": "vmap",
    "checkpoint_every": 2,
}


def small(argument="mvae,3", **fields) -> FrozenConfigDict:
    config = config_lib.base_config("digits", argument)
    config.update(SMALL | fields)
    return config_lib.validate(config)


TIMES = "timing.jsonl"


def contents(folder):
    """Returns the SHA-256 of every file that must be bitwise equal."""
    varying = (TIMES, "environment.json")
    return {
        str(path.relative_to(folder)): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in varying
        and "done" not in path.parts  # which has the time of an epoch, and the others' SHA-256
        and "checkpoints" not in path.parts
        and "report" not in path.parts  # which shows times and paths
    }


def log(folder, seed):
    """Returns the lines of a seed's log."""
    text = (folder / "logs" / f"seed_{seed}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def done(folder):
    """Returns the records of the replicates that are done."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "done").iterdir()}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of two seeds and four epochs; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run.run(small(), folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def small_resolved():
    fields = {**small().to_dict(), "image_shape": (8, 8, 1), "pixel_scale": 1 / 255}
    return FrozenConfigDict(fields)


class Killed(Exception):
    """Stands for a kill between two epochs."""


def killed_and_resumed(config, folder, monkeypatch, epochs):
    """Runs into a folder, killed before the given epochs are over, and then to the end."""
    original, trained = replicas.train_epoch, []

    def train_epoch(*arguments):
        if len(trained) == epochs:
            raise Killed
        trained.append(1)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(replicas, "train_epoch", train_epoch)
        with pytest.raises(Killed):
            run.run(config, folder)
    run.run(config, folder)
