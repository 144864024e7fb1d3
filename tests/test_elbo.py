"""Model and bound: likelihoods, sign and units, the QR identities, initialisation, pairing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from mvae_jax import elbo, likelihoods, model, posteriors, train
from mvae_jax.posteriors import mvae


def to_float64(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    return rng.uniform(size=30), rng.normal(size=4)


def test_bernoulli_log_likelihood_is_the_sum_of_log_probabilities(make_config):
    logits = np.random.default_rng(0).normal(size=50).astype(np.float32)
    x = (np.random.default_rng(1).uniform(size=50) < 0.5).astype(np.float32)
    expected = scipy.stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x).sum()
    found = likelihoods.bernoulli.log_prob(make_config(), {}, jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bernoulli_log_likelihood_of_extreme_logits_is_finite(make_config):
    logits = jnp.asarray([200.0, -200.0, 200.0, -200.0])
    x = jnp.asarray([1.0, 0.0, 0.0, 1.0])
    found = likelihoods.bernoulli.log_prob(make_config(), {}, logits, x)
    np.testing.assert_allclose(found, -400.0)


@pytest.mark.parametrize("name", ["gaussian", "gaussian_learned"])
def test_gaussian_log_likelihood_matches_scipy(make_config, name):
    logits = np.random.default_rng(0).normal(size=50).astype(np.float32)
    x = np.random.default_rng(1).uniform(size=50).astype(np.float32)
    mean = 1 / (1 + np.exp(-logits))
    expected = scipy.stats.norm(mean, np.sqrt(0.1)).logpdf(x).sum()
    config = make_config(likelihood=name, likelihood_variance=0.1)
    likelihood = likelihoods.of(config)
    params = likelihood.init(config)
    found = likelihood.log_prob(config, params, jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(jnp.asarray(logits)), mean, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_learned"])
def test_elbo_is_a_lower_bound_in_nats(make_config, likelihood):
    """With d = 1 the evidence is a one-dimensional integral: ELBO = log p(x) - KL(q || p(z|x)).

    Checks the sign, the units and both terms at once, against quadrature in float64.
    """
    config = make_config("mvae,1", likelihood=likelihood)
    with jax.enable_x64(True):
        params = to_float64(model.init(config, jax.random.key(0)))
        x = jnp.asarray(np.random.default_rng(1).uniform(size=30))
        z = np.linspace(-8, 8, 4001)
        step = z[1] - z[0]

        def log_p(z):
            return elbo.log_likelihood(config, params, model.decode(config, params, z), x)

        log_joint = np.array(jax.vmap(log_p)(jnp.asarray(z)[:, None])) + scipy.stats.norm.logpdf(z)
        log_evidence = scipy.special.logsumexp(log_joint) + np.log(step)

        q = model.encode(config, params, x)
        log_q = np.array(jax.vmap(lambda z: mvae.log_prob(q, z))(jnp.asarray(z)[:, None]))
        gap = np.sum(np.exp(log_q) * (log_q - (log_joint - log_evidence))) * step
        # The mean over noise, by Gauss-Hermite quadrature.
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        terms, _ = jax.vmap(lambda e: elbo.elbo_terms(config, params, x, e))(
            jnp.asarray(nodes)[:, None]
        )
        bound = np.sum(weights * np.asarray(terms.elbo)) / np.sum(weights)
    assert gap > 0
    assert bound < log_evidence
    np.testing.assert_allclose(bound, log_evidence - gap, rtol=1e-6)
    np.testing.assert_allclose(terms.elbo, terms.log_likelihood - terms.kl)


@pytest.mark.parametrize("model_name", ["vae", "mvae"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_learned"])
def test_gradients_match_finite_differences(make_config, example, model_name, likelihood):
    config = make_config(f"{model_name},4", hidden_size=5, likelihood=likelihood)
    x, noise = example
    with jax.enable_x64(True):
        params = to_float64(model.init(config, jax.random.key(0)))

        def bound(params):
            params = to_float64(params)  # check_grads hands in numpy arrays
            return elbo.elbo_terms(config, params, jnp.asarray(x), jnp.asarray(noise))[0].elbo

        check_grads(bound, (params,), order=1, modes=["rev"], eps=1e-6, rtol=1e-5)


@pytest.mark.parametrize("couple_mean", [True, False])
def test_qr_identity(make_config, example, couple_mean):
    """MVAE has the ELBO of a unit-triangular coupling, with Q in the decoder and r in the heads."""
    config = make_config("mvae,4", couple_mean=couple_mean)
    x, noise = (jnp.asarray(v) for v in example)
    with jax.enable_x64(True):
        params = to_float64(model.init(config, jax.random.key(3)))
        x, noise = jnp.asarray(x, jnp.float64), jnp.asarray(noise, jnp.float64)
        q, r_matrix = np.linalg.qr(params["coupling"])
        signs = np.sign(np.diag(r_matrix))
        q, r_matrix = q * signs[None, :], r_matrix * signs[:, None]
        r = np.diag(r_matrix)

        def dense(name):
            return {k: jnp.array(v) for k, v in params[name]["Dense_0"].items()}

        mean, log_variance = dense("mean"), dense("log_variance")
        if couple_mean:
            mean = {"kernel": mean["kernel"] * r[None, :], "bias": mean["bias"] * r}
        else:
            mean = {"kernel": mean["kernel"] @ q, "bias": mean["bias"] @ q}
        log_variance["bias"] = log_variance["bias"] + 2 * np.log(r)
        first = dict(params["decoder"]["layer_0"]["Dense_0"])
        first["kernel"] = q.T @ first["kernel"]
        triangular = {
            **params,
            "coupling": jnp.asarray(r_matrix / r[None, :]),
            "mean": {"Dense_0": mean},
            "log_variance": {"Dense_0": log_variance},
            "decoder": {"layer_0": {"Dense_0": first}},
        }
        assert np.allclose(np.diag(triangular["coupling"]), 1)
        terms, p = elbo.elbo_terms(config, params, x, noise)
        same_terms, same_p = elbo.elbo_terms(config, triangular, x, noise)
        np.testing.assert_allclose(same_terms, terms, rtol=1e-5)
        np.testing.assert_allclose(same_p.outputs, p.outputs, rtol=1e-5)


def test_identity_coupling_is_the_vae(make_config, example):
    x, noise = (jnp.asarray(v, jnp.float32) for v in example)
    vae, mvae = make_config("vae,4"), make_config("mvae,4")
    params = model.init(vae, jax.random.key(0))
    terms, p = elbo.elbo_terms(vae, params, x, noise)
    coupled, coupled_p = elbo.elbo_terms(mvae, {**params, "coupling": jnp.eye(4)}, x, noise)
    np.testing.assert_allclose(coupled, terms, rtol=1e-6)
    np.testing.assert_allclose(coupled_p.outputs, p.outputs, rtol=1e-6)


def test_same_seed_same_weights_in_both_models(make_config):
    vae = model.init(make_config("vae,4"), jax.random.key(5))
    mvae = model.init(make_config("mvae,4"), jax.random.key(5))
    assert set(mvae) - set(vae) == {"coupling"}
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            jax.tree.leaves(vae),
            jax.tree.leaves({k: v for k, v in mvae.items() if k != "coupling"}),
            strict=True,
        )
    )


def test_initial_weights_are_torchs_uniform(make_config):
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): bounds, and the distribution by Kolmogorov-Smirnov."""
    config = make_config("mvae,64", hidden_size=100)
    params = model.init(config, jax.random.key(1))
    layers = {
        "encoder": (params["encoder"]["layer_0"]["Dense_0"]["kernel"], 30),
        "encoder bias": (params["encoder"]["layer_0"]["Dense_0"]["bias"], 30),
        "mean": (params["mean"]["Dense_0"]["kernel"], 100),
        "log variance bias": (params["log_variance"]["Dense_0"]["bias"], 100),
        "coupling": (params["coupling"], 64),
        "decoder": (params["decoder"]["layer_0"]["Dense_0"]["kernel"], 64),
        "pixels": (params["pixels"]["Dense_0"]["kernel"], 100),
    }
    for name, (weights, fan_in) in layers.items():
        bound = fan_in**-0.5
        assert np.abs(weights).max() <= bound, name
        uniform = scipy.stats.uniform(-bound, 2 * bound)
        assert scipy.stats.kstest(np.ravel(weights), uniform.cdf).pvalue > 1e-3, name


def test_width_depth_and_activation(make_config):
    config = make_config(num_hidden_layers=3, hidden_size=7, activation="relu")
    params = model.init(config, jax.random.key(0))
    kernels = [params["encoder"][f"layer_{i}"]["Dense_0"]["kernel"].shape for i in range(3)]
    assert kernels == [(30, 7), (7, 7), (7, 7)]

    # The network by hand, in numpy.
    x = np.random.default_rng(0).uniform(size=30).astype(np.float32)
    hidden = x
    for i in range(3):
        layer = params["encoder"][f"layer_{i}"]["Dense_0"]
        hidden = np.maximum(hidden @ layer["kernel"] + layer["bias"], 0)
    mean = hidden @ params["mean"]["Dense_0"]["kernel"] + params["mean"]["Dense_0"]["bias"]
    loc = model.encode(config, params, jnp.asarray(x)).loc
    np.testing.assert_allclose(loc, params["coupling"] @ mean, rtol=1e-4, atol=1e-6)


def step_text(config, exact=False) -> str:
    """Returns the program of one training step, as lowered for the compiler."""
    state, family = train.init(config, jnp.asarray(0)), posteriors.of(config)
    state = state._replace(carry=family.start_epoch(config, state.params, state.carry))
    images = jnp.zeros((config.batch_size, *config.image_shape), jnp.uint8)
    is_real = jnp.ones(config.batch_size, bool)
    step = jax.jit(train.train_step, static_argnums=(0, 4))
    return step.lower(config, state, images, is_real, exact).as_text()


def test_the_vae_step_holds_no_square_product(make_config):
    """d = 37 occurs nowhere else: a d x d array in the program would show."""
    assert "37x37x" not in step_text(make_config("vae,37"))
    assert "37x37x" in step_text(make_config("mvae,37"))


def test_one_determinant_per_exact_step_whatever_the_batch_and_none_per_other(make_config):
    assert "getrf" not in step_text(make_config("mvae,37"))
    text = step_text(make_config("mvae,37"), exact=True)
    factorisations = [line for line in text.splitlines() if "getrf" in line]
    assert factorisations
    assert all('num_batch_dims = "0"' in line for line in factorisations)
    assert "8x37x37x" not in text  # no matrix per example
