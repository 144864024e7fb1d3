"""The training of one seed: state, step and epoch, as pure functions.

Randomness comes from the seed's key by `fold_in` alone: the data order from the epoch's number,
the noise from the step's. All families of a seed therefore see the same batches and the same
noise, and their differences are paired.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from mvae_jax import config as config_lib
from mvae_jax import elbo, model, posteriors

# What a key drawn from the seed's is for.
INIT, ORDER, NOISE, TEST, VALID, IWAE = range(6)


class Best(NamedTuple):
    """The parameters of the epoch with the best validation ELBO so far."""

    params: model.Params
    elbo: Float[Array, "*replicates"]
    epoch: Int[Array, "*replicates"]


class TrainState(NamedTuple):
    """Everything that changes while one replicate trains, its seed and its swept values.

    carry: what the family hands from step to step; between epochs what it keeps for the next one
    best:  None without select=best_valid
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
    """

    log_likelihood: Float[Array, "*replicates"]
    kl: Float[Array, "*replicates"]
    parameter_norm: Float[Array, "*replicates"]
    valid_elbo: Float[Array, "*replicates"] | None
    carry_error: Float[Array, "*replicates"] | None


def init(
    config: ConfigDict, seed: Int[Array, ""], swept: dict[str, Float[Array, ""]] | None = None
) -> TrainState:
    """Return the state of a seed, with these values of swept fields, before its first step."""
    params = model.init(config, key(seed, INIT))
    zero = jnp.zeros((), jnp.int32)
    best = None
    if config.select == "best_valid":
        best = Best(params, jnp.full((), -jnp.inf, jnp.float32), zero)
    family, opt_state = posteriors.of(config), optimizer(config).init(params)
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


def optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Return AdamW with the decay on every parameter, C and the biases among them.

    What the family has frozen is left as it is.
    """
    adamw = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    if not (frozen := posteriors.of(config).frozen):
        return adamw

    def label(params: model.Params) -> dict[str, str]:
        return {name: "frozen" if name in frozen else "trained" for name in params}

    return optax.partition({"trained": adamw, "frozen": optax.set_to_zero()}, label)


def train_step(
    config: ConfigDict,
    state: TrainState,
    images: UInt8[Array, "batch ..."],
    is_real: Bool[Array, " batch"],
    exact: bool = False,
) -> tuple[TrainState, elbo.ElboTerms]:
    """Take one AdamW step on the batch's mean negative ELBO.

    is_real: false for the rows that fill up a smaller last batch, which count for nothing.
    exact:   compute what the family would otherwise follow

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
    updates, opt_state = optimizer(config).update(gradient, state.opt_state, state.params)
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

    The validation images, where there are any, are scored at the epoch's end; with
    select=best_valid they choose the parameters to keep.
    """
    num_images, batch_size = len(images), config.batch_size
    num_steps = -(-num_images // batch_size)
    padding = num_steps * batch_size - num_images

    order_key = jax.random.fold_in(key(state.seed, ORDER), state.step // num_steps)
    order = jnp.pad(jax.random.permutation(order_key, num_images), (0, padding))
    is_real = jnp.arange(num_steps * batch_size) < num_images

    def step(
        carry: tuple[TrainState, elbo.ElboTerms], batch: tuple[Array, Array]
    ) -> tuple[tuple[TrainState, elbo.ElboTerms], None]:
        state, sums = train_step(config, carry[0], images[batch[0]], batch[1], exact)
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
            now = Best(state.params, valid, state.step // num_steps)
            state = state._replace(best=_better(state.best, now))
    norm = optax.tree.norm(state.params)
    return state, EpochMetrics(log_likelihood, kl, norm, valid, error)


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
