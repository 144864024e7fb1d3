"""The committed constants are what the code computes."""

import json

import pytest

from mvae_jax.paper import constants, errata, power
from mvae_jax.paper.evidence import published
from mvae_jax.paper.judge import audit
from mvae_jax.report.formats import Bold


def test_the_committed_verdicts_are_those_on_the_tables():
    bodies = [published(corrected=corrected) for corrected in (False, True)]
    assert constants.load().verdicts == {body.title: audit(body) for body in bodies}


def test_the_committed_errata_are_those_of_the_tables():
    committed, computed = constants.load(), errata.of_tables()
    assert committed.statements == list(errata.STATEMENTS)
    for of_file, grid in zip(committed.errata, computed, strict=True):
        assert of_file.title == grid.title
        assert list(map(list, of_file.rows)) == list(map(list, grid.rows))
        assert list(of_file.notes) == list(grid.notes)


@pytest.mark.parametrize("seeds", power.SEEDS)
def test_the_committed_power_is_about_that_of_fewer_sweeps(seeds):
    """Within four standard errors of a share over 100 sweeps' cells that all differ."""
    row = next(row for row in constants.load().power.rows if row[0] == str(seeds))
    for effect, shown in zip(power.EFFECTS, row[-len(power.EFFECTS) :], strict=True):
        share = power.simulate(seeds, effect, len(power.CELLS), sweeps=100).power
        assert float(shown.rstrip("%")) / 100 == pytest.approx(share, abs=0.04)


def test_a_constant_survives_its_file(tmp_path):
    text = json.dumps(constants.to_json(constants.load()))
    again = constants.from_json(json.loads(text))
    assert again == constants.load()
    bold = [text for row in again.errata[-1].rows for text in row if isinstance(text, Bold)]
    assert bold
    assert all(text[: text.length] in ("supported", "not supported", "undecided") for text in bold)


@pytest.mark.slow
def test_the_committed_constants_are_those_of_the_command():
    """As a numpy of the same generators draws them."""
    text, committed = (
        json.dumps(constants.to_json(of)) for of in (constants.compute(), constants.load())
    )
    assert text == committed
