"""What a figure shows: the runs of one table, and which of their files stand side by side."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from mvae_jax.report.cells import Cell, Run
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.frame import Scores
from mvae_jax.report.pairs import models_of

LATENT_SIZE = 32  # the size of pictures that is preferred
Point = Callable[[str, Cell], float | None]  # the published value of a metric in a cell


class Table(NamedTuple):
    """The runs of one table, in the order in which figures show them."""

    cells: dict[Cell, Run]
    scores: Scores
    compared: Comparisons
    point: Point

    @property
    def models(self) -> list[str]:
        """The models in the order in which they are shown."""
        return models_of(self.cells)


def side_by_side(cells: Mapping[Cell, Run], folder: str) -> tuple[int, dict[str, tuple[Run, Path]]]:
    """Return a latent size, and by model the run and its first seed's file in `folder` there.

    Of the sizes at which most models have such a file, it is the one nearest to LATENT_SIZE.
    """
    found: dict[int, dict[str, tuple[Run, Path]]] = {}
    for cell, run in cells.items():
        if run.first is not None:
            path = run.path / folder / f"{run.replicates[run.first]}.npz"
            if path.is_file():
                found.setdefault(cell.latent_size, {})[cell.model] = (run, path)
    z = min(found, key=lambda z: (-len(found[z]), abs(math.log2(z / LATENT_SIZE))), default=0)
    return z, found.get(z, {})
