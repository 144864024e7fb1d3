"""What is read back of a trained model, by the files and by the Python functions."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mvae_jax
from mvae_jax import config as config_lib
from mvae_jax import model
from mvae_jax.config import ConfigError
from mvae_jax.store import json_file
from tests.trained_runs import small


def test_saved_terms_and_embeddings_are_those_of_the_saved_model(finished):
    """Recomputed in numpy from model/ alone: the forward pass, the KL and the likelihood."""
    _, params = mvae_jax.load(finished, 777)
    from sklearn.datasets import load_digits

    arrays = np.load(finished / "embeddings" / "seed_777.npz", allow_pickle=False)
    x = np.round(load_digits().images * 255 / 16)[arrays["index_test"]].reshape(-1, 64) / 255
    layer = {name: params[name]["Dense_0"] for name in ("mean", "log_variance", "pixels")}
    for name in ("encoder", "decoder"):
        layer[name] = params[name]["layer_0"]["Dense_0"]

    def affine(name, inputs):
        return inputs @ np.float64(layer[name]["kernel"]) + np.float64(layer[name]["bias"])

    c = np.float64(params["coupling"])
    hidden = np.tanh(affine("encoder", x))
    mu, variance = affine("mean", hidden) @ c.T, np.exp(affine("log_variance", hidden))
    np.testing.assert_allclose(arrays["mu_test"], mu, atol=1e-5)
    covariance = np.einsum("ij,nj,kj->nik", c, variance, c)
    kl = 0.5 * (
        np.trace(covariance, axis1=1, axis2=2)
        + (mu**2).sum(axis=1)
        - 3
        - np.linalg.slogdet(covariance)[1]
    )
    np.testing.assert_allclose(arrays["kl_test"], kl, rtol=1e-4)

    logits = affine("pixels", np.tanh(affine("decoder", mu)))
    error = np.mean((x - 1 / (1 + np.exp(-logits))) ** 2, axis=1)
    np.testing.assert_allclose(arrays["squared_error_mean_test"], error, rtol=1e-4)
    # A sampled z reconstructs worse than the mean, on average, and its bound is finite.
    assert arrays["squared_error_sampled_test"].mean() > error.mean()
    assert np.isfinite(arrays["log_likelihood_test"]).all()
    assert (arrays["log_likelihood_test"] < 0).all()


def test_python_functions(finished):
    config, params = mvae_jax.load(finished, 777)
    images = jnp.zeros((5, 8, 8, 1), jnp.uint8)
    q = jax.jit(mvae_jax.encode, static_argnums=0)(config, params, images)
    for wrong in (images / 255, images[..., 0], images[:, :7]):
        with pytest.raises(ValueError, match=r"allowed: uint8 \[N, 8, 8, 1\]"):
            inspect.unwrap(mvae_jax.encode)(config, params, wrong)  # without the tests' type checks
    assert q.loc.shape == (5, 3)
    means = jax.jit(mvae_jax.decode, static_argnums=0)(config, params, q.loc)
    assert means.shape == (5, 8, 8, 1)
    draws = jax.jit(mvae_jax.sample_prior, static_argnums=(0, 3))(
        config, params, jax.random.key(0), 4
    )
    assert draws.shape == (4, 8, 8, 1)
    assert ((draws > 0) & (draws < 1)).all()
    with pytest.raises(FileNotFoundError, match="seed_777, seed_778"):
        mvae_jax.load(finished, 5)


@pytest.mark.parametrize("argument", ["mvae,3", "vae,3"])
def test_python_functions_refuse_what_is_of_no_model_or_of_another(folder, argument):
    config = config_lib.replace(small(argument), image_shape=(8, 8, 1), pixel_scale=1 / 255)
    params = model.init(config, jax.random.key(0))
    images, z = jnp.zeros((5, 8, 8, 1), jnp.uint8), jnp.zeros((4, 3))

    def answers(config):
        yield lambda: mvae_jax.encode(config, params, images)
        yield lambda: mvae_jax.decode(config, params, z)
        yield lambda: mvae_jax.sample_prior(config, params, jax.random.key(0), 4)

    q = mvae_jax.encode(config, params, images)
    assert hasattr(q, "coupling") == (config.model == "mvae")
    other = "vae" if config.model == "mvae" else "mvae"
    for name, reason in (
        ("pca", "got 'pca'; allowed: vae, mvae, triangular"),
        (other, f"'{other}'; take both"),
    ):
        for answer in answers(config_lib.replace(config, model=name)):
            with pytest.raises(ValueError, match=reason):
                answer()
    foreign = {"dataset": "digits", "protocol": "release", "model": "pca", "latent_size": 3}
    (folder / "config.json").write_text(json_file.dumps(foreign))
    with pytest.raises(ConfigError, match="'pca' was not trained by mvae_jax"):
        mvae_jax.load(folder, 777)


def test_python_functions_give_the_same_under_any_settings(finished, user_settings):
    config, params = mvae_jax.load(finished, 777)
    key, z = jax.random.key(0), np.random.default_rng(0).normal(size=(4, 3))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)

    def found():
        for wrap in (lambda f: f, partial(jax.jit, static_argnums=0)):
            yield wrap(mvae_jax.encode)(config, params, jnp.asarray(images)).loc
            yield wrap(mvae_jax.decode)(config, params, jnp.asarray(z))
        yield mvae_jax.sample_prior(config, params, jax.random.clone(key), 4)

    expected = list(found())
    with user_settings():
        others = list(found())
    for one, other in zip(expected, others, strict=True):
        assert other.dtype == np.float32
        np.testing.assert_array_equal(one, other)
