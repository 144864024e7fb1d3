"""The evidence that claims are judged by, the paper's tables and our runs, and what it measures.

Only `from_runs`, `settings` and `ours` know what a run is.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mvae_jax.paper import reference
from mvae_jax.paper.cells import BASELINE, CELLS, MODEL, PaperCell, Unit
from mvae_jax.paper.reproduction import is_short
from mvae_jax.paper.rules import GAIN, Check, Quantity, average, mostly
from mvae_jax.report import pairs
from mvae_jax.report.cells import Run, Setting
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import describe

# An image with more energy than the input's at high frequencies is noisy, not sharp.
CAPS = {"high_frequency_energy": 1.0}


class Pair(NamedTuple):
    """One metric of both models in one cell, seed -> value, on the same seeds."""

    vae: Mapping[int, float]
    mvae: Mapping[int, float]


class Evidence(NamedTuple):
    """Pairs to judge claims by; published figures have one seed and are taken at their word.

    undefined: the cells that exist but have no such figure, for instance because it is infinite
    """

    title: str
    pairs: Mapping[tuple[str, PaperCell], Pair]
    published: bool
    undefined: frozenset[tuple[str, PaperCell]] = frozenset()


def published(*, corrected: bool) -> Evidence:
    """Return the paper's tables, their row labels as printed or corrected."""
    found = reference.printed(corrected=corrected)
    figures = {
        (key.metric, key[1:3]): [float(found[key._replace(model=m)]) for m in (BASELINE, MODEL)]
        for key in found
    }
    for place in CELLS:  # sizes are not printed, but the networks described can be counted
        vae, mvae = (reference.network_sizes(*place, model) for model in (BASELINE, MODEL))
        figures |= {(name, place): [vae[name], mvae[name]] for name in vae}
    title = f"the paper, {'row labels corrected' if corrected else 'as printed'}"
    pairs = {where: Pair({0: vae}, {0: mvae}) for where, (vae, mvae) in figures.items()}
    return Evidence(title, pairs, published=True)


def from_runs(found: Scores, protocol: str, source: str = "") -> Evidence:
    """Return our runs that are evidence, of one protocol and source of images.

    Data sets that have but one source belong to every source.
    """
    both: dict[tuple[str, PaperCell], Pair] = {}
    undefined = set()
    for cell, vae in found.cells.items():
        setting, z, model = cell
        other = cell._replace(model=MODEL)
        mvae, place = found.cells.get(other), (setting.dataset, z)
        is_asked = setting.protocol == protocol and setting.source in ("", source)
        if model != BASELINE or not is_asked or mvae is None or not _is_evidence(setting, vae):
            continue
        if vae.missing or mvae.missing or pairs.unlike(vae, mvae):
            continue
        for metric in found.metrics:
            x, y = found.of(cell, metric), found.of(other, metric)
            is_whole = x and x.keys() == y.keys() and not found.why_missing(cell, metric)
            if is_whole and (metric != "epoch_seconds" or _timed_alike(vae, mvae)):
                both[metric, place] = Pair(x, y)
        undefined |= {(metric, place) for metric in vae.absent.keys() | mvae.absent.keys()}
    title = f"our runs, {protocol} protocol" + (f", MNIST variants {source}" if source else "")
    return Evidence(title, both, published=False, undefined=frozenset(undefined - both.keys()))


def ours(found: Scores) -> Iterator[Evidence]:
    """Yield our runs by protocol and source of images."""
    judged = settings(found)
    for protocol in dict.fromkeys(setting.protocol for setting in judged):
        of_protocol = [setting for setting in judged if setting.protocol == protocol]
        sources = dict.fromkeys(setting.source for setting in of_protocol if setting.source)
        for source in sources or [""]:
            yield from_runs(found, protocol, source)


def settings(found: Scores) -> list[Setting]:
    """Return the settings of the runs that are evidence."""
    cells = found.cells.items()
    return list(dict.fromkeys(c.setting for c, run in cells if _is_evidence(c.setting, run)))


def _is_evidence(setting: Setting, run: Run) -> bool:
    """Whether a run is as the paper's: without tags and swept scalars, and trained as long."""
    return not setting.variant and not is_short(run.config)


def _timed_alike(vae: Run, mvae: Run) -> bool:
    """Whether both ran the same code on the same devices, with as many seeds in one program."""
    fields = ("devices", "processor", "git_revision")
    places = [[run.environment.get(field) for field in fields] for run in (vae, mvae)]
    modes = [(run.config.get("seed_mode"), len(run.replicates)) for run in (vae, mvae)]
    return places[0][0] is not None and places[0] == places[1] and modes[0] == modes[1]


# --- what is measured ---------------------------------------------------------------------------


def measure(check: Check, evidence: Evidence) -> list[Quantity]:
    """Return one quantity per metric, model and unit, or per metric and model for an average.

    Units that lack a cell are left out. A unit is measured on the seeds that its cells share, an
    average on those that all cells share.
    """
    quantities = []
    for metric, model in itertools.product(check.metrics, check.of):
        shown = describe(metric)
        title = shown.title if model == GAIN else f"{model.upper()}'s {shown.title}"
        pairs = {u: [evidence.pairs.get((metric, cell)) for cell in u.all] for u in check.units}
        whole = {unit: [pair for pair in of if pair] for unit, of in pairs.items() if all(of)}
        is_mean = check.rule in (average, mostly)
        parts = [whole] if whole and is_mean else [{unit: of} for unit, of in whole.items()]
        for part in parts:
            seeds = sorted(set.intersection(*(set(p.vae) for of in part.values() for p in of)))
            if seeds:
                first = next(iter(part))
                name = title if is_mean else f"{title} {first.name}"
                numbers = [_numbers(check, metric, model, *of, seeds) for of in part.items()]
                of_part = Quantity(metric, first.cells[0], name, np.array(numbers), shown.per_run)
                quantities.append(of_part)
    return quantities


def _numbers(
    check: Check, metric: str, model: str, unit: Unit, pairs: list[Pair], seeds: list[int]
) -> Float[np.ndarray, " seeds"]:
    """Return a unit's numbers: shares where there is a margin or a mean over cells."""
    cap = CAPS.get(metric, math.inf)
    vae, mvae = (
        np.array([[min(of[seed], cap) for seed in seeds] for of in models])
        for models in zip(*pairs, strict=True)
    )
    n, less = len(unit.cells), len(unit.less)
    weights = np.repeat([1 / n, -1 / max(1, less)], [n, less])
    if model == GAIN:
        values = mvae - vae
        if check.margin or n > 1 or check.rule in (average, mostly):
            values = values / _scale(vae.mean(axis=1, keepdims=True))
    else:
        values = (mvae if model == "mvae" else vae) - check.limit
        if check.margin:
            values = values / _scale(check.limit or values[n:].mean())
    # Rounded, so that figures which print the same tie.
    return np.round(check.sign * describe(metric).better * (weights @ values), 10)


def _scale(value: float | Float[np.ndarray, "cells 1"]) -> Float[np.ndarray, "..."]:
    """Return what a share is taken of; 1 where that would be nothing."""
    return np.where(value == 0, 1.0, np.abs(value))
