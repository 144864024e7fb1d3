"""Runs that swept scalars: which tables are of one sweep, and the values behind each."""

from typing import NamedTuple

from mvae_jax.config import SWEPT
from mvae_jax.report.cells import Cell, Run, Setting, swept_in
from mvae_jax.report.frame import Scores

Values = tuple[float, ...]


class Sweep(NamedTuple):
    """The cells that differ in swept scalars, latent size and model alone.

    setting: what they share; its variant is their tag
    fields:  the scalars that differ
    cells:   by the values of these, latent size and model, in this order
    """

    setting: Setting
    fields: tuple[str, ...]
    cells: dict[tuple[Values, int, str], Cell]


def sweeps(found: Scores) -> list[Sweep]:
    """Return every sweep of at least two values."""
    together: dict[Setting, dict[Cell, Run]] = {}
    for cell, run in found.cells.items():
        if swept_in(cell, run):
            shared = cell.setting._replace(variant=run.config.get("tag", ""))
            together.setdefault(shared, {})[cell] = run
    result = []
    for setting, cells in together.items():
        known = [field for field in SWEPT if all(field in run.config for run in cells.values())]
        fields = tuple(f for f in known if len({run.config[f] for run in cells.values()}) > 1)
        keys = {
            (tuple(float(run.config[f]) for f in fields), cell.latent_size, cell.model): cell
            for cell, run in cells.items()
        }
        if fields and len(keys) == len(cells):
            result.append(Sweep(setting, fields, dict(sorted(keys.items()))))
    return result
