"""Likelihoods p(x|z) of one example, as records, in pure jax.numpy.

`config.likelihood` names one of these, or a record of yours by its dotted path (docs/extend.md
shows one). The decoder's last layer gives one number per pixel, from which a record makes the mean
image and log p(x|z). ELBOs of different likelihoods are not comparable.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mvae_jax import records

Parameters = Mapping[str, Any]  # of the whole model
Pixels = Float[Array, "*batch pixels"]


class Likelihood(NamedTuple):
    """A likelihood.

    log_prob: (config, parameters, outputs [pixels], x [pixels]) -> log p(x|z) in nats, summed over
              pixels; outputs are the decoder's, x in [0, 1]
    mean:     (outputs) -> the mean image, pixels in [0, 1]
    init:     (config) -> parameters that are learned with the decoder's, by name, float32
    """

    log_prob: Callable[[ConfigDict, Parameters, Pixels, Pixels], Float[Array, ""]]
    mean: Callable[[Pixels], Pixels] = jax.nn.sigmoid
    init: Callable[[ConfigDict], dict[str, Array]] = lambda config: {}


def of(config: ConfigDict) -> Likelihood:
    """Return the configuration's likelihood.

    Raises:
      ConfigError: the one that it names cannot be imported, or is no Likelihood.
    """
    path = records.likelihood_path(config)
    likelihood: Likelihood = records.load("config.likelihood", path, Likelihood)
    return likelihood


def _bernoulli(_config: ConfigDict, _parameters: Parameters, logits: Pixels, x: Pixels) -> Array:
    """Return the negative binary cross-entropy of pixels in [0, 1].

    Between 0 and 1 it is not a normalised density.
    """
    return jnp.sum(x * logits - jax.nn.softplus(logits))


def gaussian_log_prob(outputs: Pixels, variance: Float[Array, ""], x: Pixels) -> Float[Array, ""]:
    """Return log N(x; sigmoid(outputs), variance I)."""
    squared_error = jnp.sum((x - jax.nn.sigmoid(outputs)) ** 2)
    return -0.5 * (squared_error / variance + x.size * jnp.log(2 * jnp.pi * variance))


def _gaussian(config: ConfigDict, _parameters: Parameters, outputs: Pixels, x: Pixels) -> Array:
    variance = jnp.asarray(config.likelihood_variance, outputs.dtype)
    return gaussian_log_prob(outputs, variance, x)


def _gaussian_learned(
    _config: ConfigDict, parameters: Parameters, outputs: Pixels, x: Pixels
) -> Array:
    return gaussian_log_prob(outputs, jnp.exp(parameters["likelihood_log_variance"]), x)


def _init_variance(config: ConfigDict) -> dict[str, Float[Array, ""]]:
    log_variance = np.log(config.likelihood_variance)
    return {"likelihood_log_variance": jnp.asarray(log_variance, jnp.float32)}


bernoulli = Likelihood(_bernoulli)
gaussian = Likelihood(_gaussian)  # of the variance config.likelihood_variance per pixel
gaussian_learned = Likelihood(_gaussian_learned, init=_init_variance)  # one variance for all
