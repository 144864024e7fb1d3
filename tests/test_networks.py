"""Networks of one's own: encoder, decoder and hidden sizes, and what is said of those that fail."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

import mvae_jax
from mvae_jax import command_line, embed, model, networks, resume
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.runs import run
from tests.conftest import ROOT
from tests.test_extend import printed

PAIR = {
    "encoder": "mvae_jax.networks.ConvEncoder",
    "decoder": "mvae_jax.networks.ConvDecoder",
}

FILE = """
from typing import Any
import flax.linen as nn
import jax.numpy as jnp

class Encoder(nn.Module):
    width: int = 3
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x.mean((1, 2)))  # of each row, [H, width]

class Decoder(nn.Module):
    image_shape: Any
    scale: float = 1.0
    @nn.compact
    def __call__(self, z):
        h, w, c = self.image_shape
        return self.scale * nn.Dense(h * w * c)(z)

class Fixed(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(7)(z)

class Batch(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(x)

class Nan(nn.Module):
    def __call__(self, x):
        return jnp.log(-1 - x)

class Fails(nn.Module):
    def __call__(self, x):
        return x @ jnp.ones((77, 2))

class Pair(nn.Module):
    def __call__(self, x):
        return x, x

def function(x):
    return x
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_networks.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)


def arguments(**fields):
    return {f"{field}_args": config_lib.ConfigDict(given) for field, given in fields.items()}


def init(config):
    return model.init(config, jax.random.key(0))


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 20, 1), (5, 7, 2)])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_convolutional_pair_fits_every_image(make_config, shape, layers):
    channels = arguments(encoder={"channels": (4,) * layers}, decoder={"channels": (4,) * layers})
    config = make_config("mvae,4", image_shape=shape, **PAIR, **channels)

    def both(x):
        params = init(config)
        q = model.encode(config, params, x)
        return q.loc, model.decode(config, params, q.loc).mean

    x = jax.ShapeDtypeStruct((np.prod(shape),), jnp.float32)
    assert [leaf.shape for leaf in jax.eval_shape(both, x)] == [(4,), x.shape]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(8, 6, 3), (7, 5, 1)])
def test_a_convolution_is_that_of_xla(shape, stride):
    x = jax.random.normal(jax.random.key(1), shape)
    conv = networks.Conv(4, stride)
    found, variables = conv.init_with_output(jax.random.key(0), x)
    dense = variables["params"]["Dense_0"]
    kernel = dense["kernel"].reshape(3, 3, shape[2], 4)
    padding = [(1, 1 + -size % stride) for size in shape[:2]]
    (expected,) = jax.lax.conv_general_dilated(
        x[None], kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = expected[: found.shape[0], : found.shape[1]] + dense["bias"][None, None]
    assert found.shape == (*(-(-size // stride) for size in shape[:2]), 4)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_doubling_sets_four_channels_into_a_square():
    x = jnp.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    doubled = networks._double(x)
    assert doubled.shape == (4, 6, 1)
    np.testing.assert_array_equal(doubled[2:4, 2:4, 0].reshape(-1), x[1, 1])


def test_the_heads_are_affine_in_an_own_encoders_features(make_config, module):
    config = make_config(
        "vae,4",
        encoder="some_networks.Encoder",
        decoder="some_networks.Decoder",
        **arguments(encoder={"width": 5}, decoder={"scale": 2.0}),
    )
    model.check(config)
    params = init(config)
    assert {*params} == {"encoder", "mean", "log_variance", "decoder"}
    x = jax.random.uniform(jax.random.key(1), (6, 5, 1))
    dense = params["encoder"]["Dense_0"]
    features = (np.asarray(x).mean((1, 2)) @ dense["kernel"] + dense["bias"]).reshape(-1)
    mean = params["mean"]["Dense_0"]
    expected = features @ np.asarray(mean["kernel"]) + mean["bias"]
    q = model.encode(config, params, x.reshape(-1))
    np.testing.assert_allclose(q.loc, expected, rtol=1e-5)
    dense = params["decoder"]["Dense_0"]
    outputs = model.decode(config, params, jnp.ones(4)).outputs
    np.testing.assert_allclose(outputs, 2 * (dense["kernel"].sum(0) + dense["bias"]), rtol=1e-5)


def test_hidden_sizes_are_the_decoders_in_reverse(make_config):
    sizes = {
        name: leaf.shape
        for name, leaf in mvae_jax.inference.flatten_params(
            init(make_config("vae,4", hidden_sizes=(9, 7)))
        ).items()
        if name.endswith("kernel")
    }
    assert sizes == {
        "params/encoder/layer_0/Dense_0/kernel": (30, 9),
        "params/encoder/layer_1/Dense_0/kernel": (9, 7),
        "params/mean/Dense_0/kernel": (7, 4),
        "params/log_variance/Dense_0/kernel": (7, 4),
        "params/decoder/layer_0/Dense_0/kernel": (4, 7),
        "params/decoder/layer_1/Dense_0/kernel": (7, 9),
        "params/pixels/Dense_0/kernel": (9, 30),
    }
    same = [
        init(make_config("vae,4", **fields))
        for fields in ({"hidden_sizes": (16, 16)}, {"hidden_size": 16, "num_hidden_layers": 2})
    ]
    jax.tree.map(np.testing.assert_array_equal, *same)


@pytest.mark.parametrize(
    ("field", "path", "said"),
    [
        ("encoder", "no_such.Module", "which does not import .*no_such"),
        ("encoder", "some_networks.Other", "which does not import .*Other"),
        (
            "encoder",
            "some_networks.function",
            "of the class function; allowed: a class that is a flax.linen",
        ),
        ("encoder", "flax.nnx.Linear", ".*; allowed: a class that is a flax.linen"),
        ("encoder", "some_networks.Batch", "which keeps batch_stats; allowed: parameters alone"),
        ("encoder", "some_networks.Nan", "which gives NaN or infinity"),
        ("encoder", "some_networks.Fails", r"which fails on float32\[6, 5, 1\]: TypeError: .*77"),
        ("encoder", "some_networks.Pair", "which gives a tuple; allowed: an array of float32"),
        (
            "decoder",
            "some_networks.Fixed",
            r"which gives float32\[7\]; allowed: float32\[6, 5, 1\]",
        ),
    ],
)
def test_a_module_that_cannot_be_trained_is_answered_in_one_line(
    make_config, module, field, path, said
):
    with pytest.raises(ConfigError, match=rf"config\.{field}: got '{path}', {said}") as raised:
        model.check(make_config("vae,4", **{field: path}))
    assert "\n" not in str(raised.value)


def test_a_module_that_is_made_wrongly_is_answered_in_one_line(make_config, module):
    own = {"encoder": "some_networks.Encoder"}
    with pytest.raises(ConfigError, match=r"encoder_args\.widht: .* no such field; allowed: width"):
        model.check(make_config("vae,4", **own, **arguments(encoder={"widht": 3})))
    with pytest.raises(ConfigError, match=r"which fails on .*abc"):
        model.check(make_config("vae,4", **own, **arguments(encoder={"width": "abc"})))


def parse(*given):
    values, argv = flags.FlagValues(), ["main", "--config=configs/digits.py:mvae,3", *given]
    command_line.define_config(values, argv)
    command_line.parse(argv, values)
    return config_lib.validate(values["config"].value)


def test_the_flags():
    config = parse(
        "--config.hidden_sizes=50,20",
        "--config.encoder=a.B",
        "--config.encoder_args.channels=(8,16)",
        "--config.encoder_args.name=it",
        "--config.optimizer_args.b1=0.95",
        "--config.optimizer_args.nesterov=true",
    )
    assert config.hidden_sizes == (50, 20)
    assert config.encoder_args.to_dict() == {"channels": (8, 16), "name": "it"}
    assert config.optimizer_args.to_dict() == {"b1": 0.95, "nesterov": True}
    again = resume.settle(config, config_lib.replace(config))
    assert again == config
    other = config_lib.replace(config, optimizer_args=config_lib.ConfigDict({"b1": 0.9}))
    with pytest.raises(ConfigError, match=r"optimizer_args\.b1 \(0\.9 stored, 0\.95 asked for\)"):
        resume.settle(config, other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--config.hidden_sizes=0,", "config.hidden_sizes: got .*; allowed: integers above 0"),
        ("--config.hidden_sizes=a,b", "config.hidden_sizes: got .*; allowed: integers above 0"),
        ("--config.encoder=Module", "config.encoder: got 'Module'; allowed: a dotted path"),
        ("--config.encoder_args.a=1", "encoder_args: got .*; allowed: nothing, because config.enc"),
        ("--config.optimizer_args.a=1e999", "optimizer_args: got .*; allowed: arguments by name"),
        ("--config.optimizer_argz.a=1", "config.optimizer_argz.a: no such field"),
        ("--config.optimizer_args.a.b=1", r"config.optimizer_args.a.b: no such field"),
        ("--config.clip_norm=-1", "config.clip_norm: got -1.0; allowed: a finite number of at"),
        ("--config.patience=-1", "config.patience: got -1; allowed: an integer of at least 0"),
        ("--config.schedule=cosine", "config.schedule: got 'cosine'; allowed: warmup_cosine, or a"),
    ],
)
def test_a_flag_that_cannot_be_is_answered_in_one_line(given, said):
    with pytest.raises(ConfigError, match=said) as raised:
        parse(given)
    assert "\n" not in str(raised.value)


def test_hidden_layers_are_given_once():
    with pytest.raises(ConfigError, match=r"hidden_sizes: got \(5, 5\) and num_hidden_layers 2"):
        parse("--config.hidden_sizes=5,5", "--config.num_hidden_layers=2")


def test_the_manuals_pair_is_made_and_gives_what_it_should(tmp_path, monkeypatch):
    file, snippet, command = printed("An encoder and a decoder")
    (tmp_path / file).write_text(snippet, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = parse(*(flag for flag in command if flag.startswith("--config.")))
    assert config.encoder_args.width == 256
    config = config_lib.replace(config, image_shape=(8, 8, 1))
    model.check(config)
    kernel = jax.eval_shape(lambda: init(config))["decoder"]["Dense_0"]["kernel"]
    assert kernel.shape == (128, 64)


def test_the_example_for_cifar_trains_and_is_read_back(tmp_path, monkeypatch):
    """The command of configs/cifar10.py, on images of its shape."""
    text = (ROOT / "configs" / "cifar10.py").read_text(encoding="utf-8")
    given = re.findall(r"--config\.(?:en|de)coder=\S+", text)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "tiny.npz",
        images=rng.integers(0, 256, (40, 32, 32, 3), np.uint8),
        labels=np.repeat([0, 1], 20),
    )
    small = {"dataset": tmp_path / "tiny.npz", "num_seeds": 1, "num_epochs": 1, "batch_size": 16}
    small |= {"iwae_samples": 0, "encoder_args.channels": (4, 8), "decoder_args.channels": (8, 4)}
    config = parse(*given, *(f"--config.{field}={value}" for field, value in small.items()))
    assert config.encoder == PAIR["encoder"]
    monkeypatch.setattr(embed, "SWEEP_POINTS", 2)  # unoptimised convolutions are slow
    run.run(config, tmp_path / "run")
    config, params = mvae_jax.load(tmp_path / "run", 777)
    q = mvae_jax.encode(config, params, jnp.zeros((2, 32, 32, 3), jnp.uint8))
    assert mvae_jax.decode(config, params, q.loc).shape == (2, 32, 32, 3)
    assert params["encoder"]["Conv_0"]["Dense_0"]["kernel"].shape == (27, 4)
    (origin,) = json.loads((tmp_path / "run/environment.json").read_text())["origins"].values()
    assert "mvae_jax/networks.py" in origin["sources"]
