"""The scores of a report: every value in one frame, and the means over seeds."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import pandas as pd

from mvae_jax.evaluate.record import Metric
from mvae_jax.report.cells import SCORE_AGAIN, Cell, Run, Setting, left_out, listed
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.problems import Problem
from mvae_jax.report.statistics import Summary, summarise_groups


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
        """The names of the metrics of which there is any value."""
        return list(self._summaries.metrics)

    def of(self, cell: Cell, metric: str) -> dict[int, float]:
        """Return seed -> value of one metric in one cell, without the seeds that failed."""
        if metric not in self.values.metric.cat.categories:
            return {}
        key = self._key(self._positions[cell], self.values.metric.cat.categories.get_loc(metric))
        rows = slice(*np.searchsorted(self._keys, np.array([key, key + 1])))
        failed = self.cells[cell].failed
        pairs = zip(self._seeds[rows].tolist(), self._numbers[rows].tolist(), strict=True)
        return {seed: value for seed, value in pairs if seed not in failed}

    def summary(self, cell: Cell, metric: str) -> Summary | None:
        """Return a metric's mean over the cell's seeds; None where it has none."""
        number = self._number(cell, metric)
        if not number or self.why_missing(cell, metric):
            return None
        return self._summaries.of(self._positions[cell], metric)

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
        return self._summaries.number(self._positions[cell], metric)

    @cached_property
    def _positions(self) -> dict[Cell, int]:
        return {cell: position for position, cell in enumerate(self.cells)}

    def _key(self, cell: np.ndarray | int, metric: np.ndarray | int) -> np.ndarray | int:
        return cell * len(self.values.metric.cat.categories) + metric

    @cached_property
    def _keys(self) -> np.ndarray:
        """Of each row a number that grows, because the rows are sorted by cell and metric."""
        codes = self.values.metric.cat.codes.to_numpy(np.int64)
        return np.asarray(self._key(self.values.cell.to_numpy(np.int64), codes))

    @cached_property
    def _seeds(self) -> np.ndarray:
        return self.values.seed.to_numpy()

    @cached_property
    def _numbers(self) -> np.ndarray:
        return self.values.value.to_numpy()

    @cached_property
    def _summaries(self) -> "Summaries":
        return Summaries(self.counted, len(self.cells))

    def summaries(self) -> pd.DataFrame:
        """Return a row per cell and metric: cell, metric, seeds, mean, sd, low95, high95, missing.

        Where some of the seeds lack the metric it says so, and there are no figures.
        """
        found = self._summaries.frame.reset_index().rename(
            columns={"n": "seeds", "low": "low95", "high": "high95"}
        )
        found = found.assign(metric=found.metric.astype(str), missing="")
        cells = list(self.cells.items())
        expected = np.array([-1 if run.missing else len(run.seeds) for _, run in cells])
        per_run = {name for name in self.metrics if describe(name).per_run}
        partly = (found.seeds != expected[found.cell]) & ~found.metric.isin(per_run)
        partly |= expected[found.cell] < 0
        for row in found.index[partly]:
            found.loc[row, "missing"] = self.why_missing(
                cells[found.cell[row]][0], found.metric[row]
            )
        found.loc[found.missing != "", ["mean", "sd", "low95", "high95"]] = np.nan
        return found

    @cached_property
    def counted(self) -> pd.DataFrame:
        """The values without those of seeds that failed for a model of their row."""
        failed = {
            (position, seed)
            for position, run in enumerate(self.cells.values())
            for seed in run.failed
        }
        if not failed:
            return self.values
        pairs = pd.MultiIndex.from_frame(self.values[["cell", "seed"]])
        return self.values[~pairs.isin(failed)]


class Summaries:
    """Number, mean, standard deviation and interval of every metric in every cell."""

    def __init__(self, values: pd.DataFrame, num_cells: int) -> None:
        self.frame = summarise_groups(values.groupby(["cell", "metric"], observed=True).value)
        names = self.frame.index.get_level_values("metric")
        self.metrics = {name: i for i, name in enumerate(names.unique())}
        where = (self.frame.index.get_level_values("cell"), names.map(self.metrics))
        self.columns = {
            name: np.full((num_cells, len(self.metrics)), np.nan) for name in self.frame.columns
        }
        for name, column in self.columns.items():
            column[where] = self.frame[name]

    def number(self, cell: int, metric: str) -> int:
        """Return how many seeds of the cell have the metric."""
        if metric not in self.metrics:
            return 0
        number = self.columns["n"][cell, self.metrics[metric]]
        return 0 if math.isnan(number) else int(number)

    def of(self, cell: int, metric: str) -> Summary:
        """Return the summary of a metric that the cell has."""
        n, mean, sd, low, high = (
            float(column[cell, self.metrics[metric]]) for column in self.columns.values()
        )
        if n < 2:
            return Summary(int(n), mean, None, None)
        return Summary(int(n), mean, sd, (low, high))
