"""Rules for what is claimed over latent sizes and over seeds, beside those of rules.py."""

from collections.abc import Sequence

import numpy as np
import scipy.stats

from mvae_jax.paper.rules import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Check,
    Outcome,
    Quantity,
    Standard,
)
from mvae_jax.report.metrics import describe
from mvae_jax.report.statistics import ALPHA, summarise


def turns(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """In every metric and data set, at least one step to a larger z makes the value worse.

    With seeds: a step's interval lies below zero, after Bonferroni's correction over the steps of
    the curve. Not supported where every step's 95% interval of a curve lies above zero.
    """
    curves = _by_curve(quantities)
    turned, monotone = 0, 0
    for steps in curves.values():
        if standard.point:
            worse = any(step.numbers.mean() < 0 for step in steps)
            turned, monotone = turned + worse, monotone + (not worse)
            continue
        of_steps = [step.numbers.mean(axis=0).tolist() for step in steps]
        joint = [summarise(of, 1 - ALPHA / len(steps)).interval for of in of_steps]
        alone = [summarise(of).interval for of in of_steps]
        turned += any(interval is not None and interval[1] < 0 for interval in joint)
        monotone += all(interval is not None and interval[0] > 0 for interval in alone)
    rest = len(curves) - turned - monotone
    detail = f"{turned} curves turn, {monotone} do not, {rest} are open"
    if monotone:
        return Outcome(NOT_SUPPORTED, detail)
    return Outcome(UNDECIDED if rest else SUPPORTED, detail)


def growth(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """What MVAE adds grows with z no faster than the limit: an exponent fitted per data set."""
    verdicts: set[str] = set()
    alike: dict[str, list[str]] = {}
    for (metric, dataset), steps in _by_curve(quantities).items():
        verdict, detail = _exponent(check.limit, steps)
        verdicts.add(verdict)
        alike.setdefault(f"{describe(metric).title} {detail}", []).append(dataset)
    detail = "; ".join(f"{detail} on {', '.join(datasets)}" for detail, datasets in alike.items())
    for verdict in (NOT_SUPPORTED, UNDECIDED):
        if verdict in verdicts:
            return Outcome(verdict, detail)
    return Outcome(SUPPORTED, detail)


def _exponent(limit: float, steps: Sequence[Quantity]) -> Outcome:
    """Judge one curve of added cost by the 95% interval of its exponent."""
    added = sorted((step.cell[1], float(step.numbers.mean())) for step in steps)
    free = [str(z) for z, cost in added if cost <= 0]
    if free:
        return Outcome(UNDECIDED, f"has nothing added at z={', '.join(free)}")
    if len(added) < 3:
        return Outcome(UNDECIDED, "needs three latent sizes")
    fit = scipy.stats.linregress(*np.log(added).T)
    wide = float(fit.stderr) * scipy.stats.t.ppf(1 - ALPHA / 2, len(added) - 2)
    low, high = fit.slope - wide, fit.slope + wide
    detail = f"grows as z^{fit.slope:.2f} [{low:.2f}, {high:.2f}]"
    if high <= limit:
        return Outcome(SUPPORTED, detail)
    return Outcome(NOT_SUPPORTED if low > limit else UNDECIDED, detail)


def spread(check: Check, quantities: Sequence[Quantity], standard: Standard) -> Outcome:
    """Every difference between the models exceeds its standard deviation over seeds."""
    if standard.point:
        return Outcome(UNDECIDED, "one seed has no spread")
    summaries = [summarise(quantity.numbers.mean(axis=0).tolist()) for quantity in quantities]
    larger = sum(abs(summary.mean) > (summary.sd or 0.0) for summary in summaries)
    detail = f"{larger} of {len(summaries)} differences exceed their standard deviation over seeds"
    return Outcome(SUPPORTED if larger == len(summaries) else NOT_SUPPORTED, detail)


def _by_curve(quantities: Sequence[Quantity]) -> dict[tuple[str, str], list[Quantity]]:
    curves: dict[tuple[str, str], list[Quantity]] = {}
    for quantity in quantities:
        curves.setdefault((quantity.metric, quantity.cell[0]), []).append(quantity)
    return curves
