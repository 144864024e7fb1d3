"""In what the runs of a table were not trained alike, besides their configurations.

A setting of JAX that differs forbids a comparison (`pairs.unlike`). Other code, another device and
other versions are told under the tables. Of an older run the code is not known.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations, product

from mvae_jax.report.cells import Cell, Run, Setting
from mvae_jax.report.formats import Grid
from mvae_jax.store import origins
from mvae_jax.store.origins import Origin

Notes = dict[Setting, dict[str, list[str]]]  # by table, in what runs differ -> where they do


def notes(cells: Mapping[Cell, Run], baseline: str) -> Notes:
    """Return what differs within a cell and between it and the baseline's, by table."""
    found: Notes = {}
    for cell, run in cells.items():
        if run.missing:
            continue
        where = f"{cell.setting.dataset}, z={cell.latent_size}"
        differences = {_apart(combinations(run.origins, 2)): f"{where}, the seeds of {cell.model}"}
        base = cells.get(cell._replace(model=baseline))
        if cell.model != baseline and base is not None and not base.missing:
            between = _apart(product(base.origins, run.origins))
            if between != _apart(combinations(base.origins, 2)):
                differences.setdefault(between, f"{where}, {baseline} and {cell.model}")
        for words in filter(None, differences):
            found.setdefault(cell.setting, {}).setdefault(words, []).append(differences[words])
    return found


def noted(found: Notes, grid: Grid) -> Grid:
    """Return a table with a note of what the runs that it shows were not trained alike in."""
    unlike: dict[str, list[str]] = {}
    for setting in grid.settings:
        for words, where in found.get(setting, {}).items():
            unlike.setdefault(words, []).extend(where)
    lines = [f"Not trained alike, in {words}: {'; '.join(of)}." for words, of in unlike.items()]
    return grid._replace(notes=[*grid.notes, *lines])


def _apart(pairs: Iterable[tuple[Origin, Origin]]) -> str:
    words = (word for pair in pairs for kind in origins.differ(*pair) for word in kind)
    return ", ".join(dict.fromkeys(words))
