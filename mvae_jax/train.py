"""The training of one seed: state, step and epoch, as pure functions.

Randomness comes from the seed's key by `fold_in` alone: the data order from the epoch's number,
the noise from the step's. All families of a seed therefore see the same batches and the same
noise, and their differences are paired.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from mvae_jax import config as config_lib
from mvae_jax import elbo, model, optimizers, posteriors

# What a key drawn from the seed's is for.
INIT, ORDER, NOISE, TEST, VALID, IWAE = range(6)


class Best(NamedTuple):
    """The epoch with the best validation ELBO so far; its parameters, if they are to be kept."""

    params: model.Params | None
    elbo: Float[Array, "*replicates"]
    epoch: Int[Array, "*replicates"]


class TrainState(NamedTuple):
    """Everything that changes while one replicate trains, its seed and its swept values.

    carry: what the family hands from step to step; between epochs what it keeps for the next one
    best:  None without select=best_valid and without patience
    swept: the replicate's values of the configuration's fields that are swept
    """

    params: model.Params
    carry: Any
    opt_state: optax.OptState
    step: Int[Array, "*replicates"]
    seed: Int[Array, "*replicates"]
    best: Best | None
    swept: dict[str, Float[Array, "*replicates"]]


class EpochMetrics(NamedTuple):
    """Means over one epoch's training examples, in nats, and what the epoch's end is like.

    parameter_norm: of all parameters together
    valid_elbo:     mean over the validation examples, or None without a validation split
    carry_error:    the largest error of what the family follows; None if it follows nothing
    learning_rate:  of the epoch's last step; None without a schedule
    gradient_norm:  of that step's gradient before it is clipped; None if it is not
    stopped:        whether the replicate is not trained further; None without patience
    """

    log_likelihood: Float[Array, "*replicates"]
    kl: Float[Array, "*replicates"]
    parameter_norm: Float[Array, "*replicates"]
    valid_elbo: Float[Array, "*replicates"] | None
    carry_error: Float[Array, "*replicates"] | None
    learning_rate: Float[Array, "*replicates"] | None
    gradient_norm: Float[Array, "*replicates"] | None
    stopped: Bool[Array, "*replicates"] | None


def init(
    config: ConfigDict, seed: Int[Array, ""], swept: dict[str, Float[Array, ""]] | None = None
) -> TrainState:
    """Return the state of a seed, with these values of swept fields, before its first step."""
    params = model.init(config, key(seed, INIT))
    zero = jnp.zeros((), jnp.int32)
    best = None
    if config.select == "best_valid" or config.patience:
        kept_params = params if config.select == "best_valid" else None
        best = Best(kept_params, jnp.full((), -jnp.inf, jnp.float32), zero)
    family, opt_state = posteriors.of(config), optimizers.of(config).init(params)
    kept = family.keep(family.start_epoch(config, params, None))
    return TrainState(params, kept, opt_state, zero, seed, best, swept or {})


def key(seed: Int[Array, ""], purpose: int) -> Key[Array, ""]:
    """Return the seed's key for one purpose, of the constants above."""
    return jax.random.fold_in(seed_key(seed), purpose)


def seed_key(seed: Int[Array, ""]) -> Key[Array, ""]:
    """Return `jax.random.key(seed)` as JAX makes it by default, whatever a user has set.

    That is a Threefry key of the 64-bit seed's halves, without jax_random_seed_offset.
    """
    halves = jnp.stack([jnp.zeros_like(seed), seed]).astype(jnp.uint32)
    return jax.random.wrap_key_data(halves, impl="threefry2x32")


def train_step(
    config: ConfigDict,
    state: TrainState,
    images: UInt8[Array, "batch ..."],
    is_real: Bool[Array, " batch"],
    exact: bool = False,
    num_steps: int = 0,
) -> tuple[TrainState, elbo.ElboTerms]:
    """Take one step of the optimiser on the batch's mean negative ELBO.

    is_real:   false for the rows that fill up a smaller last batch, which count for nothing.
    exact:     compute what the family would otherwise follow
    num_steps: of the whole training, for a schedule

    Return the new state, and the sums of the ELBO's terms over the real examples.
    """
    config = _with_swept(config, state)
    noise_key = jax.random.fold_in(key(state.seed, NOISE), state.step)
    noise = elbo.draw_noise(config, noise_key, len(images))

    def loss(params: model.Params) -> tuple[Float[Array, ""], elbo.ElboTerms]:
        def one_example(image: Array, eps: Array) -> elbo.ElboTerms:
            x = model.scale_pixels(config, image)
            return elbo.elbo_terms(config, params, x, eps, state.carry)[0]

        terms = jax.vmap(one_example)(images, noise)
        sums = elbo.ElboTerms(*(jnp.sum(jnp.where(is_real, term, 0)) for term in terms))
        bound = sums.log_likelihood - config.beta * sums.kl  # the ELBO, if beta is 1
        return -bound / jnp.sum(is_real), sums

    gradient, sums = jax.grad(loss, has_aux=True)(state.params)
    updates, opt_state = optimizers.of(config).update(gradient, state.opt_state, state.params)
    if config.schedule:
        factor = optimizers.schedule(config, num_steps)(state.step)
        updates = jax.tree.map(lambda update: factor * update, updates)
    params = optax.apply_updates(state.params, updates)
    carry = posteriors.of(config).follow(config, state.params, params, state.carry, exact)
    new = state._replace(params=params, carry=carry, opt_state=opt_state, step=state.step + 1)
    return new, sums


def train_epoch(
    config: ConfigDict,
    state: TrainState,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None = None,
    exact: bool = False,
) -> tuple[TrainState, EpochMetrics]:
    """Train on every image once, in an order of the epoch's own; the last batch may be smaller.

    The validation images, where there are any, are scored at the epoch's end. With
    select=best_valid they choose the parameters to keep. With patience, a state that has stopped
    is returned as it is, with metrics of 0.
    """
    epoch = partial(_train_epoch, config, images, valid_images, exact)
    if not config.patience:
        return epoch(state)

    def stay(state: TrainState) -> tuple[TrainState, EpochMetrics]:
        zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(epoch, state)[1])
        return state, zeros._replace(stopped=jnp.array(True))

    return jax.lax.cond(_has_stopped(config, state, len(images)), stay, epoch, state)


def _has_stopped(config: ConfigDict, state: TrainState, num_images: int) -> Bool[Array, ""]:
    """Return whether the last `patience` epochs were no better than the best before them."""
    assert state.best is not None
    epoch = state.step // -(-num_images // config.batch_size)
    return epoch - state.best.epoch >= config.patience


def _train_epoch(
    config: ConfigDict,
    images: UInt8[Array, "n ..."],
    valid_images: UInt8[Array, "m ..."] | None,
    exact: bool,
    state: TrainState,
) -> tuple[TrainState, EpochMetrics]:
    num_images, batch_size = len(images), config.batch_size
    num_steps = -(-num_images // batch_size)
    in_training = num_steps * config.num_epochs if config.schedule else 0
    padding = num_steps * batch_size - num_images

    order_key = jax.random.fold_in(key(state.seed, ORDER), state.step // num_steps)
    order = jnp.pad(jax.random.permutation(order_key, num_images), (0, padding))
    is_real = jnp.arange(num_steps * batch_size) < num_images

    def step(
        carry: tuple[TrainState, elbo.ElboTerms], batch: tuple[Array, Array]
    ) -> tuple[tuple[TrainState, elbo.ElboTerms], None]:
        state, sums = train_step(config, carry[0], images[batch[0]], batch[1], exact, in_training)
        # Sums as an output of each step would be copies, which break a GPU's command buffer in two.
        return (state, jax.tree.map(jnp.add, carry[1], sums)), None

    family, norm_before = posteriors.of(config), optax.tree.norm(state.params)
    state = state._replace(carry=family.start_epoch(config, state.params, state.carry))
    batches = (order.reshape(num_steps, batch_size), is_real.reshape(num_steps, batch_size))
    zero = elbo.ElboTerms(jnp.zeros(()), jnp.zeros(()))
    (state, sums), _ = jax.lax.scan(step, (state, zero), batches)
    error = None
    if family.error:  # what had diverged before gains nothing from a repetition
        error = jnp.where(jnp.isfinite(norm_before), family.error(state.carry), 0)
    state = state._replace(carry=family.keep(state.carry))
    log_likelihood, kl = (term / num_images for term in sums)
    valid = None
    if valid_images is not None:
        valid = valid_elbo(config, state, valid_images)
        if state.best is not None:
            kept_params = None if state.best.params is None else state.params
            now = Best(kept_params, valid, state.step // num_steps)
            state = state._replace(best=_better(state.best, now))
    norm = optax.tree.norm(state.params)
    rate = None
    if config.schedule:
        factor = optimizers.schedule(config, in_training)(state.step - 1)
        rate = _with_swept(config, state).learning_rate * factor
    gradient_norm = optimizers.gradient_norm(state.opt_state) if config.clip_norm else None
    stopped = _has_stopped(config, state, num_images) if config.patience else None
    metrics = (log_likelihood, kl, norm, valid, error, rate, gradient_norm, stopped)
    return state, EpochMetrics(*metrics)


def valid_elbo(
    config: ConfigDict, state: TrainState, images: UInt8[Array, "n ..."]
) -> Float[Array, ""]:
    """Return the mean ELBO of the images in nats, with the same noise in every epoch."""
    config = _with_swept(config, state)
    carry = posteriors.of(config).start_epoch(config, state.params, None)

    def one_example(pair: tuple[Array, Array]) -> Float[Array, ""]:
        image, noise = pair
        x = model.scale_pixels(config, image)
        return elbo.elbo_terms(config, state.params, x, noise, carry)[0].elbo

    noise = elbo.draw_noise(config, key(state.seed, VALID), len(images))
    return jnp.mean(jax.lax.map(one_example, (images, noise), batch_size=config.batch_size))


def _with_swept(config: ConfigDict, state: TrainState) -> ConfigDict:
    """Return the configuration with the replicate's own values of the fields that are swept."""
    return config_lib.replace(config, **state.swept) if state.swept else config


def _better(best: Best, now: Best) -> Best:
    """Return the better of the best so far and this epoch; where they are equal, the earlier."""
    is_better = now.elbo > best.elbo  # false for a NaN
    return jax.tree.map(lambda new, old: jnp.where(is_better, new, old), now, best)
