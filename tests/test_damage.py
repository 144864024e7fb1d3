"""Damaged files are named: no flipped bit and no truncation gives another number in silence.

    pytest -m slow -s tests/test_damage.py     # 200 random ones

Left out are timing.jsonl, which decides no number, and report/, which is written again.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

import mvae_jax
from mvae_jax import config as config_lib
from mvae_jax import evaluate, report
from mvae_jax.config import ConfigError
from mvae_jax.datasets import DataError, cache
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.runs import run
from mvae_jax.runs.checkpoint import CheckpointError
from mvae_jax.runs.workdir import RunError

SMALL = {"hidden_size": 8, "batch_size": 500, "num_epochs": 3, "num_seeds": 2, "iwae_samples": 0}
FOLDERS = ("checkpoints", "done", "embeddings", "logs", "model", "pictures")
FILES = ("config.json", "environment.json", "metrics.json")
REFUSALS = (CheckpointError, ConfigError, RunError, ValueError)


def small(**fields):
    config = config_lib.base_config("digits", "mvae,3")
    config.update(SMALL | fields)
    return config_lib.validate(config)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run, trained and scored."""
    folder = tmp_path_factory.mktemp("damage") / "run"
    run.run(small(), folder)
    assert evaluate.score(folder, jobs=1)
    return folder


def damage(path: Path, rng: np.random.Generator) -> str:
    """Flips one bit of a file, or cuts it off; returns which."""
    content = bytearray(path.read_bytes())
    position = int(rng.integers(len(content)))
    if rng.random() < 0.25:
        path.write_bytes(content[:position])
        return f"cut off at {position} of {len(content)} bytes"
    content[position] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))
    return f"a bit of byte {position} of {len(content)}"


DRAWN = ("embeddings", "logs", "model", "pictures")


def everything_said(folder, capsys, draw):
    """Loads, scores, reports and resumes a run; returns all that was said of its files."""
    capsys.readouterr()
    said = []
    for step in (
        lambda: [mvae_jax.load(folder, seed) for seed in (777, 778)],
        lambda: evaluate.score(folder, jobs=1),
        lambda: report.render(folder, folder / "report", draw=draw),
        lambda: run.run(small(num_epochs=4), folder),
    ):
        try:
            step()
        except REFUSALS as error:
            said.append(str(error))
    return "\n".join([*said, capsys.readouterr().err])


def check_damage(scored, tmp_path, capsys, kind, rng):
    folder = shutil.copytree(scored, tmp_path / "copy")
    chosen = folder / kind
    if kind in FOLDERS:
        there = sorted(path for path in chosen.rglob("*") if path.is_file())
        chosen = there[rng.integers(len(there))]
    how = damage(chosen, rng)
    said = everything_said(folder, capsys, draw=kind in DRAWN)
    if kind == "checkpoints":  # by its folder, the epoch's
        chosen = next(p for p in (chosen, *chosen.parents) if p.stem.isdecimal())
    assert str(chosen) in said or chosen.name in said, f"{chosen}: {how}: {said}"
    shutil.rmtree(folder)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [*FOLDERS, *FILES])
def test_a_damaged_file_is_named(scored, tmp_path, capsys, kind):
    check_damage(scored, tmp_path, capsys, kind, np.random.default_rng(3))


def test_without_damage_nothing_is_said(scored, tmp_path, capsys):
    """Or the tests above show nothing."""
    folder = shutil.copytree(scored, tmp_path / "copy")
    said = everything_said(folder, capsys, draw=True)
    assert not [line for line in said.splitlines() if ".npz" in line or ".json" in line], said


@pytest.mark.slow
def test_every_damage_of_200_is_named(scored, tmp_path, capsys):
    rng = np.random.default_rng(0)
    kinds = [*FOLDERS, *FILES, "cache"]
    for trial in range(200):
        kind = kinds[trial % len(kinds)]
        if kind == "cache":
            check_cache(tmp_path / f"cache-{trial}", rng)
        else:
            check_damage(scored, tmp_path, capsys, kind, rng)


def check_cache(folder, rng):
    """A damaged entry of the data cache is made again, or refused; never read as other numbers."""
    made = []

    def make(_scratch):
        made.append(1)
        pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), np.uint8)
        return Parsed(pixels, np.arange(50, dtype=np.int32) % 3, 1 / 255, {"files": ["a"]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVAE_JAX_CACHE", str(folder))
        before = cache.load_or_make("some", make)
        damage(cache.path("some"), rng)
        try:
            after = cache.load_or_make("some", make)
        except DataError:
            return
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.pixel_scale == before.pixel_scale
    assert after.provenance == before.provenance


def test_a_damaged_entry_of_the_cache_is_made_again(tmp_path):
    for seed in range(40):
        check_cache(tmp_path / str(seed), np.random.default_rng(seed))
