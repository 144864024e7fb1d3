"""The Gaussian families against scipy, closed forms and Monte Carlo, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from mvae_jax import posterior

DIMENSIONS = (1, 2, 16, 64)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random_posterior(rng, d, condition=None):
    """Returns a posterior and its loc and covariance in plain numpy."""
    c = rng.normal(size=(d, d))
    if condition is not None:
        u, _, vt = np.linalg.svd(c)
        c = u @ np.diag(np.geomspace(1, 1 / condition, d)) @ vt
    loc, log_variance = rng.normal(size=d), rng.normal(size=d)
    q = posterior.Posterior(
        jnp.asarray(loc), jnp.asarray(log_variance), posterior.couple(jnp.asarray(c))
    )
    return q, loc, c @ np.diag(np.exp(log_variance)) @ c.T, c


def gaussian_kl(loc, covariance):
    """KL(N(loc, covariance) || N(0, I)) from the textbook, by eigenvalues."""
    eigenvalues = np.linalg.eigvalsh(covariance)
    return 0.5 * np.sum(eigenvalues - np.log(eigenvalues) - 1) + 0.5 * loc @ loc


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("condition", [None, 1e3])
def test_moments_and_kl_match_numpy(d, condition):
    rng = np.random.default_rng(d)
    for _ in range(5):
        q, loc, sigma, _ = random_posterior(rng, d, condition)
        np.testing.assert_allclose(posterior.covariance(q), sigma, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(posterior.trace(q), np.trace(sigma), rtol=1e-10)
        expected = np.linalg.slogdet(sigma)[1]
        np.testing.assert_allclose(posterior.log_det(q), expected, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(posterior.kl_divergence(q), gaussian_kl(loc, sigma), rtol=1e-6)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_log_prob_matches_scipy(d):
    rng = np.random.default_rng(d)
    q, loc, sigma, c = random_posterior(rng, d, condition=100)
    z = loc + c @ rng.normal(size=d)
    expected = scipy.stats.multivariate_normal(loc, sigma, allow_singular=False).logpdf(z)
    np.testing.assert_allclose(posterior.log_prob(q, jnp.asarray(z)), expected, rtol=1e-8)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_diagonal_family_matches_scipy(d):
    rng = np.random.default_rng(d)
    loc, log_variance, z = rng.normal(size=(3, d))
    q = posterior.Posterior(jnp.asarray(loc), jnp.asarray(log_variance))
    normal = scipy.stats.norm(loc, np.exp(0.5 * log_variance))
    np.testing.assert_allclose(posterior.log_prob(q, jnp.asarray(z)), normal.logpdf(z).sum())
    np.testing.assert_allclose(posterior.covariance(q), np.diag(np.exp(log_variance)))
    kl = gaussian_kl(loc, np.diag(np.exp(log_variance)))
    np.testing.assert_allclose(posterior.kl_divergence(q), kl)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_samples_have_the_moments_and_the_kl(d):
    """Monte Carlo: mean, covariance and E_q[log q - log p] within four standard errors."""
    q, loc, sigma, _ = random_posterior(np.random.default_rng(d), d)
    n = 20_000
    z = jax.vmap(lambda e: posterior.sample(q, e))(jax.random.normal(jax.random.key(d), (n, d)))
    standard_error = np.sqrt(np.diag(sigma) / n)
    assert np.max(np.abs(np.mean(z, axis=0) - loc) / standard_error) < 5
    # Wishart: the covariance of an entry of the sample covariance.
    spread = np.sqrt((sigma**2 + np.outer(np.diag(sigma), np.diag(sigma))) / n)
    assert np.max(np.abs(np.cov(z.T, ddof=0).reshape(d, d) - sigma) / spread) < 6

    log_q = jax.vmap(lambda z: posterior.log_prob(q, z))(z)
    log_p = scipy.stats.norm.logpdf(np.asarray(z)).sum(axis=1)
    draws = np.asarray(log_q) - log_p
    error = draws.std() / np.sqrt(n)
    assert abs(draws.mean() - posterior.kl_divergence(q)) < 4 * error


@pytest.mark.parametrize("d", [1, 2, 16])
@pytest.mark.parametrize("couple_mean", [True, False])
def test_gradients_match_finite_differences(d, couple_mean):
    rng = np.random.default_rng(d)
    q, _, _, c = random_posterior(rng, d, condition=100)
    noise = jnp.asarray(rng.normal(size=d))

    def objective(*arguments):
        mean, log_variance, matrix = map(jnp.asarray, arguments)
        q = posterior.from_heads(mean, log_variance, posterior.couple(matrix), couple_mean)
        z = posterior.sample(q, noise)
        return posterior.kl_divergence(q) + jnp.sum(jnp.sin(z)) + posterior.log_prob(q, 0.5 * z)

    arguments = (q.loc, q.log_variance, jnp.asarray(c))
    check_grads(objective, arguments, order=1, modes=["rev"], eps=1e-6, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6), st.floats(-12, 12))
def test_properties_for_every_seed_and_scale(d, seed, level):
    """KL is non-negative; C = I is the VAE; an orthogonal C changes nothing, for every sigma."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        mean, log_variance, noise = (jnp.asarray(v) for v in rng.normal(size=(3, d)))
        log_variance = log_variance + level
        diagonal = posterior.from_heads(mean, log_variance, None, True)
        identity = posterior.from_heads(mean, log_variance, posterior.couple(jnp.eye(d)), True)
        np.testing.assert_allclose(
            posterior.sample(identity, noise), posterior.sample(diagonal, noise), rtol=1e-12
        )
        kl = posterior.kl_divergence(diagonal)
        assert kl >= 0
        np.testing.assert_allclose(posterior.kl_divergence(identity), kl, rtol=1e-12)
        orthogonal = np.linalg.qr(rng.normal(size=(d, d)))[0]
        rotated = posterior.from_heads(
            mean, log_variance, posterior.couple(jnp.asarray(orthogonal)), True
        )
        np.testing.assert_allclose(posterior.kl_divergence(rotated), kl, rtol=1e-9)


def test_kl_in_float32_at_a_badly_conditioned_coupling():
    """What training computes: float32, right after initialisation and worse."""
    for d in DIMENSIONS:
        for condition in (10, 1e5):
            q, *_ = random_posterior(np.random.default_rng(d), d, condition)
            single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), q)
            # The determinant anew, as a step computes it.
            single = single._replace(coupling=posterior.couple(single.coupling.matrix))
            exact = posterior.kl_divergence(q)
            assert posterior.kl_divergence(single).dtype == jnp.float32
            tolerance = 1e-5 * condition**0.5 if d > 1 else 1e-5
            np.testing.assert_allclose(posterior.kl_divergence(single), exact, rtol=tolerance)
