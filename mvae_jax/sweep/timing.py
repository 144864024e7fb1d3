"""Time a few training steps, for `predict` and for launch/bench.py.

Every contestant is warmed up; then all take turns in random order, so that a machine whose speed
drifts is as slow for one as for the other.
"""

import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import distributions
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import replicas, terminal
from mvae_jax.runs import environment

BATCH = 100
SHAPES = {784: (28, 28, 1), 3072: (32, 32, 3)}  # of the paper's images, by their pixels
SETTLE_SECONDS = 0.2  # for which another library's idle threads may still spin
WARM_STEPS = 300  # the first steps of a random, ill-conditioned C cost more than the rest


class Contestant(NamedTuple):
    """Something to time: one call of `go` takes `steps` steps of `seeds` seeds and waits.

    settles: whether its first steps cost more than the rest; others need only be compiled
    """

    name: str
    model: str
    seeds: int
    steps: int
    go: Callable[[], None]
    settles: bool = False


class Timed(NamedTuple):
    """Milliseconds per step and seed, one per turn."""

    contestant: Contestant
    laps: list[float]

    @property
    def ms(self) -> float:
        """The median."""
        return statistics.median(self.laps)


def machine() -> dict[str, Any]:
    """Return what the figures depend on; exit with one line where JAX has no device."""
    try:
        environment.check_platform()
    except config_lib.ConfigError as error:
        terminal.exit_with(error)
    devices = [device.device_kind for device in jax.local_devices()]
    packages = ("jax", "jaxlib", "numpy", "torch")
    versions = {p.metadata["Name"]: p.version for p in distributions() if p.name in packages}
    return {"processor": environment.processor(), "devices": devices, "versions": versions}


def made_up_images(pixels: int, steps: int) -> np.ndarray:
    """Return noise, one batch per step, four fifths of it black: as dark as digits are."""
    images = np.random.default_rng(0).integers(0, 256, (steps * BATCH, *SHAPES[pixels]), np.uint8)
    return images * (np.random.default_rng(1).random(images.shape) < 0.2)


def configuration(model: str, latent_size: int, pixels: int) -> FrozenConfigDict:
    """Return the release protocol's configuration for images of that size."""
    config = config_lib.base_config("digits", f"{model},{latent_size}")
    config.update({"image_shape": SHAPES[pixels], "pixel_scale": 1 / 255, "batch_size": BATCH})
    return FrozenConfigDict(config)


def training(config: FrozenConfigDict, images: np.ndarray, seeds: int) -> Contestant:
    """Return this package's training: one dispatch per epoch."""
    config = config_lib.replace(config, num_seeds=seeds)
    on_device = replicas.share_images(images, seeds)
    mode = replicas.choose_mode()
    state = replicas.init(config, config_lib.seeds(config))

    def go() -> None:
        nonlocal state
        state, metrics = replicas.train_epoch(config, mode, state, on_device)
        jax.block_until_ready(metrics)

    return Contestant(f"ours ({mode})", config.model, seeds, len(images) // BATCH, go, True)


def take_turns(
    contestants: list[Contestant], repeats: int, warm_steps: int = WARM_STEPS
) -> list[Timed]:
    """Warm every contestant up, then time them in turn."""
    for contestant in contestants:
        for _ in range(-(-warm_steps // contestant.steps) if contestant.settles else 1):
            contestant.go()
    laps: list[list[float]] = [[] for _ in contestants]
    pairs, rng = list(zip(contestants, laps, strict=True)), random.Random(0)
    for _ in range(repeats):
        for contestant, of in rng.sample(pairs, len(pairs)):
            time.sleep(SETTLE_SECONDS)
            start = time.perf_counter()
            contestant.go()
            seconds = time.perf_counter() - start
            of.append(1e3 * seconds / contestant.steps / contestant.seeds)
    return [Timed(*pair) for pair in zip(contestants, laps, strict=True)]
