"""Every posterior family against numpy's covariance, scipy, quadrature and finite differences.

In float64, each from random heads and parameters, as a training has them.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.stats
from jax.test_util import check_grads

from mvae_jax import config as config_lib
from mvae_jax import posteriors
from mvae_jax.rules import MODELS

DIMENSIONS = (1, 2, 16, 64)
GAUSSIAN = [model for model in MODELS if model != "iaf"]
everywhere = pytest.mark.parametrize("d", DIMENSIONS)
of_each = pytest.mark.parametrize("model", MODELS)
of_each_gaussian = pytest.mark.parametrize("model", GAUSSIAN)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def drawn(model, d, couple_mean=True):
    """Return a family, the q of random heads and parameters, and these; nothing is small."""
    config = config_lib.base_config("digits", f"{model},{d}")
    config.update(hidden_size=20, couple_mean=couple_mean)
    family, rng = posteriors.of(config), np.random.default_rng(d)
    heads = {name: jnp.asarray(rng.normal(size=n)) for name, n in family.heads(config).items()}
    if model == "cholesky":
        heads["below"] /= d  # or L's condition number would be beyond numpy's determinants
    shapes = jax.eval_shape(lambda: family.init(jax.random.key(0), config))
    parameters = {
        name: jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[-1]))
        for name, leaf in shapes.items()
    }

    def make(heads, parameters):
        return family.posterior(config, parameters, heads, None)

    return config, family, make, heads, parameters


def moments(model, heads, parameters):
    """Return loc and covariance of a Gaussian family in plain numpy, from its definition."""
    heads, parameters = (jax.tree.map(np.asarray, tree) for tree in (heads, parameters))
    loc, variance = heads["mean"], np.exp(heads["log_variance"])
    d = len(loc)
    w = parameters.get("coupling")
    if model.startswith("low_rank"):
        v = heads["factors"].reshape(d, -1)
        return loc, np.diag(variance) + v @ v.T
    if model == "cholesky":
        factor = np.diag(np.sqrt(variance))
        rows, columns = np.tril_indices(d, -1)
        factor[rows, columns] = heads["below"][: len(rows)]
        return loc, factor @ factor.T
    if model.startswith("householder"):
        c, v = np.eye(d), heads["vector"]
        for t in range(int(model.partition("_")[2])):
            if t:
                kernel, bias = parameters["reflection_kernel"], parameters["reflection_bias"]
                v = kernel[t - 1] @ v + bias[t - 1]
            c = (np.eye(d) - 2 * np.outer(v, v) / (v @ v)) @ c
        return c @ loc, c @ np.diag(variance) @ c.T
    c = {
        "vae": lambda: np.eye(d),
        "mvae": lambda: w,
        "frozen": lambda: w,
        "triangular": lambda: np.eye(d) + np.tril(w, -1),
        "lu": lambda: (np.eye(d) + np.tril(w, -1)) @ (np.eye(d) + np.triu(w, 1)),
        "orthogonal": lambda: scipy.linalg.expm(w - w.T),
    }[model]()
    return (c @ loc if model in ("mvae", "frozen") else loc), c @ np.diag(variance) @ c.T


def kl_of(loc, covariance):
    """Return KL(N(loc, covariance) || N(0, I)) from the textbook."""
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign > 0
    return 0.5 * (np.trace(covariance) + loc @ loc - len(loc) - log_det)


def some_noise(config, family, n):
    size = config.latent_size + family.extra_noise(config)
    return jnp.asarray(np.random.default_rng(1).normal(size=(n, size)))


@everywhere
@of_each_gaussian
def test_a_gaussian_family_matches_scipy(model, d):
    """log q, KL, and z as an affine map of the noise with the right covariance."""
    config, family, make, heads, parameters = drawn(model, d)
    q = make(heads, parameters)
    loc, covariance = moments(model, heads, parameters)
    np.testing.assert_allclose(family.embedding(q), loc, rtol=1e-9, atol=1e-9)
    noise = some_noise(config, family, 3)
    sample, log_prob = (jax.jit(partial(f, q)) for f in (family.sample, family.log_prob))
    draw = sample(noise[0])
    np.testing.assert_allclose(family.kl(q, draw), kl_of(loc, covariance), rtol=1e-7)
    normal = scipy.stats.multivariate_normal(loc, covariance, allow_singular=False)
    for eps in noise:
        z = sample(eps).z
        np.testing.assert_allclose(log_prob(z), normal.logpdf(z), rtol=1e-6)
    jacobian = np.asarray(jax.jit(jax.jacobian(lambda eps: family.sample(q, eps).z))(noise[0]))
    np.testing.assert_allclose(jacobian @ jacobian.T, covariance, rtol=1e-6, atol=1e-8)
    at_zero = sample(jnp.zeros_like(noise[0])).z
    np.testing.assert_allclose(at_zero, loc, rtol=1e-9, atol=1e-9)


@everywhere
@of_each
def test_the_ratio_of_a_draw_is_that_of_the_densities(model, d):
    config, family, make, heads, parameters = drawn(model, d)
    q = make(heads, parameters)

    @jax.jit
    def draw_and_score(eps):
        draw = family.sample(q, eps)
        return draw, family.log_prob(q, draw.z)

    for eps in some_noise(config, family, 5):
        draw, log_q = draw_and_score(eps)
        log_p = scipy.stats.norm.logpdf(np.asarray(draw.z)).sum()
        np.testing.assert_allclose(draw.log_ratio, log_q - log_p, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2])
@of_each
def test_the_density_has_the_integral_one_and_the_draws_mean(model, d):
    """By quadrature over a grid that holds all but 1e-8 of the mass."""
    config, family, make, heads, parameters = drawn(model, d)
    q = make(heads, parameters)
    z = jax.jit(jax.vmap(lambda eps: family.sample(q, eps).z))(some_noise(config, family, 20_000))
    middle, spread = np.mean(z, axis=0), np.std(z, axis=0)
    axes = [np.linspace(m - 9 * s, m + 9 * s, 801) for m, s in zip(middle, spread, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    log_q = jax.jit(jax.vmap(lambda z: family.log_prob(q, z)))(jnp.asarray(grid.reshape(-1, d)))
    density = np.exp(np.asarray(log_q)).reshape(grid.shape[:-1])

    def integral(values):
        for axis in reversed(axes):
            values = scipy.integrate.simpson(values, x=axis)
        return values

    assert integral(density) == pytest.approx(1, abs=1e-5)
    for i in range(d):
        error = spread[i] / np.sqrt(len(z))
        assert abs(integral(density * grid[..., i]) - middle[i]) < 5 * error


@everywhere
@of_each
def test_the_kl_is_the_mean_ratio_of_draws(model, d):
    config, family, make, heads, parameters = drawn(model, d)
    q = make(heads, parameters)
    draws = jax.jit(jax.vmap(lambda eps: family.sample(q, eps)))(some_noise(config, family, 4000))
    kls = jax.vmap(lambda draw: family.kl(q, draw))(draws)
    ratios = np.asarray(draws.log_ratio)
    error = ratios.std() / np.sqrt(len(ratios))
    assert abs(ratios.mean() - np.mean(kls)) < 5 * error


@pytest.mark.parametrize("d", [2, 16])
def test_the_estimate_in_a_training_of_lu_has_no_bias_and_less_variance(d):
    """Though the column norms are those of another C."""
    config, family, make, heads, parameters = drawn("lu", d)
    other = {"coupling": 0.9 * parameters["coupling"]}
    carry = family.start_epoch(config, other, None)
    q = family.posterior(config, parameters, heads, carry)
    draws = jax.vmap(lambda eps: family.sample(q, eps))(some_noise(config, family, 20_000))
    kls = np.asarray(jax.vmap(lambda draw: family.kl(q, draw))(draws))
    exact = kl_of(*moments("lu", heads, parameters))
    assert abs(kls.mean() - exact) < 4 * kls.std() / np.sqrt(len(kls))
    assert kls.std() < 0.8 * np.std(draws.log_ratio)
    now = make(heads, parameters)
    assert family.kl(now, family.sample(now, draws.noise[0])) == pytest.approx(exact, rel=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "couple_mean"), [*itertools.product(MODELS, [True]), ("mvae", False)]
)
@everywhere
def test_gradients_match_finite_differences(model, couple_mean, d):
    config, family, make, heads, parameters = drawn(model, d, couple_mean)
    noise = some_noise(config, family, 1)[0]

    @jax.jit
    def objective(heads, parameters):
        q = make(*jax.tree.map(jnp.asarray, (heads, parameters)))
        draw = family.sample(q, noise)
        return family.kl(q, draw) + jnp.sum(jnp.sin(draw.z)) + family.log_prob(q, 0.5 * draw.z)

    check_grads(objective, (heads, parameters), order=1, modes=["rev"], eps=1e-6, rtol=1e-4)
