"""The Gaussian families against scipy, closed forms and Monte Carlo, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from mvae_jax.posteriors import mvae, vae

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
    q = mvae.Coupled(jnp.asarray(loc), jnp.asarray(log_variance), mvae.couple(jnp.asarray(c)))
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
        np.testing.assert_allclose(mvae.covariance(q), sigma, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(mvae.trace(q), np.trace(sigma), rtol=1e-10)
        expected = np.linalg.slogdet(sigma)[1]
        np.testing.assert_allclose(mvae.log_det(q), expected, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(mvae.kl(q), gaussian_kl(loc, sigma), rtol=1e-6)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_log_prob_matches_scipy(d):
    rng = np.random.default_rng(d)
    q, loc, sigma, c = random_posterior(rng, d, condition=100)
    z = loc + c @ rng.normal(size=d)
    expected = scipy.stats.multivariate_normal(loc, sigma, allow_singular=False).logpdf(z)
    np.testing.assert_allclose(mvae.log_prob(q, jnp.asarray(z)), expected, rtol=1e-8)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_diagonal_family_matches_scipy(d):
    rng = np.random.default_rng(d)
    loc, log_variance, z = rng.normal(size=(3, d))
    q = vae.Diagonal(jnp.asarray(loc), jnp.asarray(log_variance))
    normal = scipy.stats.norm(loc, np.exp(0.5 * log_variance))
    np.testing.assert_allclose(vae.log_prob(q, jnp.asarray(z)), normal.logpdf(z).sum())
    np.testing.assert_allclose(vae.covariance(q), np.diag(np.exp(log_variance)))
    kl = gaussian_kl(loc, np.diag(np.exp(log_variance)))
    np.testing.assert_allclose(vae.kl(q), kl)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_samples_have_the_moments_and_the_kl(d):
    """Monte Carlo: mean, covariance and E_q[log q - log p] within four standard errors."""
    q, loc, sigma, _ = random_posterior(np.random.default_rng(d), d)
    n = 20_000
    noise = jax.random.normal(jax.random.key(d), (n, d))
    z, log_ratio, _ = jax.vmap(lambda e: mvae.sample(q, e))(noise)
    standard_error = np.sqrt(np.diag(sigma) / n)
    assert np.max(np.abs(np.mean(z, axis=0) - loc) / standard_error) < 5
    # Wishart: the covariance of an entry of the sample covariance.
    spread = np.sqrt((sigma**2 + np.outer(np.diag(sigma), np.diag(sigma))) / n)
    assert np.max(np.abs(np.cov(z.T, ddof=0).reshape(d, d) - sigma) / spread) < 6

    log_q = jax.vmap(lambda z: mvae.log_prob(q, z))(z)
    log_p = scipy.stats.norm.logpdf(np.asarray(z)).sum(axis=1)
    draws = np.asarray(log_q) - log_p
    np.testing.assert_allclose(log_ratio, draws, rtol=1e-6, atol=1e-6)
    error = draws.std() / np.sqrt(n)
    assert abs(draws.mean() - mvae.kl(q)) < 4 * error


@pytest.mark.parametrize("d", [1, 2, 16])
@pytest.mark.parametrize("couple_mean", [True, False])
def test_gradients_match_finite_differences(d, couple_mean):
    rng = np.random.default_rng(d)
    q, _, _, c = random_posterior(rng, d, condition=100)
    noise = jnp.asarray(rng.normal(size=d))

    def objective(*arguments):
        mean, log_variance, matrix = map(jnp.asarray, arguments)
        q = mvae.from_heads(mean, log_variance, mvae.couple(matrix), couple_mean)
        z = mvae.sample(q, noise).z
        return mvae.kl(q) + jnp.sum(jnp.sin(z)) + mvae.log_prob(q, 0.5 * z)

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
        diagonal = vae.Diagonal(mean, log_variance)
        identity = mvae.from_heads(mean, log_variance, mvae.couple(jnp.eye(d)), True)
        one, other = mvae.sample(identity, noise), vae.sample(diagonal, noise)
        np.testing.assert_allclose(one.z, other.z, rtol=1e-12)
        np.testing.assert_allclose(one.log_ratio, other.log_ratio, rtol=1e-12, atol=1e-12)
        kl = vae.kl(diagonal)
        assert kl >= 0
        np.testing.assert_allclose(mvae.kl(identity), kl, rtol=1e-12)
        orthogonal = np.linalg.qr(rng.normal(size=(d, d)))[0]
        rotated = mvae.from_heads(mean, log_variance, mvae.couple(jnp.asarray(orthogonal)), True)
        np.testing.assert_allclose(mvae.kl(rotated), kl, rtol=1e-9)


def test_kl_in_float32_at_a_badly_conditioned_coupling():
    """What training computes: float32, right after initialisation and worse."""
    for d in DIMENSIONS:
        for condition in (10, 1e5):
            q, *_ = random_posterior(np.random.default_rng(d), d, condition)
            single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), q)
            # The determinant anew, as a step computes it.
            single = single._replace(coupling=mvae.couple(single.coupling.matrix))
            exact = mvae.kl(q)
            assert mvae.kl(single).dtype == jnp.float32
            tolerance = 1e-5 * condition**0.5 if d > 1 else 1e-5
            np.testing.assert_allclose(mvae.kl(single), exact, rtol=tolerance)
