"""The parts of a training step, each timed alone: products, AdamW, the rest.

Their sum is what the step would take if the parts ran one after the other, each at the speed that
the compiler reaches for it alone; a step in which they overlap, or share what they read, may take
less. Products have the shapes of the step's; for the MVAE with the two by C,
forward and backward, and the two that follow C's inverse.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from ml_collections import ConfigDict

from mvae_jax import model, optimizers, train


def parts(config: ConfigDict, images: np.ndarray, batch: int) -> dict[str, Callable[[], None]]:
    """Return, by name, functions that run one epoch's worth of steps of a part, and wait."""
    num_steps = len(images) // batch
    params = train.init(config, jnp.asarray(config.first_seed)).params
    x = jnp.asarray(images.reshape(num_steps, batch, -1), jnp.float32) * config.pixel_scale
    on_device = jax.device_put(images)
    key = jax.random.key(0)
    return {
        "products": _waiting(jax.jit(_products), params, x),
        "AdamW": _waiting(jax.jit(_adamw, static_argnums=(0, 2)), config, params, num_steps),
        "the rest": _waiting(
            jax.jit(_rest, static_argnums=(0, 3)), config, on_device, key, num_steps
        ),
    }


def _waiting(function: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
    def go() -> None:
        jax.block_until_ready(function(*arguments))

    return go


def _products(params: model.Params, x: Array) -> Any:
    """Run the products of a step per batch; what a product yields stands in for a gradient."""
    w1, wm, ws, w2, w3 = (
        layer["Dense_0"]["kernel"]
        for layer in (
            params["encoder"]["layer_0"],
            params["mean"],
            params["log_variance"],
            params["decoder"]["layer_0"],
            params["pixels"],
        )
    )
    c = params.get("coupling")

    def step(outputs: Any, x: Array) -> tuple[Any, None]:
        h = x @ w1
        m, s = h @ wm, h @ ws
        both = jnp.concatenate([m, s])
        z = m + s if c is None else jnp.add(*jnp.split(both @ c.T, 2))
        g = z @ w2
        y = g @ w3
        dg = y @ w3.T
        dz = dg @ w2.T
        dm, ds = dz, dz
        gradients = [z.T @ dg, g.T @ y]
        if c is not None:
            d_both = jnp.concatenate([dz, z])
            dm, ds = jnp.split(d_both @ c, 2)
            # Of the step before, or the compiler would take the products out of the loop.
            r = c.T @ outputs[2]
            gradients += [d_both.T @ both, r, c @ r]
        dh = dm @ wm.T + ds @ ws.T
        return [*gradients, h.T @ dm, h.T @ ds, x.T @ dh], None

    shapes = jax.eval_shape(lambda x: step([c] * 3, x)[0], x[0])
    return jax.lax.scan(step, jax.tree.map(lambda s: jnp.zeros(s.shape), shapes), x)[0]


def _adamw(config: ConfigDict, params: model.Params, num_steps: int) -> Any:
    optimizer = optimizers.of(config)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        current, state = carry
        updates, state = optimizer.update(params, state, current)  # a gradient like any other
        return (optax.apply_updates(current, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), None, length=num_steps)[0]


def _rest(config: ConfigDict, images: Array, key: Array, num_steps: int) -> Array:
    """Draws, gathers and applies the elementwise functions of the step, forward and backward."""
    batch = len(images) // num_steps
    order = jax.random.permutation(key, len(images)).reshape(num_steps, batch)

    def step(total: Array, t: Array) -> tuple[Array, None]:
        x = images[order[t]].reshape(batch, -1).astype(jnp.float32) * config.pixel_scale
        noise = jax.random.normal(jax.random.fold_in(key, t), (batch, config.latent_size))
        scale = jnp.exp(0.5 * noise)
        hidden = jnp.resize(x, (2, batch, config.hidden_size))

        def loss(hidden: Array, logits: Array, scale: Array) -> Array:
            likelihood = jnp.sum(x * logits - jax.nn.softplus(logits))
            return likelihood + jnp.sum(jnp.tanh(hidden)) + jnp.sum(scale * noise + scale**2)

        value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(hidden, x - 0.5, scale)
        return total + value + sum(jnp.sum(g) for g in gradients), None

    return jax.lax.scan(step, jnp.zeros(()), jnp.arange(num_steps))[0]
