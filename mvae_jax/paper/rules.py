"""How a claim is judged: what is measured in the evidence, and the rules it must pass.

A check measures numbers, signed so that positive agrees with the claim, and a rule asks something
of them. Our runs have seeds, and a rule asks it of 95% intervals over the seeds. Published figures
and what does not vary with the seed have no interval, and a rule asks it of the numbers themselves.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mvae_jax.paper.cells import PaperCell, Unit
from mvae_jax.paper.evidence import Evidence, Pair
from mvae_jax.report.differences import format_p
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.statistics import ALPHA, sign_test, summarise

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
GAIN = "gain"
BOTH = ("vae", "mvae")
# An image with more energy than the input's at high frequencies is noisy, not sharp.
CAPS = {"high_frequency_energy": 1.0}


class Outcome(NamedTuple):
    """A rule's verdict, and the figures behind it."""

    verdict: str
    detail: str


class Quantity(NamedTuple):
    """Numbers that a rule is applied to.

    cell:    the first cell that they are of
    numbers: float64 [units, seeds]; positive agrees with the claim
    per_run: whether the seeds do not vary them
    """

    metric: str
    cell: PaperCell
    name: str
    numbers: Float[np.ndarray, "units seeds"]
    per_run: bool


class Standard(NamedTuple):
    """How strictly a check judges its numbers.

    point:      whether by the numbers themselves, because they have no interval
    margin:     the check's, or none in print, where equal figures tie
    confidence: of the intervals that speak against a claim, after Bonferroni's correction
    """

    point: bool
    margin: float
    confidence: float


class Check(NamedTuple):
    """What one part of a claim is tested by.

    rule:    what is asked of the numbers, in every metric
    margin:  the share of VAE's value (in a model's curve: of the value before) that counts as equal
    spare:   how many units of a metric may fail `each`
    sign:    -1 where the claim is that VAE is ahead, or that a value is lower
    of:      the models whose own values are tested; else MVAE's gain on VAE is
    limit:   what the models' own values are measured from; in `growth`, the largest exponent
    what:    the name of the part, where a claim has several
    """

    rule: "Rule"
    metrics: tuple[str, ...]
    units: tuple[Unit, ...]
    margin: float = 0.0
    spare: int = 0
    sign: int = 1
    of: tuple[str, ...] = (GAIN,)
    limit: float = 0.0
    what: str = ""


Rule = Callable[[Check, Sequence[Quantity], Standard], Outcome]


class Claim(NamedTuple):
    """One claim of the paper, paraphrased, and what tests it.

    number:    its place among the claims, in the paper's order
    where:     the sections that make it
    tested_by: the quantities and the rule, in words
    checks:    the same as data; every one must pass
    untested:  what of it is not tested, and why; all of it where there are no checks
    """

    number: int
    where: str
    says: str
    tested_by: str = ""
    checks: tuple[Check, ...] = ()
    untested: str = ""


# --- what is measured ---------------------------------------------------------------------------


def measure(check: Check, evidence: Evidence) -> list[Quantity]:
    """Return one quantity per metric, model and unit, or per metric and model for an average.

    Units that lack a cell are left out. A unit is measured on the seeds that its cells share, an
    average on those that all cells share.
    """
    quantities = []
    for metric in check.metrics:
        for model in check.of:
            shown = describe(metric)
            title = shown.title if model == GAIN else f"{model.upper()}'s {shown.title}"
            found = _by_unit(check, metric, model, evidence)
            if check.rule in (average, mostly):
                first = [unit.cells[0] for unit in found][:1]
                named = {(title, cell): list(found.values()) for cell in first}
            else:
                named = {(f"{title} {u.name}", u.cells[0]): [of] for u, of in found.items()}
            for (name, cell), numbers in named.items():
                of_units = np.array(numbers)
                quantities.append(Quantity(metric, cell, name, of_units, shown.per_run))
    return quantities


def _by_unit(
    check: Check, metric: str, model: str, evidence: Evidence
) -> dict[Unit, Float[np.ndarray, " seeds"]]:
    """Return the numbers of the units that have all their cells."""
    found = {
        unit: [evidence.pairs.get((metric, cell)) for cell in (*unit.cells, *unit.less)]
        for unit in check.units
    }
    pairs = {unit: [pair for pair in of if pair] for unit, of in found.items() if all(of)}
    every = [pair for of in pairs.values() for pair in of]
    numbers = {}
    for unit, of_unit in pairs.items():
        sharing = every if check.rule in (average, mostly) else of_unit
        seeds = sorted(set.intersection(*(set(pair.vae) for pair in sharing)))
        if seeds:
            numbers[unit] = _numbers(check, metric, model, unit, of_unit, seeds)
    return numbers


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


# --- the rules ----------------------------------------------------------------------------------


def each(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """Every number is positive; with a margin, none is below it.

    Numbers without intervals support a claim where none is worse and, without a margin, one is
    better. `spare` units of each metric may be worse.
    """
    if not standard.point:
        return _intervals(check, quantities, -check.margin, math.inf, standard)
    margin = standard.margin
    numbers = np.array([quantity.numbers.mean() for quantity in quantities])
    better, worse = int((numbers > margin).sum()), int((numbers < -margin).sum())
    tied, equal = len(numbers) - better - worse, f"within {_percent(margin)}" if margin else "tied"
    detail = f"{better} better, {tied} {equal}, {worse} worse"
    if _exceed([q.metric for q in quantities if q.numbers.mean() < -margin], check):
        is_mixed = better or (margin and tied)
        return Outcome(NOT_SUPPORTED, f"{'mixed' if is_mixed else 'contradicted'}, {detail}")
    return Outcome(SUPPORTED if better or check.margin else UNDECIDED, detail)


def within(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """Every number lies within the margin of zero, on both sides."""
    if not standard.point:
        return _intervals(check, quantities, -check.margin, check.margin, standard)
    beyond = sum(abs(quantity.numbers.mean()) > check.margin for quantity in quantities)
    detail = f"{len(quantities) - beyond} within {_percent(check.margin)}, {beyond} beyond"
    return Outcome(NOT_SUPPORTED if beyond else SUPPORTED, detail)


def average(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """The mean over units is positive in every metric; without intervals, by a sign test."""
    if not standard.point:
        return _intervals(check, quantities, -check.margin, math.inf, standard)
    details, found = [], []
    for quantity in quantities:
        test = sign_test(quantity.numbers.mean(axis=1) + standard.margin)
        found.append(test)
        counts = f"{test.wins} better, {test.ties} tied, {test.losses} worse"
        details.append(f"{quantity.name} {counts} (sign test p {format_p(test.p)})")
    detail = "; ".join(details)
    if any(test.losses > test.wins and test.p < 1 - standard.confidence for test in found):
        return Outcome(NOT_SUPPORTED, detail)
    return Outcome(SUPPORTED if all(test.p < ALPHA for test in found) else UNDECIDED, detail)


def mostly(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """More units are better than worse in every metric; with seeds, as `average`.

    With a margin, units within it count for neither, and as many may be worse as better.
    """
    if not standard.point:
        return average(check, quantities, standard)
    details, short = [], 0
    for quantity in quantities:
        numbers = quantity.numbers.mean(axis=1)
        better, worse = (int((s * numbers > standard.margin).sum()) for s in (1, -1))
        short += better < worse or (better == worse and not check.margin)
        tied = len(numbers) - better - worse
        details.append(f"{quantity.name} {better} better, {tied} tied, {worse} worse")
    return Outcome(NOT_SUPPORTED if short else SUPPORTED, "; ".join(details))


def _intervals(
    check: Check, quantities: Sequence[Quantity], floor: float, ceiling: float, standard: Standard
) -> Outcome:
    """Judge each quantity's mean over units by its interval over seeds.

    Supported where every 95% interval lies between floor and ceiling: all must, so none needs a
    correction. Not supported where one lies outside at 95% over the claim's quantities together:
    one suffices, so Bonferroni's correction.
    """
    details, above, outside = [], [], []
    for quantity in quantities:
        numbers = quantity.numbers.mean(axis=0).tolist()
        summary = summarise(numbers)
        low, high = summary.interval or (-math.inf, math.inf)
        joint = summarise(numbers, standard.confidence).interval or (-math.inf, math.inf)
        if floor < low and high < ceiling:
            above.append(quantity.metric)
        if joint[1] < floor or joint[0] > ceiling:
            outside.append(quantity.metric)
        details.append(f"{quantity.name} {summary.mean:+.3g} [{low:+.3g}, {high:+.3g}]")
    if len(details) > len(PAPER):  # too many to list
        rest = len(details) - len(above) - len(outside)
        counts = f"{len(above)} above, {len(outside)} below, {rest} across {floor + 0.0:g}"
        if ceiling < math.inf:
            counts = (
                f"{len(above)} within {_percent(ceiling)}, {len(outside)} beyond, {rest} across"
            )
        details = [f"{counts} of {len(details)}"]
    detail = ("mixed, " if above and outside else "") + "; ".join(details)
    if _exceed(outside, check):
        return Outcome(NOT_SUPPORTED, detail)
    failing = [quantity.metric for quantity in quantities]
    for metric in above:
        failing.remove(metric)
    return Outcome(UNDECIDED if _exceed(failing, check) else SUPPORTED, detail)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _exceed(failing: Sequence[str], check: Check) -> bool:
    """Whether more units of a metric fail than may."""
    return any(failing.count(metric) > check.spare for metric in failing)
