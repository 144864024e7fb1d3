"""What the value of each field of a configuration must satisfy, and the one line where it does not.

Nothing here imports jax: a mistake is answered before any device is touched.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mvae_jax.escape import shown

# Each is a record of its name in mvae_jax/posteriors/<name without _2, _8, ...>.py.
MODELS = (
    *("vae", "mvae", "triangular", "lu", "orthogonal", "frozen"),
    *("low_rank_2", "low_rank_8", "householder_1", "householder_10", "cholesky", "iaf"),
)
PROTOCOLS = ("release", "paper")
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_learned")
ACTIVATIONS = ("tanh", "relu", "gelu", "silu")
SCHEDULES = ("warmup_cosine",)
SEED_MODES = ("auto", "vmap", "map")
SELECTIONS = ("last", "best_valid")
# Scalars that change no shape: many values of them train in one program.
SWEPT = ("learning_rate", "weight_decay", "beta", "likelihood_variance")
MATMUL_PRECISIONS = ("default", "high", "highest")


class ConfigError(Exception):
    """A mistake of the user's; its message is the one line to print."""


class Rule(NamedTuple):
    """What a field's value must satisfy, and how to say so; `holds` takes values of any type."""

    holds: Callable[[Any], bool]
    allowed: str


def _one_of(values: Sequence[str]) -> Rule:
    return Rule(lambda value: isinstance(value, str) and value in values, ", ".join(values))


def _integer(least: int, most: int = 1_000_000) -> Rule:
    allowed = f"an integer of at least {least}, at most {most}"
    return Rule(lambda value: type(value) is int and least <= value <= most, allowed)


def _number(holds: Callable[[float], bool], allowed: str) -> Rule:
    return Rule(lambda value: type(value) in (int, float) and holds(value), allowed)


def _text(pattern: str, allowed: str) -> Rule:
    return Rule(lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None, allowed)


def _is_argument(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_argument, value))
    return isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))


def _are_arguments(value: Any) -> bool:
    return isinstance(value, ConfigDict | dict) and all(map(_is_argument, value.values()))


_PATH = r"([^\W\d]\w*\.)+[^\W\d]\w*"
_ARGUMENTS = Rule(_are_arguments, "arguments by name: finite numbers, text, or tuples of them")
_NAME = _text(r"[^\W\d][\w.+-]{0,59}", "a letter, then up to 59 letters, digits, . _ + -")
_BOOL = Rule(lambda value: isinstance(value, bool), "true, false")
_FACT = Rule(lambda value: value is None, "nothing, because the data set determines it")
_AT_LEAST_0 = _number(lambda value: 0 <= value < float("inf"), "a finite number of at least 0")
_POSITIVE = _number(lambda value: 0 < value < float("inf"), "a finite number above 0")

RULES = {
    "dataset": _text("(?s).+", "the name of a data set, or the path of data of your own"),
    "source": _text("(?s).*", "the name of one of the data set's sources"),
    "photographs": _text("(?s).*", "the path of a folder"),
    "protocol": _one_of(PROTOCOLS),
    "model": _NAME,
    "posterior": _text(f"({_PATH})?", "a dotted path, as my_module.my_family"),
    "latent_size": _integer(1),
    "hidden_size": _integer(1),
    "num_hidden_layers": _integer(1),
    "hidden_sizes": Rule(
        lambda value: isinstance(value, tuple) and all(type(n) is int and n > 0 for n in value),
        "integers above 0 with commas between, as 500,300",
    ),
    "activation": _one_of(ACTIVATIONS),
    "encoder": _text(f"({_PATH})?", "a dotted path, as my_module.MyEncoder"),
    "encoder_args": _ARGUMENTS,
    "decoder": _text(f"({_PATH})?", "a dotted path, as my_module.MyDecoder"),
    "decoder_args": _ARGUMENTS,
    "couple_mean": _BOOL,
    "likelihood": _text(
        "|".join([*LIKELIHOODS, _PATH]),
        f"{', '.join(LIKELIHOODS)}, or a dotted path, as my_module.my_likelihood",
    ),
    "likelihood_variance": _POSITIVE,
    "batch_size": _integer(1),
    "num_epochs": _integer(1),
    "learning_rate": _POSITIVE,
    "weight_decay": _AT_LEAST_0,
    "beta": _AT_LEAST_0,
    "optimizer": _text(_PATH, "a dotted path, as optax.adamw or my_module.my_optimizer"),
    "optimizer_args": _ARGUMENTS,
    "schedule": _text(
        f"({'|'.join(SCHEDULES)}|{_PATH})?",
        f"{', '.join(SCHEDULES)}, or a dotted path, as my_module.my_schedule",
    ),
    "schedule_args": _ARGUMENTS,
    "clip_norm": _AT_LEAST_0,
    "num_seeds": _integer(1),
    "first_seed": _integer(0, 2**31 - 1),
    "seed_mode": _one_of(SEED_MODES),
    "seeds_per_program": _text("auto|[1-9][0-9]{0,5}", "auto, or an integer from 1 to 999999"),
    "matmul_precision": _one_of(MATMUL_PRECISIONS),
    "checkpoint_every": _integer(1),
    "select": _one_of(SELECTIONS),
    "patience": _integer(0),
    "iwae_samples": _integer(0),
    "keep_embeddings": _BOOL,
    # None: what a shell's empty variable or a script's missing value becomes.
    "tag": _text(r"(?!None$)[\w.+-]{0,100}", "up to 100 letters, digits, . _ + -; not None"),
    "image_shape": _FACT,
    "data_sha256": _FACT,
    "pixel_scale": Rule(
        lambda value: value is None or (type(value) in (int, float) and 0 < value <= 1),
        "a number above 0, at most 1",
    ),
}
# What each field is; `--help` shows it beside the default and what is allowed.
MEANINGS = {
    "dataset": "a data set's name, or the path of an .npz file of yours (docs/data.md)",
    "source": "where the data set has more than one: regenerated or icml2007",
    "photographs": "a folder of backgrounds for mnist_background_images, regenerated",
    "protocol": "that of the author's released code, or of the paper's text",
    "model": f"the posterior's family ({', '.join(MODELS)}), or, with `posterior`, a name for it",
    "posterior": "a posterior's family of yours (docs/extend.md)",
    "latent_size": "d, the number of latent variables",
    "hidden_size": "units of each hidden layer of encoder and decoder",
    "num_hidden_layers": "of the encoder, and of the decoder",
    "hidden_sizes": "in place of the two above: the encoder's layers, and reversed the decoder's",
    "activation": "of the hidden layers",
    "encoder": "a flax.linen module of yours (docs/extend.md)",
    "encoder_args": "what it is made with, as --config.encoder_args.width=64",
    "decoder": "a flax.linen module of yours (docs/extend.md)",
    "decoder_args": "what it is made with",
    "couple_mean": "mu = C m(x), as in the release; in the paper's Eqs. 3 to 6 mu = m(x)",
    "likelihood": "of a pixel, given z; or one of yours (docs/extend.md)",
    "likelihood_variance": "of a pixel, for likelihood=gaussian",
    "batch_size": "training examples of a step",
    "num_epochs": "passes over the training examples",
    "learning_rate": "of the optimiser",
    "weight_decay": "of the optimiser, on every parameter",
    "optimizer": "an optax factory (docs/extend.md)",
    "optimizer_args": "what else it is made with, as --config.optimizer_args.b1=0.8",
    "schedule": "of a factor on the learning rate (docs/extend.md)",
    "schedule_args": "what it is made with",
    "clip_norm": "the most that the gradient's global norm may be; 0: any",
    "beta": "weight of the KL in the loss; the ELBO that is reported has 1",
    "sweep": "more values of a field, as --config.sweep.beta=1,4: each trains with every seed",
    "num_seeds": "how many trainings, which differ by their seeds",
    "first_seed": "the first of the seeds; the others follow it",
    "seed_mode": "how seeds share a program; auto: map on a CPU, vmap elsewhere",
    "seeds_per_program": "how many seeds train at once at most; auto: what fits the memory",
    "matmul_precision": "of the training's matrix products",
    "checkpoint_every": "epochs from one checkpoint to the next",
    "select": "the epoch to embed: the last, or that of the best validation ELBO",
    "patience": "epochs without a better validation ELBO that end a seed; 0: never",
    "iwae_samples": "K of the test examples' importance-weighted bound; 0: none",
    "keep_embeddings": "keep the embeddings' files when they have been scored",
    "tag": "tells runs apart in tables, and ends the name of the default run folder",
    "pixel_scale": "a pixel's value is its byte times this; by default the data set's",
    "image_shape": "height, width and channels",
    "data_sha256": "of images, labels and splits",
}
# Of a run that is there, the data set has determined these.
STORED = RULES | {
    "image_shape": Rule(
        lambda v: (
            v is None
            or (isinstance(v, tuple) and len(v) == 3 and all(type(n) is int and n > 0 for n in v))
        ),
        "[height, width, channels]",
    ),
    "data_sha256": Rule(lambda value: value is None or isinstance(value, str), "a SHA-256"),
    "model": _text("(?s).+", "a name"),  # of a foreign run it may be any
    "protocol": _text("(?s).+", "a name"),
}


def refusal(field: str, value: Any) -> ConfigError:
    """Return the error that says what a field, or a swept field, may be."""
    rule = RULES[field.removeprefix("sweep.")]
    value = value.to_dict() if isinstance(value, ConfigDict) else value
    return ConfigError(f"config.{field}: got {shown(value)}; allowed: {rule.allowed}")


def unknown(field: str) -> ConfigError:
    """Return the error for a field that no configuration has, which proposes the nearest."""
    fields = [*RULES, *(f"sweep.{name}" for name in SWEPT)]
    if field.startswith("sweep."):
        fields = [name for name in fields if name.startswith("sweep.")]
    close = difflib.get_close_matches(field, fields, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    name = field if re.fullmatch(r"[\w.]{,60}", field) else shown(field)
    return ConfigError(f"config.{name}: no such field; {hint}all: {', '.join(fields)}")
