"""The scikit-learn transformer, by scikit-learn's own checks and beside a run of the same seed."""

import doctest
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import mvae_jax
from mvae_jax import estimator
from mvae_jax.config import ConfigError

DIGITS = load_digits()
BYTES = (DIGITS.data[:120] * 15).astype(np.uint8)
SMALL = {"model": "vae", "latent_size": 2, "num_epochs": 2, "fields": {"hidden_size": 8}}
# Of scikit-learn's checks, those that a model of this kind does not pass, and why: none.
FAILED: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def no_cache_of_programs():
    """Which fit turns on for its process, as the command line does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        yield


@pytest.fixture(scope="module")
def trained():
    return mvae_jax.MVAE(**SMALL).fit(BYTES)


@pytest.mark.thorough
@parametrize_with_checks(
    [mvae_jax.MVAE(**(SMALL | {"num_epochs": 1}))], expected_failed_checks=lambda _estimator: FAILED
)
def test_it_behaves_as_scikit_learn_says(estimator, check):
    check(estimator)


def test_it_trains_as_a_run_of_its_seed_does(trained, tmp_path):
    """On the same rows in the same order, which makes the same parameters."""
    run = mvae_jax.fit(
        "vae",
        np.concatenate([BYTES, BYTES[:20]]).reshape(-1, 1, 64),
        latent_size=2,
        num_epochs=2,
        hidden_size=8,
        num_seeds=1,
        iwae_samples=0,
        splits={"train": range(120), "test": range(120, 140)},
    )
    np.testing.assert_allclose(trained.transform(BYTES[:20]), run.embeddings()["mu_test"], 1e-4)
    elbo = run.scores.query("metric == 'elbo'").value.item()
    assert trained.score(BYTES[:20]) == pytest.approx(elbo, rel=1e-4)


def test_numbers_are_bytes_between_the_two_values(trained):
    """8-bit levels of [0, 1], or between the least and the greatest where they lie outside."""
    of_unit = clone(trained).fit(BYTES / 255)
    assert of_unit.range_ == (0.0, 1.0)
    np.testing.assert_array_equal(of_unit.transform(BYTES / 255), trained.transform(BYTES))
    wide = clone(trained).fit(BYTES / 24 - 5)
    assert wide.range_ == (-5.0, 5.0)
    spread = np.rint((BYTES / 24 - 5 + 5) / 10 * 255).astype(np.uint8)
    expected = clone(trained).fit(spread)
    np.testing.assert_array_equal(wide.transform(BYTES / 24 - 5), expected.transform(spread))
    beyond = np.full((1, 64), 1e9)
    np.testing.assert_array_equal(
        wide.transform(beyond), expected.transform(np.full((1, 64), 255, np.uint8))
    )
    back = wide.inverse_transform(wide.transform(BYTES / 24 - 5))
    assert back.shape == BYTES.shape
    assert back.min() >= -5
    assert back.max() <= 5
    images = clone(trained).fit(BYTES.reshape(-1, 8, 8))
    np.testing.assert_array_equal(images.transform(BYTES), trained.transform(BYTES))


def test_it_is_pickled_cloned_searched_and_piped(trained):
    again = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(again.transform(BYTES), trained.transform(BYTES))
    assert clone(trained).get_params() == mvae_jax.MVAE(**SMALL).get_params()
    search = GridSearchCV(mvae_jax.MVAE(**SMALL), {"random_state": [1, 2]}, cv=2).fit(BYTES)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    probe = make_pipeline(mvae_jax.MVAE(**SMALL), LogisticRegression())
    assert 0 < probe.fit(BYTES, DIGITS.target[:120]).score(BYTES, DIGITS.target[:120]) <= 1
    assert [*trained.get_feature_names_out()] == ["mvae0", "mvae1"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fields": {"hiden_size": 3}}, "hiden_size: no such field; did you mean hidden_size"),
        ({"fields": {"sweep": {"beta": [1, 4]}}}, "fields: got 'sweep'; allowed: those of one"),
        ({"model": "vea"}, "config.model: got 'vea'; allowed: vae"),
        ({"latent_size": 0}, "config.latent_size: got 0; allowed: an integer of at least 1"),
    ],
)
def test_an_impossible_parameter_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        mvae_jax.MVAE(**(SMALL | given)).fit(BYTES)


def test_the_example_of_the_docstring_runs():
    (test,) = doctest.DocTestFinder(recurse=False).find(
        estimator.MVAE, "MVAE", globs={"mvae_jax": mvae_jax}
    )
    runner = doctest.DocTestRunner()
    assert runner.run(test).attempted == 5
    assert not runner.failures
