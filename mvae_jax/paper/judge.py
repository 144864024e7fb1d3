"""The verdict of a body of evidence on a claim."""

from collections.abc import Sequence
from typing import NamedTuple

from mvae_jax.paper.claims import CLAIMS
from mvae_jax.paper.evidence import Evidence, measure
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
    parts = [Part(check, measure(check, evidence), evidence) for check in claim.checks]
    measured = [part for part in parts if part.quantities]
    if not measured:
        return Verdict(UNDECIDED, 0, "", _nothing(claim, evidence))
    confidence = 1 - ALPHA / sum(len(part.quantities) for part in parts)
    outcomes = [part.judge(confidence) for part in measured]
    verdicts = {outcome.verdict for outcome in outcomes}
    verdict = UNDECIDED
    if NOT_SUPPORTED in verdicts:
        verdict = NOT_SUPPORTED
    elif verdicts == {SUPPORTED} and len(measured) == len(parts) and not claim.untested:
        verdict = SUPPORTED
    details = [outcome.detail for outcome in outcomes if outcome.detail]
    if undefined := sum(part.undefined for part in parts):
        details.append(f"{undefined} undefined")
    found, named = sum(part.found for part in parts), sum(part.named for part in parts)
    lacking = [f"{found} of {named} there"] * (found + undefined < named)
    lacking += ["a part is not tested"] * bool(claim.untested)
    seeds = min((part.seeds for part in measured if not part.is_point), default=0)
    return Verdict(verdict, seeds, "; ".join(details), "; ".join(lacking))


class Part(NamedTuple):
    """One check of a claim, and what of it the evidence has."""

    check: Check
    quantities: Sequence[Quantity]
    evidence: Evidence

    @property
    def is_point(self) -> bool:
        """Whether the numbers have no interval: published, or the same for all seeds."""
        return self.evidence.published or all(quantity.per_run for quantity in self.quantities)

    @property
    def seeds(self) -> int:
        """The number of seeds that every quantity has."""
        return min(quantity.numbers.shape[1] for quantity in self.quantities)

    @property
    def named(self) -> int:
        """How many numbers the check is of."""
        return len(self.check.metrics) * len(self.check.units) * len(self.check.of)

    @property
    def found(self) -> int:
        """How many of them there are."""
        return sum(len(quantity.numbers) for quantity in self.quantities)

    @property
    def undefined(self) -> int:
        """How many of them cannot be, because a figure behind them is undefined."""
        return len(self.check.of) * sum(
            not self.evidence.undefined.isdisjoint((metric, cell) for cell in unit.all)
            for metric in self.check.metrics
            for unit in self.check.units
        )

    @property
    def margin(self) -> float:
        """The check's margin; none for one cell's gain in print, where equal figures tie."""
        check, quantities = self.check, self.quantities
        in_print = self.evidence.published and not any(of.per_run for of in quantities)
        of_cells = check.of == (GAIN,) and all(len(unit.cells) == 1 for unit in check.units)
        return 0.0 if in_print and of_cells and check.rule is not within else check.margin

    def judge(self, confidence: float) -> Outcome:
        """Judge by the rule; a part of the cells supports nothing, nor speaks of an average."""
        alone = not self.is_point and self.seeds < 2
        standard = Standard(self.is_point or alone, self.margin, confidence)
        verdict, detail = self.check.rule(self.check, self.quantities, standard)
        is_part = self.found + self.undefined < self.named
        if alone or (is_part and (verdict == SUPPORTED or self.check.rule in (average, mostly))):
            verdict = UNDECIDED
        return Outcome(verdict, f"{self.check.what}: {detail}" if self.check.what else detail)


def _nothing(claim: Claim, evidence: Evidence) -> str:
    """Say why the evidence has no unit of the claim."""
    if evidence.published:
        return NOT_PUBLISHED
    cells = {cell for check in claim.checks for unit in check.units for cell in unit.all}
    metrics = {metric for check in claim.checks for metric in check.metrics}
    there = {cell for metric, cell in evidence.pairs if metric in metrics} & cells
    return f"{len(there)} of {len(cells)} cells there" if there else NO_RUNS


def audit(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on each of CLAIMS."""
    return [judge(claim, evidence) for claim in CLAIMS]
