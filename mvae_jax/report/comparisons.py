"""Every model against the baseline, cell by cell, and which of the differences are real."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
import pandas as pd

from mvae_jax.report import pairs
from mvae_jax.report.cells import NO_SEED, Cell, Run, Setting, swept_in
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import CONDITIONS
from mvae_jax.report.pairs import BASELINE, FIRST
from mvae_jax.report.problems import Problem
from mvae_jax.report.statistics import COLUMNS, compare_rows, holm


class Family(NamedTuple):
    """The cells over which one correction for multiple tests runs, within a metric and model.

    key:     equal for cells of one family
    planned: the number of its cells when all are run; 0 where nobody says
    """

    key: Hashable
    planned: int = 0


def of_table(cell: Cell, run: Run) -> Family:
    """Return the family of a report without a study: a data set under one protocol.

    All values of a sweep are in it, because they share a table.
    """
    setting = cell.setting
    variant = run.config.get("tag", "") if swept_in(cell, run) else setting.variant
    return Family((setting.dataset, setting.protocol, variant))


class Comparisons(NamedTuple):
    """All comparisons of a report, and the runs that one would need to compare more.

    frame:   one row per metric and cell: dataset, source, protocol, variant, latent_size, model,
             baseline, metric; the columns of `statistics.compare_rows`; p_holm (NaN below two
             seeds), family (the number of cells that Holm's correction ran over), planned (that
             number when all cells are run, or 0), cell (as the key of `Scores.cells`)
    missing: by table, why there are no comparisons
    notes:   by table, which comparisons are not of seed with seed
    """

    frame: pd.DataFrame
    baseline: str
    missing: dict[Setting, list[str]]
    notes: dict[Setting, list[str]]

    @property
    def problems(self) -> list[Problem]:
        """The missing runs, as problems of the report."""
        return [
            Problem(str(setting), reason)
            for setting, reasons in self.missing.items()
            for reason in reasons
        ]

    def by_table(self) -> dict[Setting, pd.DataFrame]:
        """Return the rows of each table that has any."""
        return {Setting(*of): rows for of, rows in self.frame.groupby([*Setting._fields])}


class Pair(NamedTuple):
    """Two cells to compare.

    seedless:   whether one of them is a method without seeds, whose one result meets every seed
    number:     of seeds that a metric must have to be compared
    same_bound: whether their importance-weighted bounds have the same K
    """

    base: Cell
    other: Cell
    seedless: bool
    number: int
    same_bound: bool


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
    paired: list[Pair] = []
    models = {setting: {cell.model for cell in cells} for setting, cells in found.tables().items()}
    for (setting, z), row in pairs.rows_of(found.cells).items():
        where = f"z={z}"
        lacking = _lacking(row, baseline, models[setting])
        missing[setting] += [f"{where}: no run of {model}" for model in lacking]
        if baseline not in row:
            continue
        base = found.cells[row[baseline]]
        for cell in row.values():
            other = found.cells[cell]
            if cell.model == baseline:
                continue
            if differ := pairs.unlike(base, other):
                missing[setting].append(f"{where}: not compared, trained differently: {differ}")
                continue
            if base.missing or other.missing:
                continue
            if differ := _bounds_apart(found, row[baseline], cell):
                missing[setting].append(f"{where}: iwae not compared, {differ}")
            if seedless := pairs.is_seedless(base, other):
                one = baseline if base.has_one_result else cell.model
                said = f"{where}: the one result of {one} is compared with each seed."
                notes[setting].append(said)
            number = max(len(base.seeds), len(other.seeds))
            paired.append(Pair(row[baseline], cell, seedless, number, not differ))
    frame = _correct(found, _compare_pairs(found, paired), family, baseline)
    why = {setting: reasons for setting, reasons in missing.items() if reasons}
    return Comparisons(frame, baseline, why, dict(notes))


def _lacking(row: pairs.Row, baseline: str, models: set[str]) -> list[str]:
    """Return which of the models that a table compares has no run in one of its rows."""
    known = [model for model in dict.fromkeys((*FIRST, baseline)) if model in models]
    is_compared = baseline in known and len(known) > 1 and any(model in row for model in known)
    return [model for model in known if model not in row] if is_compared else []


def _bounds_apart(found: Scores, base: Cell, other: Cell) -> str:
    """Return the K of each model's importance-weighted bound where they differ."""
    ks = [sorted({int(k) for k in found.of(cell, "iwae_k").values()}) for cell in (base, other)]
    return f"K is {ks[0]} and {ks[1]}" if all(ks) and ks[0] != ks[1] else ""


def _compare_pairs(found: Scores, paired: list[Pair]) -> pd.DataFrame:
    """Return a row of `compare_rows` for each metric that both cells of a pair have in full."""
    values = found.counted[["cell", "metric", "seed", "value"]]
    values = values[(values.seed != NO_SEED) & ~values.metric.isin(CONDITIONS)]
    values = values.assign(metric=values.metric.astype(str))
    table = pd.DataFrame(paired, columns=Pair._fields).reset_index(names="pair")
    positions = {cell: i for i, cell in enumerate(found.cells)}
    of_pairs = table[["pair", "seedless", "number", "same_bound"]].astype({"seedless": bool})
    sides = []
    for side in (table.base, table.other):
        cells = np.array([positions[cell] for cell in side], int)
        of_side = of_pairs.assign(cell=cells).merge(values, on="cell")
        key = of_side.seed.where(~of_side.seedless, NO_SEED)
        sides.append(of_side.assign(key=key).drop(columns=["cell", "seed", "seedless"]))
    other = sides[1][["pair", "metric", "key", "value"]]
    both = sides[0].merge(other, on=["pair", "metric", "key"], suffixes=("", "_other"))
    both = both[(both.metric != "iwae") | both.same_bound]
    both = both.assign(n=both.groupby(["pair", "metric"]).value.transform("size"))
    both = both[both.n == both.number].sort_values(["pair", "metric"], kind="stable")
    rows = [pd.DataFrame(columns=["pair", "metric", *COLUMNS])]
    for n, of_number in both.groupby("n"):
        x, y = (of_number[name].to_numpy(float).reshape(-1, n) for name in ("value", "value_other"))
        names = of_number.iloc[::n][["pair", "metric"]].reset_index(drop=True)
        rows.append(pd.concat([names, compare_rows(x, y)], axis=1))
    frame = pd.concat(rows[1:] or rows, ignore_index=True)
    return frame.assign(cell=frame.pair.map(table.other.astype(object)))


def _correct(
    found: Scores, frame: pd.DataFrame, family: Callable[[Cell, Run], Family], baseline: str
) -> pd.DataFrame:
    """Return the comparisons, sorted, with Holm's correction over each family that is tested."""
    families = {cell: family(cell, found.cells[cell]) for cell in frame.cell.unique()}
    keys = {of.key: number for number, of in enumerate(families.values())}
    positions = {cell: i for i, cell in enumerate(found.cells)}
    frame = frame.assign(
        p_t=frame.p_t.astype(float),
        key=[keys[families[cell].key] for cell in frame.cell],
        planned=[families[cell].planned for cell in frame.cell],
        position=frame.metric.map({name: i for i, name in enumerate(found.metrics)}),
        baseline=baseline,
        **found.places.loc[[positions[cell] for cell in frame.cell]].reset_index(drop=True),
    )
    tests = frame[frame.p_t.notna()].groupby(["metric", "model", "key"]).p_t
    p_holm, size = tests.transform(lambda p: holm(p.to_numpy())), tests.transform("size")
    frame = frame.assign(
        p_holm=p_holm.reindex(frame.index),
        family=size.reindex(frame.index, fill_value=0).astype(int),
    )
    columns = [*Setting._fields, "latent_size", "model"]
    shown = ["baseline", "metric", *COLUMNS, "p_holm", "family", "planned", "cell"]
    return frame.sort_values([*columns, "position"], ignore_index=True)[[*columns, *shown]]
