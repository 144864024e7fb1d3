"""Coupled against uncoupled mean: pairs of runs alike in all else, their differences by seed."""

import re

import numpy as np
import pytest
import scipy.stats

from mvae_jax.paper import couplings
from tests.fake_runs import SEEDS, draw, read_report, write_run

GAUSSIAN = {"likelihood": "gaussian", "likelihood_variance": 0.1}


def write(root, tag, couple_mean, elbo, likelihood, **config):
    write_run(
        root,
        *("mvae", 16, {"elbo": elbo}),
        folder=f"run-{tag}",
        **{"tag": tag, "couple_mean": couple_mean, "protocol": "paper"},
        **{"beta": 1.0} | likelihood | config,
    )


def test_pairs_differ_in_the_coupling_alone(tmp_path):
    coupled, uncoupled = draw(-100, 1), draw(-101, 1, rng=1)
    write(tmp_path, "", False, uncoupled, GAUSSIAN)
    write(tmp_path, "coupled", True, coupled, GAUSSIAN)
    write(tmp_path, "narrow", True, draw(0, 1), GAUSSIAN | {"likelihood_variance": 0.02})
    write(tmp_path, "heavy", True, draw(0, 1), GAUSSIAN, beta=4.0)
    write(tmp_path, "short", True, draw(0, 1), GAUSSIAN, num_epochs=20)
    grid = couplings.table(read_report(tmp_path).scores)
    name = "digits, paper protocol, gaussian 0.1, z=16, 'coupled' less '', 5 seeds"
    assert grid.headers == ("metric", name)
    (row,) = [row for row in grid.rows if row[0].startswith("ELBO")]
    shown = list(map(float, re.findall(r"[-+][\d.]+", row[1])))
    differences = np.array([coupled[seed] - uncoupled[seed] for seed in SEEDS])
    half = scipy.stats.t.ppf(0.975, 4) * scipy.stats.sem(differences)
    expected = [differences.mean(), differences.mean() - half, differences.mean() + half]
    assert shown == pytest.approx(expected, abs=0.006)


def test_without_a_pair_there_is_no_table(tmp_path):
    write(tmp_path, "", False, draw(-100, 1), GAUSSIAN)
    write(tmp_path, "bernoulli", True, draw(-100, 1), {"likelihood": "bernoulli"})
    assert couplings.table(read_report(tmp_path).scores) is None
