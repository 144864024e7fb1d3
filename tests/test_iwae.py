"""The importance-weighted bound against float64 loops, a quadrature and a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal

from mvae_jax import elbo, embed, model, train

iwae_bound = jax.jit(elbo.iwae_bound, static_argnames=("config", "num_samples"))


def state_and_image(config, seed=0):
    state = train.init(config, jnp.asarray(seed))
    x = np.random.default_rng(seed).random(np.prod(config.image_shape))
    return state, jnp.asarray(x, "float32")


def numpy_posterior(config, params, x):
    q = model.encode(config, params, x)
    coupling = np.eye(config.latent_size) if config.model == "vae" else q.coupling.matrix
    factor = np.asarray(coupling, np.float64) * np.exp(0.5 * np.asarray(q.log_variance, np.float64))
    return np.asarray(q.loc, np.float64), factor


def numpy_log_likelihood(config, params, x, z):
    """log p(x|z) of the Bernoulli decoder, from its weights."""
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    hidden, pixels = weights["decoder"]["layer_0"]["Dense_0"], weights["pixels"]["Dense_0"]
    logits = np.tanh(z @ hidden["kernel"] + hidden["bias"]) @ pixels["kernel"] + pixels["bias"]
    x = np.asarray(x, np.float64)
    return float(np.sum(x * np.log(expit(logits)) + (1 - x) * np.log(expit(-logits))))


@pytest.mark.parametrize(("name", "latent_size"), [("mvae", 3), ("vae", 3), ("mvae", 1)])
def test_matches_a_loop_over_samples_in_float64(make_config, name, latent_size):
    config = make_config(f"{name},{latent_size}")
    state, x = state_and_image(config)
    key, num_samples = jax.random.key(5), 7
    loc, factor = numpy_posterior(config, state.params, x)
    log_weights = []
    for k in range(num_samples):
        noise = np.asarray(jax.random.normal(jax.random.fold_in(key, k), (latent_size,)))
        z = loc + factor @ noise
        log_weights.append(
            numpy_log_likelihood(config, state.params, x, z)
            + multivariate_normal(np.zeros(latent_size)).logpdf(z)
            - multivariate_normal(loc, factor @ factor.T).logpdf(z)
        )
    expected = logsumexp(log_weights) - np.log(num_samples)
    bound = iwae_bound(config, state.params, x, key, num_samples)
    np.testing.assert_allclose(bound, expected, atol=1e-4)


def test_approaches_log_p_of_a_quadrature(make_config):
    config = make_config("mvae,1")
    state, x = state_and_image(config, seed=3)
    grid = np.linspace(-8, 8, 2001)
    log_joint = [
        numpy_log_likelihood(config, state.params, x, np.array([z])) - 0.5 * z**2 for z in grid
    ]
    log_p = logsumexp(log_joint) + np.log(grid[1] - grid[0]) - 0.5 * np.log(2 * np.pi)
    bounds = [float(iwae_bound(config, state.params, x, jax.random.key(0), k)) for k in (1, 20_000)]
    assert abs(bounds[1] - log_p) < 0.02 < abs(bounds[0] - log_p)


def test_is_log_p_for_every_k_where_the_posterior_is_exact(make_config):
    """A decoder that ignores z has the prior as its posterior: every weight is p(x)."""
    config = make_config("mvae,4")
    state, x = state_and_image(config)
    params = jax.tree.map(lambda leaf: leaf, state.params)
    zero = jnp.zeros_like
    for layer in ("mean", "log_variance"):
        params[layer] = jax.tree.map(zero, params[layer])
    params["decoder"]["layer_0"]["Dense_0"]["kernel"] *= 0
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    params["coupling"] = jnp.asarray(rotation, "float32")
    expected = numpy_log_likelihood(config, params, x, np.zeros(4))
    for num_samples in (1, 10):
        bound = iwae_bound(config, params, x, jax.random.key(1), num_samples)
        np.testing.assert_allclose(bound, expected, atol=1e-4)


def test_the_determinant_is_not_taken_per_sample(make_config):
    config = make_config("mvae,4")
    state, x = state_and_image(config)
    bound = jax.make_jaxpr(lambda p, x, key: elbo.iwae_bound(config, p, x, key, 5))
    equations = bound(state.params, x, jax.random.key(0)).eqns
    (loop,) = [equation for equation in equations if equation.primitive.name == "scan"]
    assert any("slogdet" in str(equation) for equation in equations)
    assert "dot_general" in str(loop.params["jaxpr"])
    assert "slogdet" not in str(loop.params["jaxpr"])


def test_is_saved_per_example_and_above_the_elbo(make_config):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 1), dtype=np.uint8)
    terms = {}
    for k in (0, 64):
        config = make_config("mvae,3", iwae_samples=k)
        state = train.init(config, jnp.asarray(0))
        terms[k] = embed.example_terms(config, state.params, jax.random.key(state.seed), images)
    assert "iwae" not in terms[0]
    assert terms[64]["iwae"].shape == (40,)
    np.testing.assert_array_equal(terms[0]["kl"], terms[64]["kl"])
    assert terms[64]["iwae"].mean() > terms[64]["log_likelihood"].mean() - terms[64]["kl"].mean()
