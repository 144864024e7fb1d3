"""A competitor: inverse autoregressive flow (Kingma et al., 2016), two steps of masked networks.

z_0 = mu + sigma * eps, z_t = s_t * z_(t-1) + (1 - s_t) * m_t, where (m_t, s_t)_i depend on the
components of z_(t-1) before i and on the encoder's context. The order is reversed after a step.
The posterior is no Gaussian: its KL is estimated from the sample, and the embedding is the flow's
image of mu.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax import gaussian
from mvae_jax.posteriors import Draw, Family, Heads, Parameters, vae
from mvae_jax.posteriors.vae import Diagonal

STEPS = 2
FORGET = 1.5  # the gate's bias: a step begins near the identity (Section 4 of the paper)


class Step(NamedTuple):
    """One autoregressive network, a hidden layer wide; its masks are applied."""

    first: Float[Array, "hidden d"]
    mean: Float[Array, "d hidden"]
    gate: Float[Array, "d hidden"]


class Flow(NamedTuple):
    """q(z|x): z_0's diagonal Gaussian, the context, and the steps."""

    start: Diagonal
    context: Float[Array, "*batch hidden"]
    steps: tuple[Step, ...]


def heads(config: ConfigDict) -> dict[str, int]:
    """Return the sizes of the heads; the context is what the hidden units begin with."""
    d = config.latent_size
    return {"mean": d, "log_variance": d, "context": config.hidden_size}


def init(key: Key[Array, ""], config: ConfigDict) -> dict[str, Array]:
    """Return the steps' weights; their biases are the context's and the gate's."""
    d, hidden = config.latent_size, config.hidden_size
    sizes = {"first": (hidden, d), "mean": (d, hidden), "gate": (d, hidden)}
    found = {}
    for name, subkey in zip(sizes, jax.random.split(key, len(sizes)), strict=True):
        bound = 1 / np.sqrt(sizes[name][1])
        shape = (STEPS, *sizes[name])
        found[f"flow_{name}"] = jax.random.uniform(subkey, shape, jnp.float32, -bound, bound)
    return found


def posterior(config: ConfigDict, parameters: Parameters, heads: Heads, _carry: Any = None) -> Flow:
    """Return q(z|x) of the encoder's heads."""
    d, hidden = config.latent_size, config.hidden_size
    # Hidden unit k sees the inputs up to its degree; output i the units of a degree below i.
    degrees = np.arange(hidden) % max(1, d - 1)
    sees = degrees[:, None] >= np.arange(d)[None, :]
    shows = np.arange(d)[:, None] > degrees[None, :]
    masks = {"first": sees, "mean": shows, "gate": shows}
    steps = tuple(
        Step(**{name: parameters[f"flow_{name}"][t] * mask for name, mask in masks.items()})
        for t in range(STEPS)
    )
    return Flow(Diagonal(heads["mean"], heads["log_variance"]), heads["context"], steps)


def network(
    step: Step, context: Float[Array, " hidden"], z: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Return m and the logit of s."""
    hidden = jnp.tanh(step.first @ z + context)
    return step.mean @ hidden, step.gate @ hidden + FORGET


def transform(q: Flow, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
    """Return z_T of z_0, and log|dz_T / dz_0| = sum_t sum_i log s_ti."""
    log_det = jnp.zeros(())
    for step in q.steps:
        mean, gate = network(step, q.context, z)
        s = jax.nn.sigmoid(gate)
        z = (s * z + (1 - s) * mean)[::-1]
        log_det += jnp.sum(jax.nn.log_sigmoid(gate))
    return z, log_det


def sample(q: Flow, noise: Float[Array, " d"]) -> Draw:
    """Draw z_T."""
    start = vae.sample(q.start, noise)
    z, log_det = transform(q, start.z)
    log_q = vae.log_prob(q.start, start.z) - log_det
    return Draw(z, log_q - gaussian.log_prob(z, jnp.zeros(())), noise)


def log_prob(q: Flow, z: Float[Array, " d"]) -> Float[Array, ""]:
    """Return log q(z|x) in nats, for which each step is inverted, component by component."""
    log_det = jnp.zeros(())
    for step in reversed(q.steps):
        after = z[::-1]

        def fill(i: Array, before: Array, step: Step = step, after: Array = after) -> Array:
            mean, gate = network(step, q.context, before)
            s = jax.nn.sigmoid(gate)
            return before.at[i].set((after[i] - (1 - s[i]) * mean[i]) / s[i])

        z = jax.lax.fori_loop(0, len(z), fill, jnp.zeros_like(after))
        log_det += jnp.sum(jax.nn.log_sigmoid(network(step, q.context, z)[1]))
    return vae.log_prob(q.start, z) - log_det


iaf = Family(
    posterior,
    sample,
    log_prob,
    heads=heads,
    init=init,
    embedding=lambda q: transform(q, q.start.loc)[0],
    axes=Flow(0, 0, None),  # type: ignore[arg-type]
)
