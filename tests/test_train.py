"""One seed's training against plain loops, and the replicate axis against one seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvae_jax import elbo, model, posteriors, replicas, train
from mvae_jax.posteriors import mvae

NUM_IMAGES = 30  # with batches of 8, the last has 6


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 6, 5, 1), np.uint8))


def distance(a, b) -> float:
    """Returns the largest relative Frobenius distance over the arrays of two trees."""
    pairs = zip(jax.tree.leaves(jax.device_get(a)), jax.tree.leaves(jax.device_get(b)), strict=True)
    return max(float(np.linalg.norm(x - y) / np.linalg.norm(y)) for x, y in pairs)


def begin_epoch(config, state):
    """Returns the state as an epoch hands it to its first step."""
    return state._replace(
        carry=posteriors.of(config).start_epoch(config, state.params, state.carry)
    )


def test_one_step_is_adamw_on_the_masked_mean(make_config, images):
    """Against AdamW written out in float64 numpy, and a Python loop over the real examples."""
    config = make_config()
    state = train.init(config, jnp.asarray(1))
    is_real = jnp.arange(8) < 6
    step = jax.jit(train.train_step, static_argnums=0)
    after, sums = step(config, begin_epoch(config, state), images[:8], is_real)

    noise_key = jax.random.fold_in(train.key(state.seed, train.NOISE), 0)
    noise = jax.random.normal(noise_key, (8, config.latent_size))

    def mean_loss(params):
        pixels = [model.scale_pixels(config, image) for image in images[:6]]
        terms = [
            elbo.elbo_terms(config, params, x, e)[0] for x, e in zip(pixels, noise, strict=False)
        ]
        return -sum(t.elbo for t in terms) / 6

    loss, gradients = jax.jit(jax.value_and_grad(mean_loss))(state.params)
    np.testing.assert_allclose(-sums.elbo / 6, loss, rtol=1e-5)
    befores, gradients, afters = (
        jax.tree.leaves(jax.device_get(tree)) for tree in (state.params, gradients, after.params)
    )
    for before, gradient, found in zip(befores, gradients, afters, strict=True):
        before, gradient = np.float64(before), np.float64(gradient)
        first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
        adam = first / (np.sqrt(second) + 1e-8)
        expected = before * (1 - 1e-3 * 1e-2) - 1e-3 * adam
        # Where a gradient is nearly zero its sign, and so Adam's first step, is rounding.
        clear = np.abs(gradient) > 1e-6
        np.testing.assert_allclose(found[clear], expected[clear], atol=2e-6)


def test_a_frozen_c_stays_at_its_random_start_and_all_else_is_trained(make_config, images):
    config = make_config("frozen,4")
    before = train.init(config, jnp.asarray(1))
    after, _ = jax.jit(train.train_epoch, static_argnums=0)(config, before, images)
    np.testing.assert_array_equal(before.params["coupling"], after.params["coupling"])
    np.testing.assert_array_equal(
        before.params["coupling"], train.init(make_config(), jnp.asarray(1)).params["coupling"]
    )
    first, *others = (
        {name: leaf for name, leaf in state.params.items() if name != "coupling"}
        for state in (before, after)
    )
    for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(others), strict=True):
        assert (old != new).all()


def test_an_epoch_visits_every_image_once_and_means_over_them(make_config, images):
    """An epoch equals a Python loop over the permutation, with a smaller last batch."""
    config = make_config()
    state = train.init(config, jnp.asarray(1))
    after, metrics = jax.jit(train.train_epoch, static_argnums=0)(config, state, images)

    order_key = jax.random.fold_in(train.key(state.seed, train.ORDER), 0)
    order = np.asarray(jax.random.permutation(order_key, NUM_IMAGES))
    assert sorted(order) == list(range(NUM_IMAGES))
    step = jax.jit(train.train_step, static_argnums=0)
    state, log_likelihood = begin_epoch(config, state), 0.0
    for start in range(0, NUM_IMAGES, 8):
        batch = images[order[start : start + 8]]
        padding = 8 - len(batch)
        # Whatever fills up the last batch must not matter: white images here.
        batch = jnp.concatenate([batch, jnp.full((padding, 6, 5, 1), 255, jnp.uint8)])
        state, sums = step(config, state, batch, jnp.arange(8) < 8 - padding)
        log_likelihood += float(sums.log_likelihood)
    assert int(after.step) == int(state.step) == 4
    assert distance(after.params, state.params) < 1e-5
    np.testing.assert_allclose(metrics.log_likelihood, log_likelihood / NUM_IMAGES, rtol=1e-5)


def test_epochs_differ_in_order_and_steps_in_noise(make_config, images):
    config = make_config(learning_rate=1e-30, weight_decay=0.0)  # only the randomness moves
    epoch = jax.jit(train.train_epoch, static_argnums=0)
    state, first = epoch(config, train.init(config, jnp.asarray(1)), images)
    _, second = epoch(config, state, images)
    np.testing.assert_allclose(first.kl, second.kl, rtol=1e-5)
    assert first.log_likelihood != second.log_likelihood


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_a_seed_is_the_same_alone_in_a_set_and_in_any_order(make_config, images, mode):
    config = make_config()

    def trained(seeds):
        states, metrics = replicas.train_epoch(config, mode, replicas.init(config, seeds), images)
        found = zip(
            seeds,
            replicas.unstack(states, len(seeds)),
            replicas.unstack(metrics, len(seeds)),
            strict=True,
        )
        return {seed: (state.params, m) for seed, state, m in found}

    together, reordered = trained([777, 778, 779]), trained([779, 5, 777])
    for seed in (777, 779):
        alone = trained([seed])[seed]
        for params, metrics in (together[seed], reordered[seed]):
            assert distance(params, alone[0]) < 1e-4
            assert abs(metrics.log_likelihood - alone[1].log_likelihood) < 0.01
            assert abs(metrics.kl - alone[1].kl) < 0.01


def test_modes_agree(make_config, images):
    config = make_config()
    found = [
        replicas.train_epoch(config, mode, replicas.init(config, range(3)), images)[0].params
        for mode in ("vmap", "map")
    ]
    assert distance(*found) < 1e-4


@pytest.mark.parametrize("select", ["last", "best_valid"])
def test_one_compilation_for_all_epochs(make_config, images, monkeypatch, select):
    traces = []
    original = train.train_epoch
    monkeypatch.setattr(train, "train_epoch", lambda *a: traces.append(a[4]) or original(*a))
    config = make_config(latent_size=3, select=select)  # no other test has compiled it
    states = replicas.init(config, range(3))
    for _ in range(3):
        states, _ = replicas.train_epoch(config, "vmap", states, images, images[:10])
    assert len(traces) == 2  # one for the first epoch, which is exact, and one for all others


def test_a_patched_function_is_compiled_anew(make_config, images, monkeypatch):
    config = make_config()

    def kl():
        states = replicas.init(config, range(3))
        return replicas.train_epoch(config, "vmap", states, images)[1].kl

    before = kl()
    with monkeypatch.context() as patch:
        patch.setattr(mvae, "trace", mvae.log_det)
        assert (kl() != before).all()
    np.testing.assert_array_equal(kl(), before)

    program = replicas.epoch_program(config)
    assert replicas.epoch_program(config) is program
    monkeypatch.setattr(model.Network, "decode", lambda self, z: None)
    assert replicas.epoch_program(config) is not program


def test_states_are_donated(make_config, images):
    config = make_config()
    states = replicas.init(config, range(3))
    leaf = states.params["coupling"]
    replicas.train_epoch(config, "vmap", states, images)
    assert leaf.is_deleted()


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_a_nan_in_one_seed_leaves_the_others_bitwise_unchanged(make_config, images, mode):
    config = make_config()
    healthy, poisoned = replicas.init(config, range(3)), replicas.init(config, range(3))
    poisoned = poisoned._replace(
        params=jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), poisoned.params)
    )
    healthy, _ = replicas.train_epoch(config, mode, healthy, images)
    poisoned, metrics = replicas.train_epoch(config, mode, poisoned, images)
    assert np.isnan(metrics.kl[1])
    assert np.isfinite(np.asarray(metrics.kl)[[0, 2]]).all()
    trees = (jax.device_get(states.params) for states in (poisoned, healthy))
    for a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[2], b[2])


def test_both_models_see_the_same_batches_and_noise(make_config, images):
    """With C = I and no learning, MVAE's epoch is the VAE's: same data, same draws."""
    frozen = {"learning_rate": 1e-30, "weight_decay": 0.0}
    vae, mvae = make_config("vae,4", **frozen), make_config("mvae,4", **frozen)
    state = train.init(mvae, jnp.asarray(7))
    state = state._replace(params={**state.params, "coupling": jnp.eye(4)})
    epoch = jax.jit(train.train_epoch, static_argnums=0)
    _, coupled = epoch(mvae, state, images)
    _, diagonal = epoch(vae, train.init(vae, jnp.asarray(7)), images)
    np.testing.assert_allclose(coupled[:2], diagonal[:2], rtol=1e-5)


def test_on_a_cpu_a_seed_has_the_same_bits_alone_and_among_others(make_config, images):
    assert replicas.choose_mode() == "map"
    config = make_config()
    alone, _ = replicas.train_epoch(config, "map", replicas.init(config, [2]), images)
    among, _ = replicas.train_epoch(config, "map", replicas.init(config, [1, 2, 3]), images)
    for one, three in zip(
        jax.tree.leaves(alone.params), jax.tree.leaves(among.params), strict=True
    ):
        np.testing.assert_array_equal(one[0], three[1])
