"""What the tables of this room are called, and their columns and notes, which tables.toml holds."""

import tomllib
from collections.abc import Collection, Sequence
from importlib import resources

from mvae_jax.report.cells import Setting
from mvae_jax.report.formats import Grid

_file = tomllib.loads((resources.files(__package__) / "tables.toml").read_text(encoding="utf-8"))


def grid(
    name: str,
    rows: Sequence[Sequence[str]],
    settings: Collection[Setting] = (),
    more: Sequence[str] = (),
    **values: object,
) -> Grid:
    """Return a table of tables.toml with these rows.

    settings: of the runs whose figures it shows; more: further columns
    values:   what its title and notes name in braces
    """
    found = _file[name]
    notes = [note.format(**values) for note in found.get("notes", ())]
    headers, title = (*found["headers"], *more), found["title"].format(**values)
    return Grid(title, headers, rows, (), notes, found.get("widths", ()), settings)
