"""The verdict of a body of evidence on a claim."""

from collections.abc import Sequence
from typing import NamedTuple

from mvae_jax.paper import rules
from mvae_jax.paper.claims import CLAIMS
from mvae_jax.paper.evidence import Evidence, measure
from mvae_jax.paper.rules import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Check, Claim, Quantity
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
    judged = [_judge(*part, evidence, 1 - ALPHA / number) for part in measured if part[1]]
    verdicts = {verdict for verdict, *_ in judged}
    verdict = UNDECIDED
    if NOT_SUPPORTED in verdicts:
        verdict = NOT_SUPPORTED
    elif verdicts == {SUPPORTED} and len(judged) == len(measured) and not claim.untested:
        verdict = SUPPORTED
    details = [detail for _, detail, _ in judged if detail]
    counts = [_count(*part, evidence) for part in measured]
    found, undefined, named = map(sum, zip(*counts, strict=True))
    details += [f"{undefined} undefined"] * bool(undefined)
    lacking = [f"{found} of {named} there"] * (found + undefined < named)
    lacking += ["a part is not tested"] * bool(claim.untested)
    seeds = min((seeds for _, _, seeds in judged if seeds), default=0)
    return Verdict(verdict, seeds, "; ".join(details), "; ".join(lacking))


def _judge(
    check: Check, quantities: Sequence[Quantity], evidence: Evidence, confidence: float
) -> tuple[str, str, int]:
    """Return a check's verdict, the figures behind it, and its seeds: 0 of numbers without them.

    A part of the cells supports nothing, nor speaks of an average.
    """
    of_network = [quantity.per_run for quantity in quantities]
    is_point = evidence.published or all(of_network)
    seeds = 0 if is_point else min(quantity.numbers.shape[1] for quantity in quantities)
    # In print, equal figures of one cell tie.
    ties = evidence.published and check.rule is not rules.within and not any(of_network)
    ties &= check.of == (rules.GAIN,) and all(len(unit.cells) == 1 for unit in check.units)
    margin = 0.0 if ties else check.margin
    part = rules.Part(check, quantities, is_point or seeds < 2, margin, confidence)
    verdict, detail = check.rule(part)
    found, undefined, named = _count(check, quantities, evidence)
    of_some = found + undefined < named
    if seeds == 1 or (
        of_some and (verdict == SUPPORTED or check.rule in (rules.average, rules.mostly))
    ):
        verdict = UNDECIDED
    return verdict, f"{check.what}: {detail}" if check.what else detail, seeds


def _count(
    check: Check, quantities: Sequence[Quantity], evidence: Evidence
) -> tuple[int, int, int]:
    """Return how many of a check's numbers there are, cannot be, and are named."""
    undefined = sum(
        not evidence.undefined.isdisjoint((metric, cell) for cell in unit.all)
        for metric in check.metrics
        for unit in check.units
    )
    named = len(check.metrics) * len(check.units)
    models = len(check.of)
    return sum(len(of.numbers) for of in quantities), models * undefined, models * named


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
