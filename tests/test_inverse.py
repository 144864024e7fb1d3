"""The inverse that is followed, against float64 at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import datasets, embed, inverse, posteriors, replicas, train

EPS = 1.2e-7
follow = jax.jit(inverse.follow)


def assert_exact(found: inverse.Inverse, c) -> None:
    """The bound that is promised, and log|det| to float32's own accuracy."""
    c = np.asarray(c, np.float64)
    expected = np.linalg.inv(c).T
    error = np.linalg.norm(found.transpose - expected) / np.linalg.norm(expected)
    condition = np.linalg.cond(c)
    assert error <= max(1e-4, 2 * EPS * condition)
    singular = np.linalg.svd(c, compute_uv=False)
    scale = np.abs(np.log(singular)).sum() + len(c)
    assert abs(found.log_abs_det - np.log(singular).sum()) <= 4 * EPS * (scale + condition)
    own = np.linalg.slogdet(np.asarray(found.transpose, np.float64))[1]
    assert abs(found.own_log_abs_det - own) <= 4 * EPS * (scale + condition)


def matrix(d, condition, rng):
    """A random matrix with singular values from 1 down to 1 / condition."""
    u, _, v = np.linalg.svd(rng.normal(size=(d, d)))
    return jnp.asarray(u * np.geomspace(1, 1 / condition, d) @ v, jnp.float32)


@pytest.mark.parametrize("condition", [1, 10, 1e3, 1e5])
@pytest.mark.parametrize("d", [1, 2, 16, 60])
@pytest.mark.parametrize("step", [1e-4, 3e-3])
def test_a_walk_of_c(d, condition, step):
    """Steps as of Adam: every entry moves by as much, in a random direction."""
    rng = np.random.default_rng(0)
    c = matrix(d, condition if d > 1 else 1, rng)
    found = jax.jit(inverse.of)(c)
    assert_exact(found, c)
    for _ in range(30):
        c = c + step * jnp.asarray(rng.choice([-1, 1], size=(d, d)), jnp.float32)
        found = follow(found, c)
        assert_exact(found, c)


def test_the_first_steps_of_a_training(make_config):
    """From a random C, which is the worst that training meets."""
    config = make_config("mvae,32", learning_rate=1e-3)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 6, 5, 1), np.uint8))
    step = jax.jit(train.train_step, static_argnums=0)
    state = train.init(config, jnp.asarray(777))
    family = posteriors.of(config)
    state = state._replace(carry=family.start_epoch(config, state.params))
    for _ in range(80):
        c = state.params["coupling"]
        state, _ = step(config, state, images, jnp.ones(8, bool))
        assert_exact(state.carry, c)


def test_a_jump_is_factorised():
    rng = np.random.default_rng(0)
    before, after = matrix(8, 10, rng), matrix(8, 10, rng)
    assert_exact(follow(inverse.of(before), after), after)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_what_has_no_inverse_ends_and_is_not_finite(bad):
    c = jnp.full((4, 4), bad)
    found = follow(inverse.of(jnp.eye(4)), c)
    assert not np.isfinite(found.log_abs_det)


def test_no_seed_depends_on_another():
    """One of three jumps and is factorised; the others' bits are those they have without it."""
    rng = np.random.default_rng(0)
    cs = jnp.stack([matrix(8, 10, rng) for _ in range(3)])
    inverses = jax.vmap(inverse.of)(cs)
    near = cs + 1e-3
    together = jax.jit(jax.vmap(inverse.follow))
    calm = together(inverses, near)
    jumped = together(inverses, near.at[1].set(matrix(8, 10, rng)))
    for quiet, other in zip(calm, jumped, strict=True):
        np.testing.assert_array_equal(quiet[0], other[0])
        np.testing.assert_array_equal(quiet[2], other[2])
    assert_exact(inverse.Inverse(*(leaf[1] for leaf in calm)), near[1])


def test_steps_that_hide_from_the_terms():
    """R is largest where X is smallest, so that the terms' sizes say little of what is left."""
    before, after = (jnp.diag(jnp.array(d)) for d in ([1.0, 862.0], [0.983, 439.6]))
    assert_exact(follow(inverse.of(before), after), after)


def test_five_hundred_steps_without_a_factorisation():
    """Nothing adds up between an epoch's start and its end; a rank-one drift and Adam's steps."""
    rng = np.random.default_rng(0)
    c = matrix(24, 10, rng)
    found = inverse.of(c)
    drift = jnp.asarray(1e-4 * np.outer(rng.normal(size=24), rng.normal(size=24)), jnp.float32)
    for _ in range(500):
        c = c + drift + 3e-4 * jnp.asarray(rng.choice([-1, 1], size=(24, 24)), jnp.float32)
        found = follow(found, c)
        assert jnp.linalg.norm(jnp.eye(24) - c.T @ found.transpose) < inverse.MAX_RESIDUAL
    assert_exact(found, c)


@pytest.mark.parametrize("condition", [1e7, 1e9])
def test_where_float32_has_no_inverse_the_factorisation_is_kept(condition):
    """A series would make it worse."""
    c = matrix(16, condition, np.random.default_rng(0))
    found, factorised = follow(inverse.of(jnp.eye(16)), c), inverse.of(c)
    np.testing.assert_allclose(found.transpose, factorised.transpose, rtol=1e-3)
    # Some processors round such a C to a singular one: then neither way has a determinant.
    followed, exact = (
        np.where(np.isfinite(way.log_abs_det), way.log_abs_det, np.nan)
        for way in (found, factorised)
    )
    np.testing.assert_allclose(followed, exact, rtol=1e-3)


def test_all_products_that_follow_are_in_full_precision():
    """On accelerators the default, and `high` too, round the factors to ten bits."""
    c = jnp.eye(8)
    program = jax.jit(inverse.follow).lower(inverse.of(c), c).as_text()
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) >= 3
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_the_factorisation_stays_in_its_loop():
    """The compiler likes to move it out, and so into every step."""
    c = jnp.eye(8)
    program = jax.jit(inverse.follow).lower(inverse.of(c), c).compile()
    entry = program.as_text().partition("ENTRY")[2]
    assert "getrf" in program.as_text()
    assert "getrf" not in entry


def test_the_gradient_is_the_inverse_transpose():
    """Against the derivative of numpy's slogdet in float64."""
    rng = np.random.default_rng(0)
    c = matrix(5, 10, rng)
    gradient = jax.grad(inverse.log_abs_det)(c, inverse.of(c))
    for i, j in ((0, 0), (1, 3), (4, 2)):
        step = np.zeros((5, 5))
        step[i, j] = 1e-6
        high, low = (np.linalg.slogdet(np.float64(c) + s)[1] for s in (step, -step))
        assert gradient[i, j] == pytest.approx((high - low) / 2e-6, rel=1e-4)


def test_training_with_and_without_is_the_same(make_config, monkeypatch):
    """Forty epochs; the exact inverse of every step gives the same ELBO and parameters."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, 6, 5, 1), np.uint8))

    def run(tag):
        config = make_config("mvae,8", tag=tag)
        epoch = jax.jit(train.train_epoch, static_argnums=0)
        state, elbos = train.init(config, jnp.asarray(777)), []
        for _ in range(40):
            state, metrics = epoch(config, state, images)
            elbos.append(float(metrics.log_likelihood - metrics.kl))
        return np.array(elbos), state.params["coupling"]

    elbos, coupling = run("followed")
    monkeypatch.setattr(inverse, "follow", lambda _, c: inverse.of(c))
    exact_elbos, exact_coupling = run("exact")
    np.testing.assert_allclose(elbos, exact_elbos, rtol=1e-5)
    np.testing.assert_allclose(coupling, exact_coupling, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("latent_size", [16, 64])
def test_a_whole_training_on_digits_with_and_without(latent_size, monkeypatch):
    """200 epochs of five seeds: what they differ by is small beside what the seeds differ by."""
    data = datasets.load("digits")
    pixels, test = (data.images[data.splits[name]] for name in ("train", "test"))
    pixels = jnp.asarray(pixels)

    def elbos():
        config = config_lib.base_config("digits", f"mvae,{latent_size}")
        config.update(image_shape=(8, 8, 1), pixel_scale=data.pixel_scale)
        config = FrozenConfigDict(config)
        states = replicas.init(config, range(5))
        for _ in range(200):
            states, _ = replicas.train_epoch(config, "map", states, pixels)
        found = []
        for seed, state in enumerate(replicas.unstack(states, 5)):
            key = jax.random.key(seed)
            terms = embed.example_terms(config, state.params, key, test)
            found.append(float(jnp.mean(terms["log_likelihood"] - terms["kl"])))
        return np.array(found)

    followed = elbos()
    monkeypatch.setattr(inverse, "follow", lambda _, c: inverse.of(c))
    exact = elbos()
    print(f"z={latent_size}: followed {followed}, exact {exact}")
    assert abs(np.mean(followed - exact)) < 0.2 * np.std(exact, ddof=1)
    assert np.all(np.abs(followed - exact) < np.std(exact, ddof=1))
