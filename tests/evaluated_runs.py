"""Small run folders for the tests of evaluation, as another tool or this package leaves them."""

import json
import shutil

import numpy as np
import pytest

from mvae_jax.evaluate import embeddings, scoring
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, json_file, metrics_file

LATENT_SIZE = 4


NUM_TEST = 60
NUM_PICTURES = 3


CONFIG = {"dataset": "blobs", "protocol": "release", "model": "pca", "latent_size": LATENT_SIZE}


def arrays(seed=0, num_classes=3):
    """Everything that an embeddings file can hold."""
    rng = np.random.default_rng(seed)
    found = {}
    for split, n in (("train", 150), ("test", NUM_TEST)):
        found[f"label_{split}"] = np.arange(n, dtype=np.int32) % num_classes
        centres = 2 * np.eye(num_classes, LATENT_SIZE)[found[f"label_{split}"]]
        found[f"mu_{split}"] = (centres + rng.normal(size=(n, LATENT_SIZE))).astype(np.float32)
        found[f"index_{split}"] = np.arange(n)
    for name in embeddings.PER_EXAMPLE:
        found[f"{name}_test"] = rng.normal(size=NUM_TEST).astype(np.float32)
    return found | {"iwae_k": np.asarray(8), "seed": np.asarray(seed)}


def coupling(seed=0):
    return {"params/coupling": np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)}


def pictures(seed=0):
    images = np.random.default_rng(seed).uniform(size=(2, NUM_PICTURES, 6, 5, 1))
    plane = np.random.default_rng(seed).uniform(size=(4, 4, 6, 5, 1))
    inputs, outputs = images.astype(np.float32)
    found = {"input": inputs, "reconstruction_sampled": outputs, "sweep": plane}
    return found | {"sweep_values": np.arange(4.0)}


def write_run(folder, seeds=(0, 1), **config):
    files.write_text(folder / "config.json", json.dumps(CONFIG | config))
    for seed in seeds:
        files.write_npz(folder / "embeddings" / f"seed_{seed}.npz", arrays(seed))
        files.write_npz(folder / "model" / f"seed_{seed}.npz", coupling(seed))
        files.write_npz(folder / "pictures" / f"seed_{seed}.npz", pictures(seed))
    return folder


def write_manifest(folder, replicates):
    paths = [
        path
        for room in ("embeddings", "model", "pictures")
        for path in folder.glob(f"{room}/*.npz")
    ]
    digests = {str(path.relative_to(folder)): files.sha256(path) for path in paths}
    content = {"version": 1, "replicates": replicates, "sha256": digests}
    files.write_text(folder / "manifest.json", json.dumps(content))


def change(folder, seed, /, **changed):
    """Rewrites a seed's embeddings; None takes an array out."""
    kept = {name: a for name, a in (arrays(seed) | changed).items() if a is not None}
    files.write_npz(folder / "embeddings" / f"seed_{seed}.npz", kept)


def entries(folder):
    found = metrics_file.read(folder / "metrics.json")["replicates"]
    return {entry["replicate"]: entry for entry in found}


def unsealed(path):
    """Returns a file's content without its digest, to be changed."""
    content = json.loads(path.read_text())
    del content[json_file.FIELD]
    return content


def values(entry):
    return {row["metric"]: row["value"] for row in entry["values"]}


def reasons(entry):
    return {row["metric"]: row["reason"] for row in entry["absent"]}


def poison(name, row=3):
    array = arrays(0)[name].copy()
    array[row] = np.nan
    return {name: array}


@pytest.fixture(scope="session")
def scored(tmp_path_factory):
    """A run of two seeds, scored; tests copy it before they change it."""
    folder = write_run(tmp_path_factory.mktemp("scored") / "run")
    assert score([folder], jobs=1)
    return folder


@pytest.fixture
def run(scored, tmp_path):
    return shutil.copytree(scored, tmp_path / "run")


@pytest.fixture
def calls(monkeypatch):
    """The names of the replicates that are scored from here on."""
    names = []
    original = scoring.score_replicate

    def recording(folder, name, *args):
        names.append(name)
        return original(folder, name, *args)

    monkeypatch.setattr(scoring, "score_replicate", recording)
    return names
