"""Scalars of the training as an axis beside the seeds, in one program."""

import numpy as np
import pytest
from absl import flags

from mvae_jax import command_line, evaluate
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.report import scores
from mvae_jax.runs import run
from mvae_jax.store import json_file, run_folder, status

SMALL = {"hidden_size": 8, "batch_size": 500, "num_epochs": 3, "num_seeds": 2, "iwae_samples": 0}
GRID = {"learning_rate": (1e-4, 1e-2), "beta": (0.5, 2.0)}


def small(sweep=None, argument="mvae,3", **fields):
    config = config_lib.base_config("digits", argument)
    config.update(SMALL | fields)
    config.sweep.update(sweep or {})
    return config_lib.validate(config)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept") / "run"
    run.run(small(GRID), folder)
    return folder


def model(folder, name):
    with np.load(folder / "model" / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.thorough
@pytest.mark.parametrize(("learning_rate", "beta"), [(1e-4, 2.0), (1e-2, 0.5)])
def test_each_is_the_run_that_has_the_values_alone(swept, tmp_path, learning_rate, beta):
    run.run(small(learning_rate=learning_rate, beta=beta, num_seeds=1), tmp_path / "alone")
    alone = model(tmp_path / "alone", "seed_777")
    ours = model(swept, f"seed_777__learning_rate={learning_rate}__beta={beta}")
    for name, array in alone.items():
        distance = np.linalg.norm(ours[name] - array) / max(1e-30, np.linalg.norm(array))
        assert distance < 1e-5, name


def test_the_values_are_in_logs_manifest_and_tables(swept):
    names = [
        f"seed_{seed}__learning_rate={rate}__beta={beta}"
        for seed in (777, 778)
        for rate in GRID["learning_rate"]
        for beta in GRID["beta"]
    ]
    manifest = run_folder.read_manifest(swept)["replicates"]
    assert sorted(manifest) == sorted(names)
    assert manifest[names[1]]["swept"] == {"learning_rate": 1e-4, "beta": 2.0}
    lines = [x for path in run_folder.epoch_logs(swept) for x in json_file.read_lines(path)]
    assert len(lines) == 3 * len(names)
    assert [line["beta"] for line in lines if line["replicate"] == names[1]] == [2.0] * 3
    found = status.of(swept)
    assert (found.state, found.done, found.planned) == ("unscored", 8, 8)
    assert evaluate.score([swept], jobs=1)
    cells = scores.read(swept).cells
    variants = {cell.setting.variant for cell in cells}
    assert "learning_rate=0.0001, beta=0.5" in variants
    assert len(variants) == 4
    assert all(len(of.replicates) == 2 and not of.missing for of in cells.values())
    for cell, of_cell in cells.items():
        values = {field: of_cell.config[field] for field in GRID}
        assert cell.setting.variant == ", ".join(f"{k}={v}" for k, v in values.items())


def test_a_small_beta_lets_the_kl_grow(swept):
    lines = [x for path in run_folder.epoch_logs(swept) for x in json_file.read_lines(path)]
    kl = {line["replicate"]: line["kl"] for line in lines if line["epoch"] == 3}
    fast = "seed_777__learning_rate=0.01"
    assert kl[f"{fast}__beta=0.5"] > kl[f"{fast}__beta=2.0"]


def test_a_finished_grid_is_done_and_another_is_refused(swept):
    before = run_folder.read_manifest(swept)
    run.run(small(GRID), swept)
    assert run_folder.read_manifest(swept) == before
    with pytest.raises(ConfigError, match="sweep"):
        run.run(small(GRID | {"beta": (0.5, 1.0)}), swept)


@pytest.mark.thorough
def test_the_decoders_variance_is_that_of_the_replicate(tmp_path):
    sweep = {"likelihood_variance": (0.05, 0.5)}
    run.run(small(sweep, likelihood="gaussian", num_seeds=1), tmp_path / "run")
    run.run(small(likelihood="gaussian", likelihood_variance=0.5, num_seeds=1), tmp_path / "alone")
    ours = tmp_path / "run" / "embeddings" / "seed_777__likelihood_variance=0.5.npz"
    alone = tmp_path / "alone" / "embeddings" / "seed_777.npz"
    with np.load(ours) as a, np.load(alone) as b:
        np.testing.assert_allclose(a["log_likelihood_test"], b["log_likelihood_test"], rtol=1e-4)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"beta": (1.0, -1.0)}, r"config\.sweep\.beta: got -1\.0; allowed: a finite number"),
        ({"learning_rate": (0.1, 0.1)}, "every value once"),
        ({"learning_rate": ("fast",)}, "got 'fast'"),
        ({"likelihood_variance": (0.1, 0.2)}, "because the likelihood is bernoulli"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(sweep, message):
    with pytest.raises(ConfigError, match=message):
        small(sweep)


def parse(flag):
    """Returns the configuration of a command line with one flag beside --config."""
    parsed, argv = flags.FlagValues(), ["main", "--config=configs/digits.py:mvae,3", flag]
    command_line.define_config(parsed, argv)
    command_line.parse(argv, parsed)
    return parsed["config"].value


@pytest.mark.parametrize(("text", "values"), [("1e-4,3e-4,1e-3", (1e-4, 3e-4, 1e-3)), ("1,", (1,))])
def test_the_flag(text, values):
    assert parse(f"--config.sweep.learning_rate={text}").sweep.learning_rate == values


def test_an_unknown_field_of_the_grid_is_named():
    with pytest.raises(ConfigError, match=r"did you mean sweep\.learning_rate"):
        parse("--config.sweep.learning_rat=1,2")
    with pytest.raises(ConfigError, match=r"no such field; all: sweep\.learning_rate, sweep\."):
        parse("--config.sweep.hidden_size=1,2")
