"""The optimiser, its schedule, clipping and patience: against loops, resumed, and refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mvae_jax import config as config_lib
from mvae_jax import optimizers, replicas, train
from mvae_jax.config import ConfigError
from mvae_jax.runs import run
from tests.test_extend import printed
from tests.trained_runs import contents, killed_and_resumed, log, small

FILE = """
import jax.numpy as jnp
import optax

number = 3

def plain(learning_rate):
    return optax.sgd(learning_rate)

def unscaled(momentum=0.5):
    return optax.sgd(1e-3, momentum)

def no_optimizer(learning_rate):
    return lambda gradient: gradient

def needs_the_loss(learning_rate):
    def update(gradient, state, params=None, *, loss):
        return gradient, state
    return optax.GradientTransformationExtraArgs(lambda params: (), update)

def noisy(learning_rate):
    import jax
    def init(params):
        return jax.random.key(0)
    return optax.GradientTransformation(init, lambda g, s, p=None: (g, s))

def growing(learning_rate):
    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (g, (s,)))

def halves(every):
    return lambda step: 0.5 ** (step // every)

def nan():
    return lambda step: jnp.nan
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_optimizers.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (30, 6, 5, 1), np.uint8))


def with_arguments(**fields):
    return {f"{field}_args": config_lib.ConfigDict(given) for field, given in fields.items()}


def of_steps(optimizer, gradients, params):
    """Returns the parameters after the steps, in a plain loop."""
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_the_default_is_optax_adamw_to_the_bit(make_config):
    """And its state is of the same structure, so that older checkpoints are read."""
    config = make_config("vae,4", learning_rate=3e-4, weight_decay=0.1)
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)}
    gradients = [{"kernel": jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)} for _ in range(3)]
    ours, adamw = optimizers.of(config), optax.adamw(3e-4, weight_decay=0.1)
    after = [of_steps(optimizer, gradients, params)["kernel"] for optimizer in (ours, adamw)]
    np.testing.assert_array_equal(*after)
    states = [jax.tree.structure(optimizer.init(params)) for optimizer in (ours, adamw)]
    assert str(states[0]) == str(states[1])


def test_an_epoch_with_schedule_and_clipping_is_a_loop_over_optax(make_config, images):
    """Against optax's own chain with its own scheduled rate, on the gradients of the same steps."""
    clip, epochs, rate = 0.5, 2, 1e-2
    config = make_config(
        "frozen,4",
        optimizer="optax.sgd",
        learning_rate=rate,
        clip_norm=clip,
        schedule="warmup_cosine",
        num_epochs=epochs,
        **with_arguments(optimizer={"momentum": 0.9}, schedule={"warmup": 0.5, "final": 0.1}),
    )
    optimizers.check(config)
    num_steps = 4 * epochs
    rates = optax.warmup_cosine_decay_schedule(0.0, rate, num_steps // 2, num_steps, 0.1 * rate)
    reference = optax.chain(optax.clip_by_global_norm(clip), optax.sgd(rates, momentum=0.9))

    state = train.init(config, jnp.asarray(1))
    params = {k: v for k, v in state.params.items() if k != "coupling"}
    reference_state = reference.init(params)
    epoch = jax.jit(train.train_epoch, static_argnums=0)
    plain = make_config("frozen,4", optimizer="optax.sgd", learning_rate=1.0)
    raw = jax.jit(train.train_step, static_argnums=0)
    for number in range(epochs):
        order_key = jax.random.fold_in(train.key(state.seed, train.ORDER), number)
        order = jnp.pad(jax.random.permutation(order_key, 30), (0, 2))
        for start in range(0, 32, 8):
            current = state._replace(
                params={**params, "coupling": state.params["coupling"]},
                opt_state=optimizers.of(plain).init(state.params),
                step=jnp.asarray(number * 4 + start // 8),
            )
            real = jnp.arange(start, start + 8) < 30
            after, _ = raw(plain, current, images[order[start : start + 8]], real)
            gradient = {
                k: jax.tree.map(jnp.subtract, v, after.params[k]) for k, v in params.items()
            }
            updates, reference_state = reference.update(gradient, reference_state, params)
            params = optax.apply_updates(params, updates)
        norm = optax.tree.norm(gradient)
        state, metrics = epoch(config, state, images)
        last = number * 4 + 3
        np.testing.assert_allclose(metrics.learning_rate, rates(last), rtol=1e-5)
        np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-3)
        assert norm > clip
        for name, leaf in params.items():
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), leaf, state.params[name]
            )


def test_an_own_schedule_and_optimiser_take_their_arguments(make_config, module):
    config = make_config(
        "vae,4",
        optimizer="my_optimizers.unscaled",
        schedule="my_optimizers.halves",
        **with_arguments(schedule={"every": 2}),
    )
    optimizers.check(config)
    factors = [float(optimizers.schedule(config, 10)(jnp.asarray(step))) for step in range(5)]
    assert factors == [1, 1, 0.5, 0.5, 0.25]
    gradient = {"kernel": jnp.ones(2)}
    ours = of_steps(optimizers.of(config), [gradient] * 2, gradient)["kernel"]
    np.testing.assert_allclose(ours, 1 - 1e-3 * (1 + 1.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"optimizer": "optax.adamm"}, r"optimizer: got 'optax\.adamm', which does not import"),
        (
            {"optimizer": "my_optimizers.number"},
            r"optimizer: got .* of the class int; allowed: a f",
        ),
        ({"optimizer": "my_optimizers.no_optimizer"}, r"optimizer: .*: TypeError: made a function"),
        (
            {"optimizer": "my_optimizers.needs_the_loss"},
            r"optimizer: .*: TypeError: .*'loss'",
        ),
        ({"optimizer": "my_optimizers.noisy"}, r"optimizer: .*, whose state holds key<"),
        ({"optimizer": "my_optimizers.growing"}, r"optimizer: .*changes its structure in a step"),
        (
            with_arguments(optimizer={"beta1": 0.9}),
            r"optimizer_args\.beta1: optax\.adamw has no such argument; allowed: b1, b2, eps",
        ),
        (
            with_arguments(optimizer={"weight_decay": 0.9}),
            r"optimizer_args\.weight_decay: write --config\.weight_decay",
        ),
        (with_arguments(optimizer={"b1": "high"}), r"optimizer: got .*, which fails: TypeError"),
        (
            {
                "optimizer": "optax.sgd",
                "sweep": config_lib.ConfigDict({"weight_decay": (0.1, 0.2)}),
            },
            r"sweep\.weight_decay: got \(0\.1, 0\.2\), which does not reach .*'optax\.sgd'",
        ),
        (
            {
                "optimizer": "my_optimizers.unscaled",
                "sweep": config_lib.ConfigDict({"learning_rate": (0.1, 0.2)}),
            },
            r"sweep\.learning_rate: .* allowed: an optimiser with an argument learning_rate",
        ),
        ({"schedule": "optax.cosine"}, r"schedule: got 'optax\.cosine', which does not import"),
        ({"schedule": "my_optimizers.halves"}, r"schedule: .*, which fails: TypeError: .*'every'"),
        ({"schedule": "my_optimizers.nan"}, r"schedule: .*, whose factor is nan"),
        (
            {"schedule": "warmup_cosine", **with_arguments(schedule={"warm": 1})},
            r"schedule_args\.warm: warmup_cosine has no such argument; allowed: num_steps, warmup",
        ),
    ],
)
def test_what_cannot_be_used_is_answered_in_one_line(make_config, module, fields, said):
    with pytest.raises(ConfigError, match=rf"config\.{said}") as raised:
        optimizers.check(make_config("vae,4", **fields))
    assert "\n" not in str(raised.value)


def test_the_manuals_optimiser_and_schedule_are_used(make_config, tmp_path, monkeypatch):
    file, snippet, command = printed("An optimiser and a schedule")
    (tmp_path / file).write_text(snippet, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    given = [flag.removeprefix("--config.") for flag in command if flag.startswith("--config.")]
    fields = dict(flag.split("=") for flag in given)
    assert fields.pop("optimizer_args.momentum") == "0.8"
    config = make_config(
        "vae,4",
        **(fields | {"clip_norm": float(fields["clip_norm"])}),
        **with_arguments(optimizer={"momentum": 0.8}),
    )
    optimizers.check(config)
    factors = [float(optimizers.schedule(config, 8)(jnp.asarray(step))) for step in (0, 4, 7)]
    assert factors == [1, 0.5, 0.125]
    gradient = {"kernel": jnp.ones(2)}  # of norm sqrt(2), which is clipped to 1; signs of momentum
    ours = of_steps(optimizers.of(config), [gradient], {"kernel": jnp.zeros(2)})["kernel"]
    np.testing.assert_allclose(ours, -config.learning_rate, rtol=1e-6)


def test_swept_rates_reach_another_optimiser_with_a_schedule(make_config, images):
    sweep = config_lib.ConfigDict({"learning_rate": (1e-3, 1e-1)})
    fields = {"optimizer": "optax.sgd", "schedule": "warmup_cosine", "clip_norm": 1.0}
    config = make_config("vae,4", sweep=sweep, **fields)
    optimizers.check(config)
    states, metrics = replicas.train_epoch(config, "map", replicas.init(config, [7]), images)
    alone = make_config("vae,4", learning_rate=1e-1, **fields)
    state, one = replicas.train_epoch(alone, "map", replicas.init(alone, [7]), images)
    np.testing.assert_allclose(metrics.learning_rate[1], one.learning_rate[0], rtol=1e-6)
    kernels = [jax.device_get(of.params["pixels"]["Dense_0"]["kernel"]) for of in (states, state)]
    np.testing.assert_allclose(kernels[0][1], kernels[1][0], atol=1e-6)
    assert np.abs(kernels[0][0] - kernels[1][0]).max() > 1e-4


OWN = {
    "optimizer": "optax.lion",
    "schedule": "warmup_cosine",
    "clip_norm": 0.1,
    "optimizer_args": config_lib.ConfigDict({"b1": 0.95}),
    "num_epochs": 3,
    "num_seeds": 1,
    "checkpoint_every": 2,
    "iwae_samples": 0,
    "seed_mode": "map",
}


def test_a_resume_is_bitwise_and_a_schedule_keeps_its_end(tmp_path, monkeypatch):
    config = small("vae,3", **OWN)
    run.run(config, tmp_path / "whole")
    killed_and_resumed(config, tmp_path / "killed", monkeypatch, 2)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
    lines = log(tmp_path / "whole", 777)
    assert all(line["gradient_norm"] > 0 and line["learning_rate"] >= 0 for line in lines)
    assert all(line["loss"] == pytest.approx(-line["elbo"]) for line in lines)
    with pytest.raises(ConfigError, match=r"num_epochs \(3 stored, 4 asked for\)"):
        run.run(config_lib.replace(config, num_epochs=4), tmp_path / "whole")
