"""The audit of the paper's claims: every claim with its verdicts, and the tables that show them.

Three bodies of evidence answer: the paper's tables as printed, the same with their row labels
corrected, and our runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mvae_jax.paper import constants, reference
from mvae_jax.paper.cells import TABLED, PaperCell
from mvae_jax.paper.claims import CLAIMS, MISLABELLED_NOTE, NOTES
from mvae_jax.paper.evidence import ours
from mvae_jax.paper.judge import NOT_TESTED, Verdict, audit
from mvae_jax.paper.rules import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Claim
from mvae_jax.paper.tables import grid
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores

WORDS = {SUPPORTED: "yes", NOT_SUPPORTED: "no", UNDECIDED: "open", NOT_TESTED: "-"}
MISLABELLED = "*"


class Finding(NamedTuple):
    """One claim, and what each body of evidence says of it, by the body's title."""

    claim: Claim
    verdicts: dict[str, Verdict]


def findings(found: Scores) -> list[Finding]:
    """Return every claim with its verdicts: as printed, with labels corrected, on our runs."""
    verdicts = constants.verdicts() | {body.title: audit(body) for body in ours(found)}
    return [
        Finding(claim, {title: of_claims[i] for title, of_claims in verdicts.items()})
        for i, claim in enumerate(CLAIMS)
    ]


def is_mislabelled(claim: Claim) -> bool:
    """Whether the printed rows that a claim names hold other latent sizes than it names.

    A claim over all latent sizes alike is the same in whatever order the rows are.
    """
    labels = {dataset: reference.row_labels(dataset) for dataset in TABLED}

    def held(cells: Sequence[PaperCell]) -> frozenset[PaperCell]:
        return frozenset((of, labels.get(of, {}).get(z, z)) for of, z in cells)

    return any(
        {(frozenset(unit.cells), frozenset(unit.less)) for unit in check.units}
        != {(held(unit.cells), held(unit.less)) for unit in check.units}
        for check in claim.checks
    )


def table(found: Sequence[Finding]) -> Grid:
    """Return one row per claim, with the figures of each body of evidence."""
    titles = list(found[0].verdicts)
    rows = [
        (
            _number(claim),
            *(claim.where, claim.says, tested_by(claim)),
            *(verdict.text for verdict in verdicts.values()),
        )
        for claim, verdicts in found
    ]
    claims = grid("claims", rows, more=titles)
    notes, widths = (
        [*NOTES[:2], MISLABELLED_NOTE, *NOTES[2:]],
        [*claims.widths, *[32] * len(titles)],
    )
    return claims._replace(notes=notes, widths=widths)


def screen(found: Sequence[Finding]) -> Grid:
    """Return one line per claim, in the paper's order: the verdicts alone, in a word each."""
    _, _, *of_ours = found[0].verdicts
    rows, above = [], ""
    for claim, verdicts in found:
        section = claim.where if claim.where != above else ""
        above = claim.where
        words = (WORDS[verdict.verdict] for verdict in verdicts.values())
        rows.append((_number(claim), section, claim.says, *words))
    return grid("screen", rows, more=of_ours)._replace(notes=[MISLABELLED_NOTE])


def tested_by(claim: Claim) -> str:
    """Say what a claim is tested by, and what of it is not tested."""
    untested = f"not tested: {claim.untested}" if claim.untested else ""
    return "; ".join(filter(None, (claim.tested_by, untested)))


def _number(claim: Claim) -> str:
    return f"{claim.number}{MISLABELLED if is_mislabelled(claim) else ''}"
