"""What is computed of the paper alone, without runs: once, by
`python -m mvae_jax.paper.constants`.

The verdicts on the printed tables, the power of a sweep of the paper's cells, and the errata are
kept in constants.json beside this file. Reports read them from there.
"""

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax.paper import errata, power
from mvae_jax.paper.errata import Erratum
from mvae_jax.paper.evidence import published
from mvae_jax.paper.judge import Verdict, audit
from mvae_jax.report.formats import Bold, Grid
from mvae_jax.store import files

FILE = "constants.json"


class Constants(NamedTuple):
    """What the file holds.

    verdicts: on the tables as printed and corrected, by their titles, in the order of CLAIMS
    power:    how often a cell of a sweep turns bold
    errata:   what is wrong in the printed tables, as tables; statements: what else is wrong
    """

    verdicts: dict[str, list[Verdict]]
    power: Grid
    errata: list[Grid]
    statements: list[Erratum]


def compute() -> Constants:
    """Compute everything, in about a minute."""
    bodies = [published(corrected=corrected) for corrected in (False, True)]
    verdicts = {body.title: audit(body) for body in bodies}
    return Constants(verdicts, power.table(), errata.of_tables(), list(errata.STATEMENTS))


@functools.cache
def load() -> Constants:
    """Read the file."""
    text = (resources.files(__package__) / FILE).read_text(encoding="utf-8")
    return from_json(json.loads(text))


def to_json(constants: Constants) -> dict[str, Any]:
    """Return the constants as JSON's types; text with a bold beginning is a pair."""
    return {
        "verdicts": {title: list(map(list, of)) for title, of in constants.verdicts.items()},
        "power": _of_grid(constants.power),
        "errata": [_of_grid(grid) for grid in constants.errata],
        "statements": list(map(list, constants.statements)),
    }


def from_json(found: dict[str, Any]) -> Constants:
    """Return what `to_json` was given."""
    return Constants(
        {title: [Verdict(*of) for of in verdicts] for title, verdicts in found["verdicts"].items()},
        _grid(found["power"]),
        [_grid(grid) for grid in found["errata"]],
        [Erratum(*of) for of in found["statements"]],
    )


def _of_grid(grid: Grid) -> dict[str, Any]:
    rows = [
        [[t[: t.length], t[t.length :]] if isinstance(t, Bold) else t for t in row]
        for row in grid.rows
    ]
    return grid._asdict() | {"rows": rows, "settings": []}


def _grid(found: dict[str, Any]) -> Grid:
    rows = [
        [text if isinstance(text, str) else Bold(*text) for text in row] for row in found["rows"]
    ]
    groups = [(title, span) for title, span in found["groups"]]
    return Grid(**(found | {"rows": rows, "groups": groups}))


def main() -> None:
    """Compute the file beside this one."""
    path = Path(__file__).parent / FILE
    text = json.dumps(to_json(compute()), indent=1, ensure_ascii=False)
    files.write_text(path, text + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
