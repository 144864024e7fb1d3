"""Embeddings, models and their names: what is read, what is refused, and which replicate fails."""

import contextlib
import json
import shutil

import numpy as np
import pytest

from mvae_jax.evaluate import embeddings, scoring
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, npz
from tests.evaluated_runs import (
    CONFIG,
    NUM_TEST,
    arrays,
    change,
    entries,
    poison,
    values,
    write_manifest,
    write_run,
)

pytestmark = pytest.mark.usefixtures("one_thread")


BAD = {
    "mu_test is missing": {"mu_test": None},
    r"mu_train has shape \(150, 3\), not \[N, 4\]": {"mu_train": np.ones((150, 3))},
    r"mu_test has shape \(60,\)": {"mu_test": np.ones(60)},
    r"mu_test has shape \(0, 4\)": {"mu_test": np.ones((0, 4))},
    "mu_test is NaN or infinite in 1 of 60 rows": poison("mu_test"),
    "kl_test is NaN or infinite in 1 of 60 rows": poison("kl_test"),
    r"kl_test has shape \(59,\), not \[60\]": {"kl_test": np.ones(59)},
    r"label_test has shape \(61,\)": {"label_test": np.ones(61, int)},
    "label_test is float64, not integers": {"label_test": np.ones(60)},
    "label_test is up to 9223372036854775808": {"label_test": np.full(60, 2**63, np.uint64)},
    "mu_test is NaN or infinite in 60 of 60": {"mu_test": np.full((60, 4), np.longdouble("1e400"))},
    "label_train is missing": {"label_train": None},
    "mu_test is complex128": {"mu_test": np.ones((60, 4), complex)},
    "iwae_test needs iwae_k": {"iwae_k": None},
    "holds seed 5, not that of its name": {"seed": np.asarray(5)},
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_file_fails_its_replicate_and_no_other(run, capsys, message):
    change(run, 0, **BAD[message])
    assert not score([run], jobs=1)
    found = entries(run)
    assert "values" in found["seed_1"]
    failed = found["seed_0"]["stale"]
    assert "seed_0.npz" in failed
    assert "values" in found["seed_0"]
    with pytest.raises(FormatError, match=message):
        embeddings.read(run, "seed_0", CONFIG)
    assert failed in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no zip", "truncated", "pickle"])
def test_an_unreadable_file_fails_its_replicate(run, content):
    path = run / "embeddings" / "seed_0.npz"
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-300])
    elif content == "pickle":
        np.savez(path, mu_test=np.array([{}], dtype=object))
    else:
        path.write_bytes(content)
    assert not score([run], jobs=1)
    said = "an array of Python objects" if content == "pickle" else "not a readable .npz of plain"
    assert said in entries(run)["seed_0"]["stale"]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 4)), r"has shape \(3, 4\), not \[4, 4\]"),
        (np.full((4, 4), np.inf), "NaN or infinite in 4 of 4"),
        (np.ones(4), r"has shape \(4,\)"),
    ],
)
def test_a_bad_coupling_fails_its_replicate(run, matrix, message):
    files.write_npz(run / "model" / "seed_0.npz", {"params/coupling": matrix})
    assert not score([run], jobs=1)
    with pytest.raises(FormatError, match=message):
        embeddings.read(run, "seed_0", CONFIG)


def test_duplicates_of_a_seed_are_no_replicates(run, calls):
    folder = run / "embeddings"
    shutil.copy(folder / "seed_0.npz", folder / "seed_2.npz")  # the bytes of another seed
    files.write_npz(folder / "seed_01.npz", arrays(1) | {"kl_test": np.ones(NUM_TEST)})
    (folder / "last.npz").write_bytes((folder / "seed_1.npz").read_bytes() + b"\0")
    assert not score([run], jobs=1)
    found = entries(run)
    assert "values" in found["seed_0"]
    assert "has the bytes of seed_0.npz" in found["seed_2"]["failed"]
    for name, kind in {"seed_1": "stale", "seed_01": "failed"}.items():
        assert found[name][kind] == f"{name}: another file is of the same seed; remove all but one"
    assert calls == []
    assert "the name is not seed_<n>.npz" in found["last"]["failed"]


def test_replicates_of_one_seed_and_other_swept_scalars_are_two(run):
    folder = run / "embeddings"
    swept = arrays(0) | {"kl_test": np.ones(NUM_TEST), "learning_rate": np.asarray(0.1)}
    files.write_npz(folder / "seed_0__learning_rate=0.1.npz", swept)
    assert score([run], jobs=1)
    assert entries(run)["seed_0__learning_rate=0.1"]["seed"] == 0


def test_what_training_lists_and_the_folder_lacks_is_failed(run):
    reason = "kl was inf in epoch 3"
    trained = {f"seed_{seed}": {"seed": seed, "epoch": 9} for seed in (0, 1, 2)}
    trained["seed_3"] = {"seed": 3, "epoch": 9, "failed": reason}
    files.write_text(run / "config.json", json.dumps(CONFIG | {"first_seed": 0, "num_seeds": 5}))
    write_manifest(run, trained)
    assert not score([run], jobs=1)
    found = entries(run)
    assert "embeddings/seed_2.npz is missing" in found["seed_2"]["failed"]
    assert found["seed_3"]["failed"] == reason
    assert "not trained yet" in found["seed_4"]["failed"]
    assert "values" in found["seed_0"]
    assert [entry["seed"] for entry in found.values()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("room", ["embeddings", "model", "pictures"])
def test_a_file_that_training_did_not_write_is_failed(run, room):
    write_manifest(run, {f"seed_{seed}": {"seed": seed, "epoch": 9} for seed in (0, 1)})
    assert score([run], jobs=1)
    path = run / room / "seed_1.npz"
    path.write_bytes(path.read_bytes() + bytes(1))
    before = values(entries(run)["seed_1"])
    assert not score([run], jobs=1)
    assert values(entries(run)["seed_1"]) == before
    assert "not the file that training wrote" in entries(run)["seed_1"]["stale"]


def test_a_run_whose_seeds_all_failed_is_found(tmp_path):
    folder = tmp_path / "root" / "run"
    files.write_text(folder / "config.json", json.dumps(CONFIG))
    write_manifest(folder, {"seed_0": {"seed": 0, "epoch": 9, "failed": "kl was nan"}})
    assert not score([tmp_path / "root"], jobs=1)
    assert entries(folder)["seed_0"]["failed"] == "kl was nan"


def test_foreign_bytes_are_an_error_and_no_crash(tmp_path):
    path = tmp_path / "seed_0.npz"
    np.savez_compressed(path, **arrays())
    good, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        bad = bytearray(good)
        for position in rng.integers(len(bad), size=5):
            bad[position] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        with contextlib.suppress(ValueError):
            npz.read(path)
            continue
        with pytest.raises(ValueError, match=r"seed_0\.npz: ") as caught:
            npz.read(path)
        cause = caught.value.__cause__
        outcomes.add(type(cause.__cause__ or cause).__name__)
    assert len(outcomes) > 3  # several kinds, one of them beyond zipfile's


def test_the_test_examples_are_recorded(tmp_path):
    """Equal indices have equal digests, whatever their type; without them there is none."""
    run = write_run(tmp_path / "run", seeds=(0, 1, 2))
    change(run, 1, index_test=np.arange(NUM_TEST, dtype=np.int32))
    change(run, 2, index_test=None)
    found = [scoring.score_replicate(run, f"seed_{seed}", CONFIG, ["kl"]) for seed in range(3)]
    assert {entry["num_test"] for entry in found} == {NUM_TEST}
    digests = [entry["sha256_index_test"] for entry in found]
    assert digests[0] == digests[1] != digests[2]
    assert digests[2] is None
