"""In what the runs of a table were not trained alike, besides their configurations.

A setting of JAX that differs forbids a comparison (`comparisons.unlike`). Other code, another
device and other versions are told under the tables. Of an older run the code is not known.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations, product

from mvae_jax.report.cells import Cell, Scores
from mvae_jax.report.formats import Grid
from mvae_jax.report.runs import BASELINE, MODEL, Runs
from mvae_jax.store import origins
from mvae_jax.store.origins import Origin


def noted(runs: Runs, grid: Grid) -> Grid:
    """Return a table with a note of what the runs it shows were not trained alike in."""
    unlike: dict[str, list[str]] = {}
    for cell, scores in runs.cells.items():
        if cell.setting in grid.settings and not scores.missing:
            for words, where in _unlike(runs, cell, scores):
                unlike.setdefault(words, []).append(where)
    notes = [f"Not trained alike, in {words}: {'; '.join(of)}." for words, of in unlike.items()]
    return grid._replace(notes=[*grid.notes, *notes])


def settings_apart(one: Scores, other: Scores) -> list[str]:
    """Return the settings of JAX and XLA in which two cells differ, each with its values."""
    pairs = product(one.origins, other.origins)
    return _words(origins.differ(*pair).settings for pair in pairs)


def _unlike(runs: Runs, cell: Cell, scores: Scores) -> Iterator[tuple[str, str]]:
    """Yield what differs within the cell and, of a VAE, from its MVAE; and where that is."""
    where = f"{cell.setting.dataset}, z={cell.latent_size}"
    within = _apart(combinations(scores.origins, 2))
    if within:
        yield within, f"{where}, the seeds of {cell.model}"
    mvae = runs.cells.get(cell._replace(model=MODEL))
    if cell.model == BASELINE and mvae is not None and not mvae.missing:
        between = _apart(product(scores.origins, mvae.origins))
        if between and between != within:
            yield between, f"{where}, {BASELINE} and {MODEL}"


def _apart(pairs: Iterable[tuple[Origin, Origin]]) -> str:
    found = (origins.differ(*pair) for pair in pairs)
    return ", ".join(_words(d.sources + d.settings + d.machine for d in found))


def _words(found: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(word for words in found for word in words))
