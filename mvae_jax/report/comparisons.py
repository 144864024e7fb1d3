"""Every model against the baseline, cell by cell, and which of the differences are real."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mvae_jax.evaluate.record import Metric
from mvae_jax.report import pairs
from mvae_jax.report.cells import NO_SEED, Cell, Run, Setting
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import CONDITIONS, describe
from mvae_jax.report.pairs import BASELINE, FIRST
from mvae_jax.report.problems import Problem
from mvae_jax.report.statistics import ALPHA, COLUMNS, Comparison, as_comparison, compare_rows, holm

EMPTY = ("pair", "metric", *COLUMNS)


class Family(NamedTuple):
    """The cells over which one correction for multiple tests runs, within a metric and model.

    key:     equal for cells of one family
    planned: the number of its cells when all are run; 0 where nobody says
    """

    key: Hashable
    planned: int = 0


def of_table(cell: Cell, _run: Run) -> Family:
    """Return the family of a report without a study: a data set under one protocol."""
    setting = cell.setting
    return Family((setting.dataset, setting.protocol, setting.variant))


class Comparisons:
    """All comparisons of a report, and the runs that one would need to compare more.

    frame:   one row per metric and cell: dataset, source, protocol, variant, latent_size, model,
             baseline, metric; the columns of `statistics.compare_rows`; p_holm (NaN below two
             seeds), family (the number of cells that Holm's correction ran over), planned (that
             number when all cells are run, or 0)
    missing: by table, why there are no comparisons
    notes:   by table, which comparisons are not of seed with seed
    describe: how a metric is shown
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        baseline: str,
        missing: dict[Setting, list[str]],
        notes: dict[Setting, list[str]],
        describe: Callable[[str], Metric] = describe,
    ) -> None:
        self.frame, self.baseline, self.missing, self.notes = frame, baseline, missing, notes
        self.describe = describe

    @property
    def problems(self) -> list[Problem]:
        """The missing runs, as problems of the report."""
        return [
            Problem(str(setting), reason)
            for setting, reasons in self.missing.items()
            for reason in reasons
        ]

    @cached_property
    def _rows(self) -> dict[tuple[str, Cell], int]:
        columns = ["dataset", "source", "protocol", "variant", "latent_size", "model", "metric"]
        places = self.frame[columns].itertuples(index=False, name=None)
        return {
            (metric, Cell(Setting(*setting), z, model)): row
            for row, (*setting, z, model, metric) in enumerate(places)
        }

    @cached_property
    def _columns(self) -> dict[str, list[Any]]:
        names = (*COLUMNS, "p_holm", "family", "planned")
        frame = self.frame[list(names)].astype(object)
        return frame.where(frame.notna(), None).to_dict("list")

    def of(self, metric: str, cell: Cell) -> "Compared | None":
        """Return a cell's comparison with its baseline; None where there is none."""
        row = self._rows.get((metric, cell))
        return None if row is None else self._compared(row)

    def __iter__(self) -> Iterator[tuple[str, Cell, "Compared"]]:
        """Iterate over metric, cell and comparison."""
        for (metric, cell), row in self._rows.items():
            yield metric, cell, self._compared(row)

    def _compared(self, row: int) -> "Compared":
        found = {name: column[row] for name, column in self._columns.items()}
        comparison = as_comparison(found)
        return Compared(comparison, found["p_holm"], found["family"], found["planned"])

    def select(self, chosen: pd.Series) -> "Comparisons":
        """Return the comparisons of the rows for which `chosen` is true."""
        frame = self.frame[chosen].reset_index(drop=True)
        return Comparisons(frame, self.baseline, self.missing, self.notes, self.describe)


class Compared(NamedTuple):
    """One cell's comparison, model - baseline; p_holm is None below two seeds."""

    comparison: Comparison
    p_holm: float | None
    family: int
    planned: int

    @property
    def significant(self) -> bool:
        """Whether the difference remains after the correction."""
        return self.p_holm is not None and self.p_holm < ALPHA


def compare_all(
    found: Scores,
    baseline: str = BASELINE,
    family: Callable[[Cell, Run], Family] = of_table,
) -> Comparisons:
    """Compare every model with the baseline, in every cell and metric that both have.

    found: with the marks of `pairs.mark`
    family: tells over which cells of one metric and model Holm's correction runs
    """
    missing: dict[Setting, list[str]] = defaultdict(list)
    notes: dict[Setting, list[str]] = defaultdict(list)
    paired: list[tuple[Cell, Cell]] = []
    unlike_bounds: set[Cell] = set()
    models = {setting: {cell.model for cell in cells} for setting, cells in found.tables().items()}
    for (setting, z), row in pairs.rows_of(found.cells).items():
        where = f"z={z}"
        missing[setting] += [
            f"{where}: no run of {m}" for m in _lacking(row, baseline, models[setting])
        ]
        for cell in row.values() if baseline in row else ():
            if cell.model == baseline:
                continue
            base, other = found.cells[row[baseline]], found.cells[cell]
            if differ := pairs.unlike(base, other):
                missing[setting].append(f"{where}: not compared, trained differently: {differ}")
                continue
            if base.missing or other.missing:
                continue
            paired.append((row[baseline], cell))
            if differ := _bounds_apart(found, row[baseline], cell):
                unlike_bounds.add(cell)
                missing[setting].append(f"{where}: iwae not compared, {differ}")
            if pairs.is_seedless(base, other):
                one = baseline if base.has_one_result else cell.model
                notes[setting].append(
                    f"{where}: the one result of {one} is compared with each seed."
                )
    frame = _correct(found, _compare_pairs(found, paired, unlike_bounds), family)
    why = {setting: reasons for setting, reasons in missing.items() if reasons}
    return Comparisons(
        _described(found, frame, baseline), baseline, why, dict(notes), found.describe
    )


def _lacking(row: pairs.Row, baseline: str, models: set[str]) -> list[str]:
    """Return which of the models that a table compares has no run in one of its rows."""
    known = [model for model in dict.fromkeys((*FIRST, baseline)) if model in models]
    is_compared = baseline in known and len(known) > 1 and any(model in row for model in known)
    return [model for model in known if model not in row] if is_compared else []


def _bounds_apart(found: Scores, base: Cell, other: Cell) -> str:
    """Return the K of each model's importance-weighted bound where they differ."""
    ks = [sorted({int(k) for k in found.of(cell, "iwae_k").values()}) for cell in (base, other)]
    return f"K is {ks[0]} and {ks[1]}" if all(ks) and ks[0] != ks[1] else ""


def _compare_pairs(
    found: Scores, paired: list[tuple[Cell, Cell]], unlike_bounds: set[Cell]
) -> pd.DataFrame:
    """Return a row of `compare_rows` for each metric that both cells of a pair have in full."""
    both = _side_by_side(found, paired)
    unlike = [pair for pair, (_, other) in enumerate(paired) if other in unlike_bounds]
    both = both[~(both.pair.isin(unlike) & (both.metric == "iwae"))]
    both = both.assign(n=both.groupby(["pair", "metric"]).value.transform("size"))
    both = both[both.n == both.expected].sort_values(["pair", "metric"], kind="stable")
    rows = []
    for n, of_number in both.groupby("n"):
        shape = (-1, int(n))
        x, y = (of_number[name].to_numpy(float).reshape(shape) for name in ("value", "value_other"))
        names = of_number.iloc[:: int(n)][["pair", "metric"]].reset_index(drop=True)
        rows.append(pd.concat([names, compare_rows(x, y)], axis=1))
    frame = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=EMPTY)
    cells = [paired[pair][1] for pair in frame.pair]
    return frame.assign(cell=pd.Series(cells, index=frame.index, dtype=object))


def _side_by_side(found: Scores, paired: list[tuple[Cell, Cell]]) -> pd.DataFrame:
    """Return a row per pair, metric and seed: both values, and how many seeds a pair should have.

    The one result of a method without seeds is beside every seed of the other.
    """
    position = {cell: i for i, cell in enumerate(found.cells)}
    runs = [(found.cells[base], found.cells[other]) for base, other in paired]
    table = pd.DataFrame(
        {
            "pair": range(len(paired)),
            "base": [position[base] for base, _ in paired],
            "other": [position[other] for _, other in paired],
            "seedless": [pairs.is_seedless(*of) for of in runs],
            "expected": [max(len(run.seeds) for run in of) for of in runs],
        }
    )
    values = found.counted[["cell", "metric", "seed", "value"]]
    values = values[(values.seed != NO_SEED) & ~values.metric.isin(CONDITIONS)]
    values = values.assign(metric=values.metric.astype(str))
    pieces = []
    for seedless, of_kind in table.groupby("seedless"):
        keys = ["pair", "metric"] if seedless else ["pair", "metric", "seed"]
        base, other = (
            of_kind[["pair", side, "expected"]].merge(values, left_on=side, right_on="cell")
            for side in ("base", "other")
        )
        pieces.append(base.merge(other, on=keys, suffixes=("", "_other")))
    columns = ["pair", "metric", "value", "value_other", "expected"]
    return pd.concat(pieces)[columns] if pieces else pd.DataFrame(columns=columns)


def _correct(
    found: Scores, frame: pd.DataFrame, family: Callable[[Cell, Run], Family]
) -> pd.DataFrame:
    """Return the comparisons with Holm's correction over each family that can be tested."""
    families = {cell: family(cell, found.cells[cell]) for cell in frame.cell.unique()}
    planned = [families[cell].planned for cell in frame.cell]
    members: dict[Hashable, list[int]] = defaultdict(list)
    p = frame.p_t.to_numpy(float) if len(frame) else np.empty(0)
    for row, (metric, cell) in enumerate(zip(frame.metric, frame.cell, strict=True)):
        if not np.isnan(p[row]):
            members[metric, cell.model, families[cell].key].append(row)
    p_holm, size = np.full(len(p), np.nan), np.zeros(len(p), int)
    for rows in members.values():
        p_holm[rows], size[rows] = holm(p[rows]), len(rows)
    return frame.assign(p_holm=p_holm, family=size, planned=planned).reset_index(drop=True)


def _described(found: Scores, frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the comparisons sorted by cell and metric, with what says which cell each is of."""
    cells = list(frame.cell)
    named = pd.DataFrame(
        [(*cell.setting, cell.latent_size, cell.model, baseline) for cell in cells],
        columns=[*Setting._fields, "latent_size", "model", "baseline"],
    )
    order = {name: i for i, name in enumerate(found.metrics)}
    frame = pd.concat([named, frame.drop(columns=["cell", "pair"])], axis=1)
    frame = frame.assign(position=frame.metric.map(order))
    keys = [*Setting._fields, "latent_size", "model", "position"]
    return frame.sort_values(keys, ignore_index=True).drop(columns="position")
