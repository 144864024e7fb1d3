"""Checkpoints: whole, damaged or without a record, and the one before."""

import shutil

import numpy as np
import pytest

from mvae_jax import replicas
from mvae_jax.runs import checkpoint, run
from mvae_jax.runs.checkpoint import CheckpointError
from tests.trained_runs import contents, small, small_resolved


@pytest.mark.parametrize("name", ["a[1]", "a*?", "a\\b", "gs:", "caf\udce9"])
def test_a_checkpoint_below_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "seed_1-2"
    state = {"values": np.arange(6.0)}
    for epoch in (3, 4, 5):
        checkpoint.save(folder, epoch, state, {"of": epoch})
    restored = checkpoint.restore(folder, {"values": np.zeros(6)})
    assert restored.epoch == 5
    assert restored.details == {"of": 5}
    np.testing.assert_array_equal(restored.state["values"], state["values"])
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["4", "4.json", "5", "5.json"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints, of epochs 3 and 4, and what restores them; copy it before changing it."""
    folder = tmp_path_factory.mktemp("saved") / "seed_0-1"
    states = replicas.to_host(replicas.init(small_resolved(), range(2)), 2)
    for epoch in (3, 4):
        checkpoint.save(folder, epoch, states._replace(step=states.step + epoch), {"of": epoch})
    return folder, states


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def damage_checkpoint(where, how):
    largest = max(where.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    if how == "flip":
        flip(largest)
    elif how == "truncate":
        largest.write_bytes(largest.read_bytes()[:100])
    elif how == "remove":  # as a removal that was cut off
        largest.unlink()
    elif how == "record":
        flip(where.with_name(f"{where.name}.json"))


@pytest.mark.parametrize("how", ["flip", "truncate", "remove", "record"])
def test_training_falls_back_to_the_good_checkpoint_before(saved, tmp_path, capsys, how):
    folder, states = shutil.copytree(saved[0], tmp_path / "seed_0-1"), saved[1]
    damage_checkpoint(folder / "4", how)
    found = checkpoint.restore(folder, states)
    assert found.epoch == 3
    assert found.state.step.tolist() == [3, 3]
    said = capsys.readouterr().err
    assert str(folder / "4") in said
    assert "going on from epoch 3" in said
    assert sorted(path.name for path in folder.iterdir()) == ["3", "3.json"]
    damage_checkpoint(folder / "3", how)
    with pytest.raises(CheckpointError, match=f"{folder / '3'}.*--overwrite"):
        checkpoint.restore(folder, states)
    assert (folder / "3").is_dir()


def test_a_checkpoint_without_its_record_is_not_whole(saved, tmp_path):
    folder = shutil.copytree(saved[0], tmp_path / "seed_0-1")
    (folder / "4.json").unlink()  # killed before it was written
    assert checkpoint.restore(folder, saved[1]).epoch == 3
    (folder / "3.json").unlink()
    assert checkpoint.restore(folder, saved[1]) is None
    checkpoint.save(folder, 2, saved[1], {})
    checkpoint.save(folder, 5, saved[1], {})
    assert sorted(path.name for path in folder.iterdir()) == ["2", "2.json", "5", "5.json"]


@pytest.mark.thorough
def test_a_damaged_log_falls_back_too(tmp_path, capsys):
    """Of the lines behind the earlier checkpoint; of those before it there is no way back."""
    folder = tmp_path / "run"
    config = small(num_epochs=4, checkpoint_every=1)
    original = checkpoint.prune
    with pytest.MonkeyPatch.context() as patch:  # as if killed before the seeds were embedded
        patch.setattr(checkpoint, "prune", lambda folder, keep: original(folder, 2))
        run.run(config, folder)
    before = contents(folder)
    shutil.rmtree(folder / "done")
    path = folder / "logs" / "seed_778.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b"7", b"8")]))
    run.run(config, folder)
    assert f"{path}: damaged" in capsys.readouterr().err
    assert contents(folder) == before
    shutil.rmtree(folder / "done")
    path.write_bytes(b"".join([lines[0].replace(b"7", b"8"), *lines[1:]]))
    with pytest.raises(CheckpointError, match="damaged"):
        run.run(config, folder)
