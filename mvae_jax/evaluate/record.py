"""What a metric is: one record of how it is shown, what it is computed over, and how."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mvae_jax.evaluate.embeddings import Embeddings

ARROWS = {1: " ↑", -1: " ↓", 0: ""}
# By split, the folder that holds the file of a replicate that gives its metrics.
FOLDERS = {"test": "embeddings", "model": "model", "run": "model", "pictures": "pictures"}


class Metric(NamedTuple):
    """One metric.

    name:     in metrics.json, and in Python
    title:    in tables; with the unit, which may be empty, where there is room
    decimals: how many are printed
    better:   1 where higher values are better, -1 where lower ones are, 0 where neither
    compute:  a function of one replicate's Embeddings that returns the value, and raises Absent
              with the reason where they cannot give it; None where a metric is only shown
    settings: the names of what it is computed under, see `settings`
    split:    what it is computed over: the `test` split, the entries of the `model`'s C, the
              `run`'s learned arrays, or the `pictures`
    per_run:  whether it has one value per run, whatever the seed
    """

    name: str
    title: str
    unit: str = ""
    decimals: int = 4
    better: int = 0
    compute: Callable[[Embeddings], float] | None = None
    settings: tuple[str, ...] = ()
    split: str = "test"
    per_run: bool = False

    @property
    def heading(self) -> str:
        """Title and arrow, for the head of a column."""
        return self.title + ARROWS[self.better]

    @property
    def label(self) -> str:
        """Title, unit and arrow, for a row of its own."""
        unit = f" ({self.unit})" if self.unit else ""
        return self.title + unit + ARROWS[self.better]


class Curve(NamedTuple):
    """A curve of metrics.json, computed with a metric; `compute` returns the numbers by axis."""

    name: str
    metric: str
    compute: Callable[[Embeddings], Mapping[str, np.ndarray]]
    settings: tuple[str, ...] = ()
