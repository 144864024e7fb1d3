"""A trained model in another gauge: the same bounds and images, in float32 and in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvae_jax import config as config_lib
from mvae_jax import datasets, elbo, gauge, inference, model, posteriors, replicas
from mvae_jax.rules import ConfigError
from tests.conftest import SHARED_DATA


def trained(dataset, argument, epochs, data_dir=None, **fields):
    """Return configuration, parameters and test images of a training."""
    data = datasets.load(dataset, "release", "", data_dir)
    config = config_lib.base_config(dataset, argument)
    config.update(image_shape=data.images.shape[1:], pixel_scale=data.pixel_scale, **fields)
    config = config_lib.replace(config)
    images = replicas.share_images(data.images[data.splits["train"]], 1)
    states = replicas.init(config, [777])
    for _ in range(epochs):
        states, _ = replicas.train_epoch(config, "map", states, images)
    params = jax.tree.map(lambda leaf: leaf[0], jax.device_get(states.params))
    return config, jax.tree.map(jnp.asarray, params), data.images[data.splits["test"][:200]]


def bounds(config, params, images):
    """Return every image's ELBO and mean image, with noise that all models get the same of."""
    dtype = params["mean"]["Dense_0"]["bias"].dtype
    noise = jax.random.normal(jax.random.key(1), (len(images), config.latent_size), dtype)

    def one(image, eps):
        x = model.scale_pixels(config, image)
        terms, p = elbo.elbo_terms(config, params, x, eps)
        return terms.elbo, p.mean

    return jax.vmap(one)(jnp.asarray(images), noise)


def assert_same(before, after, atol):
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def assert_all_gauges_agree(config, params, images, atol):
    before = bounds(config, params, images)
    triangular = gauge.to_triangular(config, params)
    assert triangular[0].model == "triangular"
    assert_same(before, bounds(*triangular, images), atol)
    for couple_mean in (True, False):
        back = gauge.to_mvae(*triangular, couple_mean)
        assert back[0].couple_mean is couple_mean
        assert_same(before, bounds(*back, images), atol)
        assert_same(before, bounds(*gauge.to_triangular(*back), images), atol)


@pytest.mark.parametrize(
    ("argument", "couple_mean"),
    [
        ("mvae,16", True),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in [("mvae,16", False), ("lu,5", True), ("vae,16", True), ("frozen,4", True)]
        ),
    ],
)
def test_a_model_of_the_digits_is_the_same_in_every_gauge(argument, couple_mean):
    config, params, images = trained("digits", argument, 20, couple_mean=couple_mean)
    assert_all_gauges_agree(config, params, images, 1e-4)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(np.float64(leaf)), params)
        assert_all_gauges_agree(config, double, images, 1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA}: no such folder")
@pytest.mark.parametrize("couple_mean", [True, False])
def test_a_model_of_mnist_basic_is_the_same_in_every_gauge(couple_mean):
    fields = {"couple_mean": couple_mean}
    config, params, images = trained("mnist_basic", "mvae,16", 20, SHARED_DATA, **fields)
    assert_all_gauges_agree(config, params, images, 1e-4)


def test_a_vae_is_a_triangular_model_at_its_start():
    """L = I: training from there never starts below the VAE."""
    config, params, _ = trained("digits", "vae,4", 1)
    config, triangular = gauge.to_triangular(config, params)
    np.testing.assert_array_equal(triangular["coupling"], np.zeros((4, 4)))
    q = inference.encode(config, triangular, jnp.zeros((1, 8, 8, 1), jnp.uint8))
    np.testing.assert_array_equal(posteriors.of(config).coupling(q), np.eye(4))


def test_a_covariance_of_each_image_is_refused():
    config, params, _ = trained("digits", "cholesky,4", 1)
    with pytest.raises(ConfigError, match=r"config.model: got 'cholesky'; allowed: vae, mvae"):
        gauge.to_triangular(config, params)
