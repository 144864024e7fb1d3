"""The optimiser and the learning rate's schedule: optax factories that a configuration names.

The gradient is clipped to a global norm, if at all, then `config.optimizer` makes an update of it,
which the schedule's factor multiplies at last. So every optimiser has every schedule, and swept
learning rates reach it.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mvae_jax import posteriors
from mvae_jax.escape import shown
from mvae_jax.records import load, said, schedule_path
from mvae_jax.rules import ConfigError

SCALARS = ("learning_rate", "weight_decay")  # of the configuration, for a factory that takes them
Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]
Params = dict[str, Any]


class Clip(NamedTuple):
    """The state of `_clip`: the global norm of the last step's gradient, before it was clipped."""

    gradient_norm: Float[Array, "*replicates"]


def of(config: ConfigDict) -> optax.GradientTransformation:
    """Return the optimiser; the default is AdamW with the decay on every parameter, C among them.

    What the family has frozen is left as it is.
    """
    factory = load("config.optimizer", config.optimizer)
    optimizer = factory(**_arguments(config, factory))
    if config.clip_norm:
        optimizer = optax.chain(_clip(config.clip_norm), optimizer)
    if not (frozen := posteriors.of(config).frozen):
        return optimizer

    def label(params: Params) -> dict[str, str]:
        return {name: "frozen" if name in frozen else "trained" for name in params}

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, label)


def schedule(config: ConfigDict, num_steps: int) -> Schedule:
    """Return the factor of the learning rate at each of a training's steps, the first being 0."""
    factory = load("config.schedule", schedule_path(config))
    given = config.schedule_args.to_dict()
    if "num_steps" in _names(factory):
        given = {"num_steps": num_steps, **given}
    made: Schedule = factory(**given)
    return made


def warmup_cosine(num_steps: int, warmup: float = 0.05, final: float = 0.0) -> Schedule:
    """Rise from 0 to 1 linearly, then fall to `final` along half a cosine.

    warmup: the share of the steps in which it rises
    """
    rising = round(warmup * num_steps)
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, rising, num_steps, final)


def gradient_norm(state: Any) -> Float[Array, ""]:
    """Return the global norm of the last step's gradient, of an optimiser that clips."""
    norm: Float[Array, ""] = optax.tree_utils.tree_get(state, "gradient_norm")
    return norm


def check(config: ConfigDict) -> None:
    """Raise ConfigError where the optimiser or the schedule cannot be made, or do not work.

    Where the image's shape is not known yet, no device is touched.
    """
    factory = load("config.optimizer", config.optimizer)
    _check_arguments("optimizer", config, factory, SCALARS)
    for field in SCALARS:
        if config.sweep.get(field) and field not in _names(factory):
            raise ConfigError(
                f"config.sweep.{field}: got {shown(config.sweep[field])}, which does not reach "
                f"config.optimizer '{config.optimizer}'; allowed: an optimiser with an argument "
                f"{field}"
            )
    _try_optimizer(config)
    if config.schedule:
        _check_arguments("schedule", config, load("config.schedule", schedule_path(config)))
        if config.image_shape is not None:
            _try_schedule(config)


def _try_optimizer(config: ConfigDict) -> None:
    """Raise ConfigError where a step of the optimiser cannot be compiled."""
    got = f"config.optimizer: got {shown(config.optimizer)}"
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    swept = {field: scalar for field in SCALARS if config.sweep.get(field)}

    def step(swept: dict[str, Any], params: Params) -> tuple[Any, Any]:
        factory = load("config.optimizer", config.optimizer)
        optimizer = factory(**(_arguments(config, factory) | swept))
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(f"made a {type(optimizer).__name__}, no optax.GradientTransformation")
        state = optimizer.init(params)
        updates, new = optimizer.update(params, state, params)
        if str(jax.tree.structure(new)) != str(jax.tree.structure(state)):
            raise TypeError("its state changes its structure in a step")
        return updates, state

    params = {"kernel": jax.ShapeDtypeStruct((3, 2), jnp.float32), "scalar": scalar}
    try:
        updates, state = jax.eval_shape(step, swept, params)
    except Exception as error:  # a user's factory may raise any
        raise ConfigError(f"{got}, which fails: {said(error)}") from error
    if jax.tree.map(jnp.shape, updates) != jax.tree.map(jnp.shape, params):
        raise ConfigError(f"{got}, whose updates have other shapes than the parameters")
    if keys := [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jax.dtypes.extended)]:
        raise ConfigError(f"{got}, whose state holds {keys[0].dtype}; allowed: arrays of numbers")


def _try_schedule(config: ConfigDict) -> None:
    """Raise ConfigError where the schedule is no function of the step to a finite factor."""
    got = f"config.schedule: got {shown(config.schedule)}"
    try:
        factors = [float(schedule(config, 1000)(jnp.asarray(step))) for step in (0, 1, 999)]
    except Exception as error:
        raise ConfigError(f"{got}, which fails: {said(error)}") from error
    if bad := [factor for factor in factors if not 0 <= factor < float("inf")]:
        raise ConfigError(f"{got}, whose factor is {bad[0]}; allowed: finite numbers of at least 0")


def _check_arguments(
    field: str, config: ConfigDict, factory: Any, ours: tuple[str, ...] = ()
) -> None:
    """Raise ConfigError where a factory is none, or does not take what it is given."""
    if not callable(factory):
        raise ConfigError(
            f"config.{field}: got {shown(config[field])}, of the class {type(factory).__name__}; "
            "allowed: a function that makes one"
        )
    try:
        names, given = _names(factory), config[f"{field}_args"].keys()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.{field}: got {shown(config[field])}: {said(error)}") from error
    if taken := sorted(set(ours) & set(given)):
        raise ConfigError(f"config.{field}_args.{taken[0]}: write --config.{taken[0]}")
    if unknown := sorted(set(given) - set(names)):
        allowed = ", ".join(name for name in names if name not in ours) or "none"
        raise ConfigError(
            f"config.{field}_args.{unknown[0]}: {config[field]} has no such argument; "
            f"allowed: {allowed}"
        )


def _arguments(config: ConfigDict, factory: Callable[..., Any]) -> dict[str, Any]:
    """Return what the optimiser is made with: its own arguments, and those of SCALARS it takes."""
    names = _names(factory)
    scalars = {field: config[field] for field in SCALARS if field in names}
    return scalars | config.optimizer_args.to_dict()


def _names(factory: Callable[..., Any]) -> list[str]:
    """Return the names of a function's arguments."""
    found = inspect.signature(factory).parameters.values()
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _clip(most: float) -> optax.GradientTransformation:
    """Return `optax.clip_by_global_norm(most)`, which remembers the norm."""
    clip = optax.clip_by_global_norm(most)

    def update(gradient: Params, state: Clip, params: Params | None = None) -> Any:
        return clip.update(gradient, optax.EmptyState(), params)[0], Clip(optax.tree.norm(gradient))

    return optax.GradientTransformation(lambda params: Clip(jnp.zeros(())), update)
