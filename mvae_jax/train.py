"""The training of one seed: state, step and epoch, as pure functions.

Randomness comes from the seed's key by `fold_in` alone: the data order from the epoch's number,
the noise from the step's. VAE and MVAE of a seed therefore see the same batches and the same
noise, and their difference is a paired one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from mvae_jax import elbo, model

# What a key drawn from the seed's is for.
INIT, ORDER, NOISE, TEST, IWAE = range(5)


class TrainState(NamedTuple):
    """Everything that changes while one seed trains, and its key."""

    params: model.Params
    opt_state: optax.OptState
    step: Int[Array, "*replicates"]
    key: Key[Array, "*replicates"]


class EpochMetrics(NamedTuple):
    """Means over one epoch's training examples, in nats; the norm is that of the epoch's end."""

    log_likelihood: Float[Array, "*replicates"]
    kl: Float[Array, "*replicates"]
    parameter_norm: Float[Array, "*replicates"]


def init(config: ConfigDict, seed: Int[Array, ""]) -> TrainState:
    """Returns the state of a seed before its first step."""
    key = jax.random.key(seed)
    params = model.init(config, jax.random.fold_in(key, INIT))
    return TrainState(params, optimizer(config).init(params), jnp.zeros((), jnp.int32), key)


def optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Returns AdamW with the decay on every parameter, C and the biases among them."""
    return optax.adamw(config.learning_rate, weight_decay=config.weight_decay)


def train_step(
    config: ConfigDict,
    state: TrainState,
    images: UInt8[Array, "batch ..."],
    is_real: Bool[Array, " batch"],
) -> tuple[TrainState, elbo.ElboTerms]:
    """Takes one AdamW step on the batch's mean negative ELBO.

    is_real: false for the rows that fill up a smaller last batch, which count for nothing.

    Returns the new state, and the sums of the ELBO's terms over the real examples.
    """
    noise_key = jax.random.fold_in(jax.random.fold_in(state.key, NOISE), state.step)
    noise = jax.random.normal(noise_key, (len(images), config.latent_size))

    def loss(params: model.Params) -> tuple[Float[Array, ""], elbo.ElboTerms]:
        def one_example(image: Array, eps: Array) -> elbo.ElboTerms:
            return elbo.elbo_terms(config, params, model.scale_pixels(config, image), eps)[0]

        terms = jax.vmap(one_example)(images, noise)
        sums = elbo.ElboTerms(*(jnp.sum(jnp.where(is_real, term, 0)) for term in terms))
        return -sums.elbo / jnp.sum(is_real), sums

    gradient, sums = jax.grad(loss, has_aux=True)(state.params)
    updates, opt_state = optimizer(config).update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1, state.key), sums


def train_epoch(
    config: ConfigDict, state: TrainState, images: UInt8[Array, "n ..."]
) -> tuple[TrainState, EpochMetrics]:
    """Trains on every image once, in an order of the epoch's own; the last batch may be smaller."""
    num_images, batch_size = len(images), config.batch_size
    num_steps = -(-num_images // batch_size)
    padding = num_steps * batch_size - num_images

    order_key = jax.random.fold_in(state.key, ORDER)
    order_key = jax.random.fold_in(order_key, state.step // num_steps)
    order = jnp.pad(jax.random.permutation(order_key, num_images), (0, padding))
    is_real = jnp.arange(num_steps * batch_size) < num_images

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, elbo.ElboTerms]:
        indices, is_real = batch
        return train_step(config, state, images[indices], is_real)

    batches = (order.reshape(num_steps, batch_size), is_real.reshape(num_steps, batch_size))
    state, sums = jax.lax.scan(step, state, batches)
    log_likelihood, kl = (jnp.sum(term) / num_images for term in sums)
    return state, EpochMetrics(log_likelihood, kl, optax.tree.norm(state.params))
