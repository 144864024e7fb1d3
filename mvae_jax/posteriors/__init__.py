"""Posterior families q(z|x): one file each, behind one interface, in pure jax.numpy.

A family is a record of functions of one example; `vmap` adds the batch, and what does not depend on
the example, as log|det C|, is then computed once for all. The file `<name>.py` holds the record
`<name>`, which `config.model` names. `config.posterior` names a record of yours by its dotted path
(docs/extend.md shows one).

Everything is relative to the prior N(0, I), and in nats.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mvae_jax import records

Parameters = Mapping[str, Any]  # of the whole model, in which a family reads the arrays of `init`
Heads = Mapping[str, Float[Array, " size"]]


class Draw(NamedTuple):
    """A sample of q(z|x).

    log_ratio: log q(z|x) - log N(z; 0, I) in nats, whose mean over draws is the KL
    noise:     what the sample was made of, for a family whose `kl` needs it
    """

    z: Float[Array, " d"]
    log_ratio: Float[Array, ""]
    noise: Float[Array, " n"] | None = None


class Family(NamedTuple):
    """A posterior family; q is whatever NamedTuple of arrays `posterior` returns.

    Needed:
      posterior: (config, parameters, heads, carry) -> q, from the encoder's affine heads
      sample:    (q, noise) -> Draw, from noise of N(0, I)
      log_prob:  (q, z) -> log q(z|x) in nats

    With defaults:
      heads:       (config) -> the size of each head by name
      init:        (key, config) -> global parameters by name, float32
      kl:          (q, draw) -> KL(q || N(0, I)) in nats; by default estimated from the draw
      embedding:   (q) -> mu [d], which stands for the example; by default q.loc
      coupling:    (q) -> the global matrix [d, d] that multiplies the noise, along whose singular
                   vectors the pictures go; by default None
      extra_noise: (config) -> how many numbers `sample` needs behind the latent_size that every
                   family gets the same of
      axes:        the axes of q for `vmap`: 0 for what is the example's, None for what is global
      frozen:      the names of global parameters that are not trained

    What each step hands to the next, outside the gradient, as an inverse that is followed (carry is
    None by default, and wherever nothing is known of an earlier step):
      start_epoch: (config, parameters, kept) -> carry; kept is None where no epoch was before
      follow:      (config, before, after, carry, exact) -> carry, from the parameters before and
                   after a step of the optimiser, without a loop or a factorisation, on which an
                   accelerator would wait for its host; exact: at any cost, without error
      keep:        (carry) -> kept, what the next epoch is to know of this one
      error:       (carry) -> the largest error of the epoch's steps; None where there is none. The
                   first epoch is exact, and so is a repetition of one that passed max_error
    """

    posterior: Callable[[ConfigDict, Parameters, Heads, Any], Any]
    sample: Callable[[Any, Float[Array, " n"]], Draw]
    log_prob: Callable[[Any, Float[Array, " d"]], Float[Array, ""]]
    heads: Callable[[ConfigDict], dict[str, int]] = lambda config: {
        "mean": config.latent_size,
        "log_variance": config.latent_size,
    }
    init: Callable[[Key[Array, ""], ConfigDict], dict[str, Array]] = lambda key, config: {}
    kl: Callable[[Any, Draw], Float[Array, ""]] = lambda q, draw: draw.log_ratio
    embedding: Callable[[Any], Float[Array, " d"]] = lambda q: q.loc
    coupling: Callable[[Any], Float[Array, "d d"] | None] = lambda q: None
    extra_noise: Callable[[ConfigDict], int] = lambda config: 0
    axes: Any = 0
    frozen: tuple[str, ...] = ()
    start_epoch: Callable[[ConfigDict, Parameters, Any], Any] = lambda config, parameters, kept: (
        None
    )
    follow: Callable[[ConfigDict, Parameters, Parameters, Any, bool], Any] = (
        lambda config, before, after, carry, exact: carry
    )
    keep: Callable[[Any], Any] = lambda carry: None
    error: Callable[[Any], Float[Array, ""]] | None = None
    max_error: float = 0.0


def of(config: ConfigDict) -> Family:
    """Return the configuration's family.

    Raises:
      ValueError: its model is no family of this package, and it names no other.
      ConfigError: the one that it names cannot be imported, or is no Family.
    """
    family: Family = records.load("config.posterior", records.posterior_path(config), Family)
    return family
