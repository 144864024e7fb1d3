"""A run of every posterior family: trained, stopped and resumed, scored, and read by the report."""

import numpy as np
import pytest

import mvae_jax
from mvae_jax import config as config_lib
from mvae_jax.evaluate import scoring
from mvae_jax.rules import MODELS
from mvae_jax.runs import run

OFTEN = ("lu",)  # the rest, of the same code, in the whole suite alone
OTHERS = [pytest.param(model, marks=pytest.mark.thorough) for model in MODELS if model not in OFTEN]
SMALL = {"num_seeds": 1, "hidden_size": 12, "batch_size": 300, "iwae_samples": 3}


def train(folder, model, epochs):
    config = config_lib.base_config("digits", f"{model},4")
    config.update(SMALL | {"num_epochs": epochs})
    run.run(config_lib.validate(config), folder)


@pytest.mark.parametrize("model", [*OFTEN, *OTHERS])
def test_it_is_resumed_bit_by_bit_and_has_all_scores(model, tmp_path):
    train(tmp_path / "whole", model, 2)
    for epochs in (1, 2):
        train(tmp_path / "resumed", model, epochs)
    found = {}
    for file in sorted((tmp_path / "whole").glob("*/*.npz")):
        resumed = tmp_path / "resumed" / file.relative_to(tmp_path / "whole")
        with np.load(file) as one, np.load(resumed) as other:
            assert one.files == other.files
            for name in one.files:
                np.testing.assert_array_equal(one[name], other[name])
                found[name] = one[name]
    assert {"mu_test", "kl_test", "iwae_test", "sweep", "reconstruction_mean"} <= found.keys()
    assert all(np.isfinite(array).all() for array in found.values())

    assert scoring.score(tmp_path / "whole", jobs=1)
    values, problems = mvae_jax.scores(tmp_path / "whole")
    assert problems.empty
    assert set(values.model) == {model}
    assert {"elbo", "iwae", "nmi", "mse"} <= set(values.metric)
