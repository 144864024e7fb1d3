"""Time training and encoding against peers and the machine's floor, side by side in one run.

    python launch/bench.py                                  # everything; torch with `.[bench]`
    python launch/bench.py --latent=16,512 --pixels=784 --seeds=1,4 --peers=ours,loop

Every contestant is warmed up (compiled, and trained past the first steps); then all of one size
take turns, `--repeats` times, in another order each time, so that a machine whose speed drifts is
as slow for one as for the other. On a CPU, several seeds train in a process of their own, which
waits for its turns, since there each core is a device of its own.

An epoch of ours is `--steps` long and begins with a factorisation of C, as every one does; one that
strays is counted with its repetition. The paper's epochs have about 500 steps, PyTorch's a tenth
of ours. Figures are medians, ratios medians of the turns' ratios. Results go to `--out` as JSON
after each size. Nothing here is a test: no figure is good or bad by itself.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import contextlib
import json
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import floor
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import FrozenConfigDict
from tabulate import tabulate

from mvae_jax import inference, paths, posteriors, replicas, rules, train
from mvae_jax.store import files
from mvae_jax.sweep.arguments import number, numbers
from mvae_jax.sweep.predict import (
    BATCH,
    SHAPES,
    WARM_STEPS,
    configuration,
    machine,
    made_up_images,
    training,
)

PEERS = ("ours", "loop", "floor", "torch", "encode")
MODELS = ("vae", "mvae", "triangular", "lu")  # by default; peers but ours have the first two
SETTLE_SECONDS = 0.2  # for which another library's idle threads may still spin


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


def main() -> None:
    """Time every size asked for, print a table after each and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latent", type=numbers, default=[2, 16, 32, 256, 512])
    parser.add_argument("--pixels", type=numbers, default=[784, 3072], help="784 or 3072")
    parser.add_argument("--seeds", type=numbers, default=[1, 4, 16, 64])
    parser.add_argument(
        "--peers", type=lambda text: text.split(","), default=list(PEERS), help=", ".join(PEERS)
    )
    parser.add_argument(
        "--models", type=lambda text: text.split(","), default=MODELS, help=", ".join(rules.MODELS)
    )
    parser.add_argument("--steps", type=number, default=500, help="per turn")
    parser.add_argument("--repeats", type=number, default=7)
    parser.add_argument("--warm_steps", type=number, default=WARM_STEPS, help="before the first")
    parser.add_argument("--out", type=paths.from_user, default=Path("bench.json"))
    args = parser.parse_args()
    if unknown := set(args.peers) - set(PEERS):
        parser.error(f"--peers: got {min(unknown)}; allowed: {', '.join(PEERS)}")
    if unknown := set(args.models) - set(rules.MODELS):
        parser.error(f"--models: got {min(unknown)}; allowed: {', '.join(rules.MODELS)}")
    if unknown := set(args.pixels) - set(SHAPES):
        parser.error(f"--pixels: got {min(unknown)}; allowed: {', '.join(map(str, SHAPES))}")

    if args.out.is_dir() or not args.out.absolute().parent.is_dir():
        parser.error(f"--out: got {args.out}; allowed: a file in a folder that is there")
    results: dict[str, Any] = {
        "machine": machine(),
        "steps": args.steps,
        "repeats": args.repeats,
        "sizes": [],
    }
    print(json.dumps(results["machine"]))
    for pixels in args.pixels:
        for latent_size in args.latent:
            contestants = list(enter(args, latent_size, pixels))
            timed = take_turns(contestants, args.repeats, args.warm_steps)
            contestants.clear()
            print(f"\n{pixels} pixels, z={latent_size}\n{table(timed)}", flush=True)
            results["sizes"].append(
                {"pixels": pixels, "latent_size": latent_size, "timed": list(map(record, timed))}
            )
            del timed  # and with it the processes that several seeds have
            files.write_text(args.out, json.dumps(results, indent=1) + "\n")


def enter(args: argparse.Namespace, latent_size: int, pixels: int) -> Iterator[Contestant]:
    """Yield every contestant of one size."""
    images = made_up_images(pixels, args.steps)
    for model in args.models:
        config = configuration(model, latent_size, pixels)
        if "ours" in args.peers:
            for num_seeds in args.seeds:
                apart = num_seeds > 1 and jax.default_backend() == "cpu"
                yield (training_apart if apart else training_here)(config, images, num_seeds)
        if model not in ("vae", "mvae"):
            continue
        if "loop" in args.peers:
            yield loop(config, images, "a jitted step per batch")
            if model == "mvae":
                yield loop(config, images, "a jitted step per batch, slogdet", exact=True)
        if "encode" in args.peers:
            yield from encoding(config, images)
        if "floor" in args.peers:
            for part, go in floor.parts(config, images, BATCH).items():
                yield Contestant(f"floor: {part}", model, 1, args.steps, go)
    if "torch" in args.peers:
        try:
            import torch_peer
        except ImportError:
            print("torch: not installed; pip install -e '.[bench]'", file=sys.stderr)
        else:
            few = images[: max(1, args.steps // 10) * BATCH]
            for name, model, go in torch_peer.peers(latent_size, few, BATCH):
                yield Contestant(name, model, 1, len(few) // BATCH, go)


def take_turns(contestants: list[Contestant], repeats: int, warm_steps: int) -> list[Timed]:
    """Warm every contestant up, then time them in turn."""
    for contestant in contestants:
        # Two epochs at least, because the first and the second are programs of their own.
        for _ in range(max(2, -(-warm_steps // contestant.steps)) if contestant.settles else 1):
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


def training_here(config: FrozenConfigDict, images: np.ndarray, seeds: int) -> Contestant:
    """Return our training: one dispatch per epoch."""
    name = f"ours ({replicas.choose_mode()})"
    go = training(config, images, seeds)
    return Contestant(name, config.model, seeds, len(images) // BATCH, go, True)


def training_apart(config: FrozenConfigDict, images: np.ndarray, seeds: int) -> Contestant:
    """Return our training in a process of its own, which divides the cores among the seeds."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    arguments = (other, config.to_dict(), seeds)
    with terminal.starting_processes():
        context.Process(target=_serve, args=arguments, daemon=True).start()
    other.close()
    connection.send(images)

    def go() -> None:
        connection.send("go")
        connection.recv()

    name = f"ours ({replicas.choose_mode()})"
    return Contestant(name, config.model, seeds, len(images) // BATCH, go, True)


def _serve(connection: Connection, config: dict[str, Any], seeds: int) -> None:
    replicas.split_cores(seeds)
    with contextlib.suppress(EOFError, ConnectionError):  # until the other process ends
        go = training(FrozenConfigDict(config), connection.recv(), seeds)
        while True:
            connection.recv()
            go()
            connection.send("done")


def loop(
    config: FrozenConfigDict, images: np.ndarray, name: str, exact: bool = False
) -> Contestant:
    """The usual tutorial: one jitted step per batch, dispatched from Python.

    exact: factorise C in every step
    """
    step = jax.jit(train.train_step, static_argnums=(0, 4), donate_argnums=1)
    state = train.init(config, jnp.asarray(config.first_seed))
    carry = posteriors.of(config).start_epoch(config, state.params, None)
    state = state._replace(carry=jax.tree.map(jnp.copy, carry))  # donated one by one
    rng, is_real = np.random.default_rng(0), jnp.ones(BATCH, bool)

    def go() -> None:
        nonlocal state
        for batch in np.split(rng.permutation(len(images)), len(images) // BATCH):
            state, sums = step(config, state, jnp.asarray(images[batch]), is_real, exact)
        jax.block_until_ready(sums)

    return Contestant(name, config.model, 1, len(images) // BATCH, go, True)


def encoding(config: FrozenConfigDict, images: np.ndarray) -> Iterator[Contestant]:
    """What a user does with a trained model: encode all images, and reconstruct them."""
    params = train.init(config, jnp.asarray(config.first_seed)).params
    on_device = jax.device_put(images)
    encode = jax.jit(inference.encode, static_argnums=0)
    decode = jax.jit(inference.decode, static_argnums=0)

    def encode_all() -> None:
        jax.block_until_ready(encode(config, params, on_device).loc)

    def reconstruct() -> None:
        jax.block_until_ready(decode(config, params, encode(config, params, on_device).loc))

    for name, go in (("encode", encode_all), ("reconstruct", reconstruct)):
        yield Contestant(name, config.model, 1, len(images) // BATCH, go)


def table(timed: list[Timed]) -> str:
    """Return a row per contestant; ratios are to the VAE of the same kind and to ours."""
    by_kind = {_kind(t.contestant): t for t in timed}
    rows = []
    for (kind, model, seeds), t in by_kind.items():
        family = kind.partition(",")[0]  # of "torch eager, released", say
        vae, first = by_kind.get((family, "vae", seeds)), by_kind.get(("ours", model, 1))
        parts = [p.laps for k, p in by_kind.items() if k[0].startswith("floor") and k[1] == model]
        floor_laps = [sum(laps) for laps in zip(*parts, strict=True)]
        rows.append(
            (
                *(t.contestant.name, model, seeds),
                *(f"{t.ms:.3f}", f"{1e3 * BATCH / t.ms:,.0f}"),
                ratio(t.laps, vae.laps) if vae and model != "vae" else "",
                ratio(t.laps, first.laps) if first else "",
                ratio(floor_laps, t.laps) if floor_laps and (kind, seeds) == ("ours", 1) else "",
            )
        )
    headers = ("", "model", "seeds", "ms/step/seed", "examples/s", "to its VAE", "to ours, 1 seed")
    return tabulate(rows, (*headers, "parts alone"), disable_numparse=True, stralign="right")


def _kind(contestant: Contestant) -> tuple[str, str, int]:
    return contestant.name.partition(" (")[0], contestant.model, contestant.seeds


def ratio(laps: list[float], others: list[float]) -> str:
    """Return the median over turns of the ratio within a turn."""
    return f"{statistics.median(a / b for a, b in zip(laps, others, strict=True)):.2f}"


def record(timed: Timed) -> dict[str, Any]:
    """Return a contestant's figures for the JSON file."""
    contestant = timed.contestant
    return {
        "name": contestant.name,
        "model": contestant.model,
        "seeds": contestant.seeds,
        "ms_per_step_and_seed": timed.ms,
        "laps": [round(lap, 4) for lap in timed.laps],
    }


if __name__ == "__main__":
    terminal.command(main)
