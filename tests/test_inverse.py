"""The inverse that is followed, against float64 at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import datasets, embed, inverse, replicas, train
from mvae_jax.posteriors import mvae
from mvae_jax.rules import MODELS

EPS = 1.2e-7
follow = jax.jit(inverse.follow)


def matrix(d, condition, rng):
    """A random matrix with singular values from 1 down to 1 / condition."""
    u, _, v = np.linalg.svd(rng.normal(size=(d, d)))
    return jnp.asarray(u * np.geomspace(1, 1 / condition, d) @ v, jnp.float32)


def error_of(found, c):
    """The relative error of X in Frobenius norm, and that of log|det C| in nats."""
    c = np.asarray(c, np.float64)
    expected = np.linalg.inv(c).T
    error = np.linalg.norm(found.transpose - expected) / np.linalg.norm(found.transpose)
    return error, abs(found.log_abs_det - np.linalg.slogdet(c)[1])


def rounding(c):
    """What float32 does to the inverse of C by any way, and to its log|det C|, a sum of d logs."""
    condition = np.linalg.cond(np.asarray(c, np.float64))
    return 8 * EPS * condition, 8 * EPS * (condition + len(c) * (1 + np.log(condition)))


@pytest.mark.parametrize("condition", [1, 10, 1e3, 1e5])
@pytest.mark.parametrize("d", [1, 2, 16, 60])
def test_a_factorisation(d, condition):
    c = matrix(d, condition if d > 1 else 1, np.random.default_rng(0))
    for found, bound in zip(error_of(jax.jit(inverse.of)(c), c), rounding(c), strict=True):
        assert found <= bound


@pytest.mark.parametrize("condition", [1, 10, 1e3, 1e5])
@pytest.mark.parametrize("d", [1, 2, 16, 60])
@pytest.mark.parametrize("step", [1e-5, 1e-4, 1e-3, 1e-2])
def test_the_error_is_within_its_bound(d, condition, step):
    """Steps as of Adam: entries move by as much, in directions that change from step to step.

    A bound of 1 promises nothing, and says so.
    """
    rng = np.random.default_rng(0)
    c = matrix(d, condition if d > 1 else 1, rng)
    found, direction, strayed = jax.jit(inverse.of)(c), np.ones((d, d)), 0.0
    for _ in range(30):
        direction = np.where(rng.random((d, d)) < 0.2, -direction, direction)
        before, c = c, c + step * jnp.asarray(direction, jnp.float32)
        m = np.linalg.norm(np.linalg.solve(np.float64(before), np.float64(c) - np.float64(before)))
        size = np.linalg.norm(found.transpose) * np.linalg.norm(c - before)
        found = follow(found._replace(error=jnp.zeros(())), before, c)
        if found.error == 1 or m >= 1:
            return
        error, log_error = error_of(found, c)
        of_inverse, of_log = rounding(c)
        assert error <= found.error + of_inverse
        strayed += m**3 / (6 * (1 - m) ** 3) + (found.error + of_inverse) * size + of_log
        assert log_error <= strayed + rounding(c)[1]


def test_steady_steps_are_followed_closely():
    """As of a training at ten times the learning rate; from the third step on, a million times."""
    rng = np.random.default_rng(0)
    c, direction = matrix(16, 10, rng), rng.choice([-1, 1], size=(16, 16))
    found = inverse.of(c)
    for _ in range(30):
        before, c = c, c + 1e-4 * jnp.asarray(direction, jnp.float32)
        found = follow(found, before, c)
    assert found.error < inverse.MAX_ERROR
    error, log_error = error_of(found, c)
    assert error < 1e-5
    assert log_error < 1e-5


def test_five_thousand_steps_without_a_factorisation():
    """The inverse corrects itself, and log|det C| drifts by little; steps turn as Adam's do."""
    rng = np.random.default_rng(0)
    c, velocity = matrix(24, 10, rng), np.zeros((24, 24))
    found = inverse.of(c)
    for _ in range(5000):
        velocity = 0.95 * velocity + 1e-5 * rng.normal(size=(24, 24))
        before, c = c, c + jnp.asarray(velocity, jnp.float32)
        found = follow(found, before, c)
    assert found.error < inverse.MAX_ERROR
    error, log_error = error_of(found, c)
    assert error < 1e-5
    assert log_error < 1e-3


@pytest.mark.parametrize("after", [-1.0, 0.0, np.nan, np.inf])
def test_a_jump_is_reported(after):
    """The bound is 1 where the correction does not converge, and where C has no inverse."""
    c = jnp.eye(4)
    assert follow(inverse.of(c), c, after * c).error == 1


def test_no_seed_depends_on_another():
    """One of three jumps; the others' bits are those they have without it."""
    rng = np.random.default_rng(0)
    cs = jnp.stack([matrix(8, 10, rng) for _ in range(3)])
    inverses = jax.vmap(inverse.of)(cs)
    together = jax.jit(jax.vmap(inverse.follow))
    calm = together(inverses, cs, cs + 1e-3)
    jumped = together(inverses, cs, (cs + 1e-3).at[1].set(matrix(8, 10, rng)))
    for quiet, other in zip(calm, jumped, strict=True):
        np.testing.assert_array_equal(quiet[0], other[0])
        np.testing.assert_array_equal(quiet[2], other[2])
    assert list(jumped.error == 1) == [False, True, False]


def test_the_residual_is_in_full_precision():
    """On accelerators the default, and `high` too, round the factors to ten bits."""
    c = jnp.eye(8)
    program = jax.jit(inverse.follow).lower(inverse.of(c), c, c).as_text()
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 2
    assert "precision = [HIGHEST, HIGHEST]" in products[0]


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


LOOPS = {"while", "cond", "scan"}
FACTORISATIONS = {"lu", "cholesky", "triangular_solve", "custom_linear_solve", "qr", "eigh", "svd"}


def primitives(jaxpr):
    """Yields the names of all primitives, and what they are made of."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)  # of a closed one
                if hasattr(inner, "eqns"):
                    yield from primitives(inner)


@pytest.mark.parametrize("model", MODELS)
def test_no_step_has_a_loop_or_a_factorisation(make_config, model):
    """An accelerator would wait for its host there; the exact epoch of mvae has both."""
    config = make_config(f"{model},4")
    images = jnp.zeros((16, 6, 5, 1), jnp.uint8)
    state = train.init(config, jnp.asarray(1))

    def names(exact):
        epoch = jax.make_jaxpr(lambda state: train.train_epoch(config, state, images, None, exact))
        scans = [e for e in epoch(state).eqns if e.primitive.name == "scan"]
        assert len(scans) == 1
        return {e.primitive.name for e in primitives(scans[0].params["jaxpr"].jaxpr)}

    found = names(exact=False)
    assert "dot_general" in found
    assert found & (LOOPS | FACTORISATIONS) == set()
    if model == "mvae":
        assert "lu" in names(exact=True)


def accept(monkeypatch, max_error):
    """Let an epoch of the MVAE stray so far; below 0, every one is trained again."""
    monkeypatch.setattr(mvae, "mvae", mvae.mvae._replace(max_error=max_error))


def test_an_epoch_that_strayed_is_trained_again_exactly(make_config, monkeypatch):
    """Here every epoch does; a state that no step has touched is what it starts from."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, 6, 5, 1), np.uint8))
    accept(monkeypatch, -1.0)
    config = make_config("mvae,8")
    states, expected = (replicas.init(config, [777, 778]) for _ in range(2))
    for _ in range(3):
        states, metrics = replicas.train_epoch(config, "map", states, images)
        arguments = (config, "map", expected.step.sharding.mesh, expected, images, None)
        expected, exact = replicas.epoch_program(config)(*arguments, exact=True)
        np.testing.assert_array_equal(metrics.kl, exact.kl)
    for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_the_repetition_leaves_the_other_seeds_as_they_were(make_config, monkeypatch, mode):
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, 6, 5, 1), np.uint8))
    config = make_config("mvae,8", learning_rate=1e-2)

    def two_epochs(max_error):
        accept(monkeypatch, max_error)
        states, _ = replicas.train_epoch(config, mode, replicas.init(config, [777, 778]), images)
        return jax.device_get(replicas.train_epoch(config, mode, states, images))

    followed, metrics = two_epochs(2.0)
    exact, _ = two_epochs(-1.0)
    low, high = sorted(metrics.carry_error)
    assert low < high
    mixed, again = two_epochs((low + high) / 2)
    np.testing.assert_array_equal(again.carry_error, metrics.carry_error)
    for row, error in enumerate(metrics.carry_error):
        expected = exact if error == high else followed
        np.testing.assert_array_equal(
            mixed.params["coupling"][row], expected.params["coupling"][row]
        )
    assert (exact.params["coupling"] != followed.params["coupling"]).any()


@pytest.mark.thorough
@pytest.mark.parametrize("learning_rate", [1e-3, 1e-2])
def test_training_with_and_without_is_the_same(make_config, learning_rate, monkeypatch):
    """Forty epochs; the exact inverse of every step gives the same ELBO and parameters."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, 6, 5, 1), np.uint8))

    def run():
        config = make_config("mvae,8", learning_rate=learning_rate)
        states, elbos = replicas.init(config, [777]), []
        for _ in range(40):
            states, metrics = replicas.train_epoch(config, "map", states, images)
            elbos.append(float((metrics.log_likelihood - metrics.kl)[0]))
        return np.array(elbos), states.params["coupling"]

    elbos, coupling = run()
    accept(monkeypatch, -1.0)
    exact_elbos, exact_coupling = run()
    np.testing.assert_allclose(elbos, exact_elbos, rtol=1e-5 * learning_rate / 1e-3)
    np.testing.assert_allclose(coupling, exact_coupling, atol=1e-4 * learning_rate / 1e-3)


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
    accept(monkeypatch, -1.0)
    exact = elbos()
    print(f"z={latent_size}: followed {followed}, exact {exact}")
    assert abs(np.mean(followed - exact)) < 0.01
    assert np.all(np.abs(followed - exact) < np.std(exact, ddof=1))
