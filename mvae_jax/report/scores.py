"""Scores of run folders as one tidy pandas frame, and what is missing from it.

Nothing is dropped in silence: what cannot be read, lacks a seed or is claimed by two runs becomes
a cell without values and a problem with its reason.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from mvae_jax import workers
from mvae_jax.config import SWEPT
from mvae_jax.evaluate.record import Metric
from mvae_jax.report.cells import NO_SEED, SCORE_AGAIN, Cell, Part, Run, Setting, listed, read_run
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.statistics import Summary, summarise_groups
from mvae_jax.store import files, run_folder
from mvae_jax.store.files import PathLike

MARKS = files.RUN_MARKS | {"metrics.json"}  # of a folder that is a run
CHUNK = 50  # run folders that a process reads at a time
FEW = 4 * CHUNK  # folders for which no process is started


class Frames(NamedTuple):
    """Scores as two pandas frames.

    values:   one row per value: dataset, source, protocol, tag, the swept scalars (NaN where the
              run does not say), model, latent_size, seed (<NA> where it is the same for every
              seed), split, metric, value (nats per example where the metric has that unit)
    problems: where, reason: one row for everything that keeps the scores from being complete
    """

    values: pd.DataFrame
    problems: pd.DataFrame


def scores(*paths: PathLike) -> Frames:
    """Read the scores of every run at or below the paths.

    >>> values, problems = mvae_jax.scores("runs")  # doctest: +SKIP
    >>> values.query("metric == 'elbo'").groupby(["model", "latent_size"]).value.mean()
    ... # doctest: +SKIP

    Raises:
      ValueError: a path is empty, or the root of the file system.
    """
    found = read(paths)
    cells = pd.DataFrame(
        [
            {
                **{field: getattr(cell.setting, field) for field in ("dataset", "source")},
                "protocol": cell.setting.protocol,
                "tag": run.config.get("tag", ""),
                **{field: run.config.get(field, math.nan) for field in SWEPT},
                "model": cell.model,
                "latent_size": cell.latent_size,
            }
            for cell, run in found.cells.items()
        ]
    )
    texts = cells.columns.intersection(["dataset", "source", "protocol", "tag", "model"])
    cells = cells.astype(dict.fromkeys(texts, "category"))
    rows = found.values
    values = cells.iloc[rows.cell].reset_index(drop=True)
    seeds = rows.seed.where(rows.seed != NO_SEED).astype("Int64")
    values = values.assign(seed=seeds, split=rows.split, metric=rows.metric, value=rows.value)
    problems = pd.DataFrame(found.problems, columns=list(Problem._fields))
    return Frames(values, problems)


@dataclass(frozen=True)
class Scores:
    """Everything that was found below the paths, by data set, latent size and model.

    values: one row per value: cell (its position among the cells), metric, split, seed, value
    """

    values: pd.DataFrame
    cells: dict[Cell, Run]
    problems: list[Problem]

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
        if (cell, metric) not in self._groups:
            return {}
        rows = self.values.iloc[self._groups[cell, metric]]
        failed = self.cells[cell].failed
        pairs = zip(rows.seed.tolist(), rows.value.tolist(), strict=True)
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

    @cached_property
    def _groups(self) -> dict[tuple[Cell, str], Any]:
        cells = list(self.cells)
        groups = self.values.groupby(["cell", "metric"], observed=True).indices
        return {(cells[cell], metric): rows for (cell, metric), rows in groups.items()}

    @cached_property
    def _summaries(self) -> "Summaries":
        return Summaries(self.counted, len(self.cells))

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
        groups = values.groupby(["cell", "metric"], observed=True).value
        frame = summarise_groups(groups)
        self.metrics = {name: i for i, name in enumerate(frame.index.unique("metric"))}
        columns = frame.index.get_level_values("metric").map(self.metrics)
        where = (frame.index.get_level_values("cell"), columns)
        self.columns = {
            name: np.full((num_cells, len(self.metrics)), np.nan) for name in frame.columns
        }
        for name, column in self.columns.items():
            column[where] = frame[name]

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


# --- reading -----------------------------------------------------------------------------------


def read(paths: PathLike | Iterable[PathLike], jobs: int | None = None) -> Scores:
    """Read every run folder at or below the paths; raise ValueError as `files.as_paths` does.

    jobs: processes that read; by default one per core, where there are many folders
    """
    problems: list[Problem] = []
    roots = files.as_paths(paths)
    folders = files.find_runs(roots, holding=MARKS)
    for root in roots:
        if not any(root == folder or root in folder.parents for folder in folders):
            reason = (
                "no folder with embeddings/, metrics.json, done/ or manifest.json at or below it"
            )
            problems.append(Problem(str(root), reason))
        problems += _not_begun(root)
    cells: dict[Cell, Run] = {}
    frames: list[pd.DataFrame] = []
    chunks = _read_chunks(folders, jobs)
    for parts, values, of_chunk in chunks:
        problems += of_chunk
        positions = []
        for cell, run in parts:
            if cell in cells:
                reason = (
                    f"{cells[cell].path} and {run.path} are the same cell; give one a config.tag"
                )
                cells[cell] = Run(run.path, run.config, reason)
                positions.append(-1)
            else:
                positions.append(len(cells))
                cells[cell] = run
        values["cell"] = np.array(positions, np.int32)[values.cell]
        frames.append(values[values.cell >= 0])
    values = _concatenate(frames)
    lost = [i for i, run in enumerate(cells.values()) if run.missing and not run.replicates]
    if lost:
        values = values[~values.cell.isin(lost)]
    return _sort(Scores(values, cells, problems))


def _read_chunks(
    folders: list[Path], jobs: int | None
) -> Iterator[tuple[list[tuple[Cell, Run]], pd.DataFrame, list[Problem]]]:
    """Yield the cells of so many folders at a time, with their values, in the folders' order."""
    calls = [(i, folders[i : i + CHUNK]) for i in range(0, len(folders), CHUNK)]
    jobs = 1 if len(folders) < FEW else jobs or joblib.cpu_count()
    if jobs == 1:
        yield from (_read_folders(*call)[1:] for call in calls)
        return
    # Sorted, because which of two runs of one cell is the first must not depend on the processes.
    yield from (found[1:] for found in sorted(workers.run(_read_folders, calls, jobs), key=_first))


def _first(found: tuple[Any, ...]) -> Any:
    return found[0]


def _read_folders(
    start: int, folders: list[Path]
) -> tuple[int, list[tuple[Cell, Run]], pd.DataFrame, list[Problem]]:
    problems: list[Problem] = []
    parts: list[Part] = []
    for folder in folders:
        with isolated(problems, str(folder)):
            parts += read_run(folder)
    rows = [(i, *row) for i, (_, _, of_cell) in enumerate(parts) for row in of_cell]
    values = pd.DataFrame(rows, columns=["cell", "metric", "split", "seed", "value"])
    types = {"cell": "int32", "metric": "category", "split": "category", "value": "float64"}
    return start, [part[:2] for part in parts], values.astype(types | {"seed": "int64"}), problems


def _concatenate(frames: list[pd.DataFrame]) -> pd.DataFrame:
    if not frames:
        frames = [_read_folders(0, [])[2]]
    columns = {
        name: np.concatenate([f[name] for f in frames]) for name in ("cell", "seed", "value")
    }
    texts = {
        name: union_categoricals([f[name] for f in frames], sort_categories=True)
        for name in ("metric", "split")
    }
    return pd.DataFrame({**columns, **texts})


def _sort(found: Scores) -> Scores:
    """Return the scores with the cells, and their values, in order."""
    order = sorted(found.cells)
    new = {cell: position for position, cell in enumerate(order)}
    moved = np.array([new[cell] for cell in found.cells], np.int32)
    values = found.values
    if len(values):
        values = values.assign(cell=moved[values.cell])
    values = values.sort_values(["cell", "metric", "seed"], ignore_index=True)
    return Scores(values, {cell: found.cells[cell] for cell in order}, found.problems)


def _not_begun(root: Path) -> Iterator[Problem]:
    """Yield what the root's sweep lists and has not run."""
    try:
        listed = run_folder.read_sweep(root)
    except run_folder.RunFolderError as error:
        yield Problem(str(root / "sweep.jsonl"), str(error))
        return
    lacking = [folder for folder in listed if not (folder / "config.json").is_file()]
    logs = {folder: root / "logs" / f"{folder.relative_to(root)}.txt" for folder in lacking}
    failed = [folder for folder in lacking if run_folder.failure_mark(logs[folder]).is_file()]
    if failed:
        number = f"{len(failed)} of the {len(listed)} runs that it lists failed at their start"
        yield Problem(str(root / "sweep.jsonl"), f"{number}; {logs[failed[0]]} says why")
    lacking = [folder for folder in lacking if folder not in failed]
    if lacking:
        number = f"{len(lacking)} of the {len(listed)} runs that it lists have not begun"
        first = lacking[0].relative_to(root)
        yield Problem(str(root / "sweep.jsonl"), f"{number}, {first} the first of them")
