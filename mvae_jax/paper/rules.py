"""How a claim is judged: by the rules that the numbers of its checks must pass.

A check measures numbers, signed so that positive agrees with the claim, and a rule asks something
of them. Our runs have seeds, and a rule asks it of 95% intervals over the seeds. Published figures
and what does not vary with the seed have no interval, and a rule asks it of the numbers themselves.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from mvae_jax.paper.cells import PaperCell, Unit
from mvae_jax.report.differences import format_p
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.statistics import ALPHA, sign_test, summarise

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
GAIN = "gain"
BOTH = ("vae", "mvae")


Outcome = tuple[str, str]  # a verdict, and the figures behind it


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

    @property
    def mean(self) -> float:
        """The mean over units and seeds."""
        return float(self.numbers.mean())

    @property
    def by_seed(self) -> list[float]:
        """The mean over units of each seed."""
        return list(self.numbers.mean(axis=0).tolist())

    def tally(self, margin: float) -> tuple[int, int, int]:
        """Count the units that are better, as good within the margin, and worse; of one seed."""
        numbers = self.numbers.mean(axis=1)
        better, worse = int((numbers > margin).sum()), int((numbers < -margin).sum())
        return better, len(numbers) - better - worse, worse


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


class Part(NamedTuple):
    """A check, the numbers that it is judged by, and how strictly.

    point:      whether by the numbers themselves, because they have no interval
    margin:     the check's, or none in print, where equal figures tie
    confidence: of the intervals that speak against a claim, after Bonferroni's correction
    """

    check: Check
    quantities: Sequence[Quantity]
    point: bool
    margin: float
    confidence: float


Rule = Callable[[Part], Outcome]


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


# --- over cells ---------------------------------------------------------------------------------


def each(part: Part) -> Outcome:
    """Every number is positive; with a margin, none is below it.

    Numbers without intervals support a claim where none is worse and, without a margin, one is
    better. `spare` units of each metric may be worse.
    """
    if not part.point:
        return _intervals(part)
    counts = [quantity.tally(part.margin) for quantity in part.quantities]
    better, tied, worse = map(sum, zip(*counts, strict=True))
    equal = f"within {_percent(part.margin)}" if part.margin else "tied"
    detail = f"{better} better, {tied} {equal}, {worse} worse"
    if _exceed([q.metric for q in part.quantities if q.mean < -part.margin], part.check):
        is_mixed = better or (part.margin and tied)
        return NOT_SUPPORTED, f"{'mixed' if is_mixed else 'contradicted'}, {detail}"
    return SUPPORTED if better or part.check.margin else UNDECIDED, detail


def within(part: Part) -> Outcome:
    """Every number lies within the margin of zero, on both sides."""
    if not part.point:
        return _intervals(part, part.check.margin)
    beyond = sum(abs(quantity.mean) > part.check.margin for quantity in part.quantities)
    detail = (
        f"{len(part.quantities) - beyond} within {_percent(part.check.margin)}, {beyond} beyond"
    )
    return NOT_SUPPORTED if beyond else SUPPORTED, detail


def average(part: Part) -> Outcome:
    """The mean over units is positive in every metric; without intervals, by a sign test."""
    if not part.point:
        return _intervals(part)
    details, found = [], []
    for quantity in part.quantities:
        test = sign_test(quantity.numbers.mean(axis=1) + part.margin)
        found.append(test)
        counts = f"{test.wins} better, {test.ties} tied, {test.losses} worse"
        details.append(f"{quantity.name} {counts} (sign test p {format_p(test.p)})")
    detail = "; ".join(details)
    if any(test.losses > test.wins and test.p < 1 - part.confidence for test in found):
        return NOT_SUPPORTED, detail
    return SUPPORTED if all(test.p < ALPHA for test in found) else UNDECIDED, detail


def mostly(part: Part) -> Outcome:
    """More units are better than worse in every metric; with seeds, as `average`.

    With a margin, units within it count for neither, and as many may be worse as better.
    """
    if not part.point:
        return average(part)
    details, short = [], 0
    for quantity in part.quantities:
        better, tied, worse = quantity.tally(part.margin)
        short += better < worse or (better == worse and not part.check.margin)
        details.append(f"{quantity.name} {better} better, {tied} tied, {worse} worse")
    return NOT_SUPPORTED if short else SUPPORTED, "; ".join(details)


def _intervals(part: Part, ceiling: float = math.inf) -> Outcome:
    """Judge each quantity's mean over units by its interval over seeds.

    Supported where every 95% interval lies between minus the margin and the ceiling: all must, so
    none needs a correction. Not supported where one lies outside at 95% over the claim's
    quantities together: one suffices, so Bonferroni's correction.
    """
    floor = -part.check.margin
    details, failing, outside = [], [], []
    for quantity in part.quantities:
        summary = summarise(quantity.by_seed)
        low, high = summary.interval or (-math.inf, math.inf)
        joint = summarise(quantity.by_seed, part.confidence).interval or (-math.inf, math.inf)
        if low <= floor or ceiling <= high:
            failing.append(quantity.metric)
        if joint[1] < floor or joint[0] > ceiling:
            outside.append(quantity.metric)
        details.append(f"{quantity.name} {summary.mean:+.3g} [{low:+.3g}, {high:+.3g}]")
    above = len(details) - len(failing)
    if len(details) > len(PAPER):  # too many to list
        rest = len(failing) - len(outside)
        counts = f"{above} above, {len(outside)} below, {rest} across {floor + 0.0:g}"
        if ceiling < math.inf:
            counts = f"{above} within {_percent(ceiling)}, {len(outside)} beyond, {rest} across"
        details = [f"{counts} of {len(details)}"]
    detail = ("mixed, " if above and outside else "") + "; ".join(details)
    if _exceed(outside, part.check):
        return NOT_SUPPORTED, detail
    return UNDECIDED if _exceed(failing, part.check) else SUPPORTED, detail


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _exceed(failing: Sequence[str], check: Check) -> bool:
    """Whether more units of a metric fail than may."""
    return any(failing.count(metric) > check.spare for metric in failing)


# --- over latent sizes and seeds ----------------------------------------------------------------


def turns(part: Part) -> Outcome:
    """In every metric and data set, at least one step to a larger z makes the value worse.

    With seeds: a step's interval lies below zero, after Bonferroni's correction over the steps of
    the curve. Not supported where every step's 95% interval of a curve lies above zero.
    """
    curves = _by_curve(part.quantities)
    turned, monotone = 0, 0
    for steps in curves.values():
        if part.point:
            worse = any(step.mean < 0 for step in steps)
            turned, monotone = turned + worse, monotone + (not worse)
            continue
        joint = [summarise(step.by_seed, 1 - ALPHA / len(steps)).interval for step in steps]
        alone = [summarise(step.by_seed).interval for step in steps]
        turned += any(interval is not None and interval[1] < 0 for interval in joint)
        monotone += all(interval is not None and interval[0] > 0 for interval in alone)
    rest = len(curves) - turned - monotone
    detail = f"{turned} curves turn, {monotone} do not, {rest} are open"
    if monotone:
        return NOT_SUPPORTED, detail
    return UNDECIDED if rest else SUPPORTED, detail


def growth(part: Part) -> Outcome:
    """What MVAE adds grows with z no faster than the limit: an exponent fitted per data set."""
    verdicts: set[str] = set()
    alike: dict[str, list[str]] = {}
    for (metric, dataset), steps in _by_curve(part.quantities).items():
        verdict, detail = _exponent(part.check.limit, steps)
        verdicts.add(verdict)
        alike.setdefault(f"{describe(metric).title} {detail}", []).append(dataset)
    detail = "; ".join(f"{detail} on {', '.join(datasets)}" for detail, datasets in alike.items())
    for verdict in (NOT_SUPPORTED, UNDECIDED):
        if verdict in verdicts:
            return verdict, detail
    return SUPPORTED, detail


def _exponent(limit: float, steps: Sequence[Quantity]) -> Outcome:
    """Judge one curve of added cost by the 95% interval of its exponent."""
    added = sorted((step.cell[1], step.mean) for step in steps)
    free = [str(z) for z, cost in added if cost <= 0]
    if free:
        return UNDECIDED, f"has nothing added at z={', '.join(free)}"
    if len(added) < 3:
        return UNDECIDED, "needs three latent sizes"
    fit = scipy.stats.linregress(*np.log(added).T)
    wide = float(fit.stderr) * scipy.stats.t.ppf(1 - ALPHA / 2, len(added) - 2)
    low, high = fit.slope - wide, fit.slope + wide
    detail = f"grows as z^{fit.slope:.2f} [{low:.2f}, {high:.2f}]"
    if high <= limit:
        return SUPPORTED, detail
    return NOT_SUPPORTED if low > limit else UNDECIDED, detail


def spread(part: Part) -> Outcome:
    """Every difference between the models exceeds its standard deviation over seeds."""
    if part.point:
        return UNDECIDED, "one seed has no spread"
    summaries = [summarise(quantity.by_seed) for quantity in part.quantities]
    larger = sum(abs(summary.mean) > (summary.sd or 0.0) for summary in summaries)
    detail = f"{larger} of {len(summaries)} differences exceed their standard deviation over seeds"
    return SUPPORTED if larger == len(summaries) else NOT_SUPPORTED, detail


def _by_curve(quantities: Sequence[Quantity]) -> dict[tuple[str, str], list[Quantity]]:
    curves: dict[tuple[str, str], list[Quantity]] = {}
    for quantity in quantities:
        curves.setdefault((quantity.metric, quantity.cell[0]), []).append(quantity)
    return curves
