"""The committed constants are what the code computes."""

import paper_constants
import pytest

from mvae_jax.paper import constants
from mvae_jax.paper.evidence import published
from mvae_jax.paper.judge import audit


def test_the_committed_verdicts_are_those_on_the_tables():
    bodies = [published(corrected=corrected) for corrected in (False, True)]
    assert constants.verdicts() == {body.title: audit(body) for body in bodies}


@pytest.mark.parametrize("seeds", paper_constants.SEEDS)
def test_the_committed_power_is_about_that_of_fewer_sweeps(seeds):
    """Within four standard errors of a share over 100 sweeps' cells that all differ."""
    row = next(row for row in constants.power_table().rows if row[0] == str(seeds))
    for effect, shown in zip(
        paper_constants.EFFECTS, row[-len(paper_constants.EFFECTS) :], strict=True
    ):
        share = paper_constants.simulate(
            seeds, effect, len(paper_constants.CELLS), sweeps=100
        ).mean()
        assert float(shown.rstrip("%")) / 100 == pytest.approx(share, abs=0.04)


@pytest.mark.slow
def test_the_committed_constants_are_those_of_the_command():
    """As a numpy of the same generators draws them."""
    assert constants.FILE.read_text(encoding="utf-8") == paper_constants.compute()
