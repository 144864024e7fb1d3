"""The scores of a report: every value in one frame, and the means over seeds."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import pandas as pd
from jaxtyping import Float

from mvae_jax.evaluate.record import Metric
from mvae_jax.report.cells import SCORE_AGAIN, Cell, Run, Setting, left_out, listed
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.problems import Problem
from mvae_jax.report.statistics import Summary, summarise_groups

# The columns of `Scores.values`.
VALUES = {"cell": "int32", "metric": "category", "split": "category"}
VALUES |= {"seed": "int64", "value": "float64"}
NO_VALUES = pd.DataFrame(columns=[*VALUES]).astype(VALUES)


@dataclass(frozen=True)
class Scores:
    """Everything that was found below the paths, by data set, latent size and model.

    values: one row per value: cell (its position among the cells), metric, split, seed, value;
            sorted by cell, metric and seed
    """

    values: pd.DataFrame
    cells: dict[Cell, Run]
    problems: list[Problem]

    def lacking(self) -> list[Problem]:
        """Return the problems of reading, and of each cell what its means lack."""
        of_cells = [
            Problem(f"{cell.setting}, {cell}", reason)
            for cell, run in self.cells.items()
            for reason in (*left_out(run), *([run.missing] if run.missing else self.partial(cell)))
        ]
        return [*self.problems, *of_cells]

    def tables(self) -> dict[Setting, dict[Cell, Run]]:
        """Return the cells of each table."""
        by_setting = groupby(self.cells.items(), lambda item: item[0].setting)
        return {setting: dict(items) for setting, items in by_setting}

    def describe(self, metric: str) -> Metric:
        """Return how a metric is shown, known, described by a run, or neither."""
        return self._described.get(metric) or describe(metric)

    @cached_property
    def _described(self) -> dict[str, Metric]:
        return {k: metric for run in self.cells.values() for k, metric in run.described.items()}

    @cached_property
    def metrics(self) -> list[str]:
        """The names of the metrics of which there is any value, sorted."""
        return sorted(self._means.index.unique("metric"))

    def of(self, cell: Cell, metric: str) -> dict[int, float]:
        """Return seed -> value of one metric in one cell, without the seeds that failed."""
        rows = self.rows(cell)
        rows = rows[rows.metric == metric]
        return dict(zip(rows.seed.tolist(), rows.value.tolist(), strict=True))

    def rows(self, cell: Cell) -> pd.DataFrame:
        """Return the rows of `values` of one cell, without the seeds that failed."""
        position = self._positions[cell]
        return self.counted[slice(*np.searchsorted(self.counted.cell, [position, position + 1]))]

    def summary(self, cell: Cell, metric: str) -> Summary | None:
        """Return a metric's mean over the cell's seeds; None where it has none."""
        number = self._number(cell, metric)
        if not number or self.why_missing(cell, metric):
            return None
        n, mean, *rest = self._table[self._positions[cell], :, self._columns[metric]].tolist()
        sd, low, high = rest
        return Summary(int(n), mean, *((sd, (low, high)) if n > 1 else (None, None)))

    def has(self, cell: Cell, metric: str) -> bool:
        """Return whether the cell has any value of the metric."""
        return bool(self._number(cell, metric))

    def why_missing(self, cell: Cell, metric: str) -> str:
        """Return why the metric has no mean in this cell; empty where it has one."""
        run = self.cells[cell]
        if run.missing:
            return run.missing
        number = self._number(cell, metric)
        if number and (describe(metric).per_run or number == len(run.seeds)):
            return ""
        if not number and metric in run.absent:
            return run.absent[metric]
        without = [seed for seed in run.seeds if seed not in self.of(cell, metric)]
        if not without:
            return ""
        return f"{metric} is missing or not finite for seed {listed(without)}; {SCORE_AGAIN}"

    def partial(self, cell: Cell) -> list[str]:
        """Return why each metric is missing that should be there: some seeds have it, or it is one
        of the main ones and nobody said that it could not be computed."""
        absent = self.cells[cell].absent
        due = [m for m in PAPER if m not in absent or self.has(cell, m)]
        due += [m for m in self.metrics if m not in PAPER and self.has(cell, m)]
        return [reason for metric in due if (reason := self.why_missing(cell, metric))]

    def _number(self, cell: Cell, metric: str) -> int:
        """Return how many seeds of the cell have the metric."""
        if metric not in self._columns:
            return 0
        return int(np.nan_to_num(self._table[self._positions[cell], 0, self._columns[metric]]))

    @cached_property
    def places(self) -> pd.DataFrame:
        """A row per cell, in their order: the fields of its setting, model and latent_size."""
        rows = [(*cell.setting, cell.model, cell.latent_size) for cell in self.cells]
        return pd.DataFrame(rows, columns=[*Setting._fields, "model", "latent_size"])

    @cached_property
    def _positions(self) -> dict[Cell, int]:
        return {cell: position for position, cell in enumerate(self.cells)}

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {metric: column for column, metric in enumerate(self.metrics)}

    @cached_property
    def _means(self) -> pd.DataFrame:
        """A row per cell and metric: n, mean, sd, and the interval of the mean, low and high."""
        return summarise_groups(self.counted.groupby(["cell", "metric"], observed=True).value)

    @cached_property
    def _table(self) -> Float[np.ndarray, "cells 5 metrics"]:
        """The columns of `_means`, NaN where a cell has no value of a metric."""
        table = np.full((len(self.cells), 5, len(self.metrics)), np.nan)
        columns = self._means.index.get_level_values("metric").map(self._columns)
        table[self._means.index.get_level_values("cell"), :, columns] = self._means
        return table

    def summaries(self) -> pd.DataFrame:
        """Return a row per cell and metric: cell, metric, seeds, mean, sd, low95, high95, missing.

        Where some of the seeds lack the metric it says so, and there are no figures.
        """
        found = self._means.reset_index().astype({"metric": object})
        found = found.rename(columns={"n": "seeds", "low": "low95", "high": "high95"})
        cells = [*self.cells]
        places = zip(found.cell, found.metric, strict=True)
        found["missing"] = [self.why_missing(cells[cell], metric) for cell, metric in places]
        found.loc[found.missing != "", ["mean", "sd", "low95", "high95"]] = np.nan
        return found

    @cached_property
    def counted(self) -> pd.DataFrame:
        """The values without those of seeds that failed for a model of their row."""
        failed = {(i, seed) for i, run in enumerate(self.cells.values()) for seed in run.failed}
        if not failed:
            return self.values
        pairs = pd.MultiIndex.from_frame(self.values[["cell", "seed"]])
        return self.values[~pairs.isin(failed)]
