"""The verdict of a body of evidence on a claim."""

from collections.abc import Sequence
from typing import NamedTuple

from mvae_jax.paper.claims import CLAIMS
from mvae_jax.paper.evidence import Evidence
from mvae_jax.paper.rules import (
    GAIN,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Check,
    Claim,
    Outcome,
    Quantity,
    Standard,
    average,
    measure,
    mostly,
    within,
)
from mvae_jax.report.formats import Bold
from mvae_jax.report.statistics import ALPHA

NO_RUNS, NOT_PUBLISHED = "no such runs", "not published"
NOT_TESTED = "not tested"


class Verdict(NamedTuple):
    """What one body of evidence says of a claim.

    detail:  the figures behind it; empty where there are none
    lacking: how much of the evidence exists, or why nothing is tested; empty where all exists
    """

    verdict: str
    seeds: int
    detail: str
    lacking: str = ""

    @property
    def text(self) -> Bold:
        """The verdict, and what it rests on."""
        at = ""
        if self.verdict == UNDECIDED and self.seeds:
            at = f" at {self.seeds} seed" + "s" * (self.seeds > 1)
        behind = f"{self.detail} ({self.lacking})" if self.lacking else self.detail
        return Bold(f"{self.verdict}{at}", f": {behind if self.detail else self.lacking}")


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """Return what the evidence says of the claim.

    Not supported where one check is not; supported where every check is, on all of its cells, and
    no part of the claim is untested.
    """
    if not claim.checks:
        return Verdict(NOT_TESTED, 0, "", claim.untested)
    measured = [(check, measure(check, evidence)) for check in claim.checks]
    number = sum(len(quantities) for _, quantities in measured)
    if not number:
        return Verdict(UNDECIDED, 0, "", _nothing(claim, evidence))
    outcomes = [
        _judge_check(check, quantities, evidence, 1 - ALPHA / number)
        for check, quantities in measured
        if quantities
    ]
    verdicts = [outcome.verdict for outcome in outcomes]
    verdict = UNDECIDED
    if NOT_SUPPORTED in verdicts:
        verdict = NOT_SUPPORTED
    elif set(verdicts) == {SUPPORTED} and len(outcomes) == len(claim.checks) and not claim.untested:
        verdict = SUPPORTED
    seeds = [_seeds(of) for _, of in measured if of and not _is_point(of, evidence)]
    details = [outcome.detail for outcome in outcomes if outcome.detail]
    there = sum(_found(quantities) for _, quantities in measured)
    undefined = sum(_undefined(check, evidence) for check in claim.checks)
    named = sum(map(_named, claim.checks))
    details += [f"{undefined} undefined"] * bool(undefined)
    lacking = [f"{there} of {named} there"] * (there + undefined < named)
    lacking += ["a part is not tested"] * bool(claim.untested)
    return Verdict(verdict, min(seeds, default=0), "; ".join(details), "; ".join(lacking))


def _judge_check(
    check: Check, quantities: Sequence[Quantity], evidence: Evidence, confidence: float
) -> Outcome:
    """Judge one check; a part of its cells supports nothing, nor does it speak of an average."""
    point = _is_point(quantities, evidence)
    alone = not point and _seeds(quantities) < 2
    standard = Standard(point or alone, _margin(check, quantities, evidence), confidence)
    verdict, detail = check.rule(check, quantities, standard)
    is_part = _found(quantities) + _undefined(check, evidence) < _named(check)
    if alone or (is_part and (verdict == SUPPORTED or check.rule in (average, mostly))):
        verdict = UNDECIDED
    return Outcome(verdict, f"{check.what}: {detail}" if check.what else detail)


def _margin(check: Check, quantities: Sequence[Quantity], evidence: Evidence) -> float:
    """Return the check's margin; none for one cell's gain in print, where equal figures tie."""
    in_print = evidence.published and not any(quantity.per_run for quantity in quantities)
    of_cells = check.of == (GAIN,) and all(len(unit.cells) == 1 for unit in check.units)
    return 0.0 if in_print and of_cells and check.rule is not within else check.margin


def _is_point(quantities: Sequence[Quantity], evidence: Evidence) -> bool:
    """Whether numbers have no interval: published, or the same for all seeds."""
    return evidence.published or all(quantity.per_run for quantity in quantities)


def _seeds(quantities: Sequence[Quantity]) -> int:
    return min(quantity.numbers.shape[1] for quantity in quantities)


def _found(quantities: Sequence[Quantity]) -> int:
    return sum(len(quantity.numbers) for quantity in quantities)


def _named(check: Check) -> int:
    return len(check.metrics) * len(check.units) * len(check.of)


def _undefined(check: Check, evidence: Evidence) -> int:
    """Count the numbers that a check cannot have, because a figure behind them is undefined."""
    return len(check.of) * sum(
        not evidence.undefined.isdisjoint((metric, cell) for cell in (*unit.cells, *unit.less))
        for metric in check.metrics
        for unit in check.units
    )


def _nothing(claim: Claim, evidence: Evidence) -> str:
    """Say why the evidence has no unit of the claim."""
    if evidence.published:
        return NOT_PUBLISHED
    units = [unit for check in claim.checks for unit in check.units]
    cells = {cell for unit in units for cell in (*unit.cells, *unit.less)}
    metrics = {metric for check in claim.checks for metric in check.metrics}
    there = {cell for metric, cell in evidence.pairs if metric in metrics} & cells
    return f"{len(there)} of {len(cells)} cells there" if there else NO_RUNS


def audit(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on each of CLAIMS."""
    return [judge(claim, evidence) for claim in CLAIMS]
