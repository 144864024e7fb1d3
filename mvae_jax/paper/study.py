"""What this paper's study adds to a report: its families of tests, its sections, its figures."""

from collections.abc import Callable, Iterable

from mvae_jax.paper import audit, constants, couplings, errata, evidence, reference, reproduction
from mvae_jax.paper.cells import CELLS, DATA_SETS
from mvae_jax.paper.reference import Key
from mvae_jax.report.cells import Cell, Run
from mvae_jax.report.comparisons import Family
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.study import Report, Section, Study


def family(cell: Cell, run: Run) -> Family:
    """Return the cells that one correction runs over: the paper's, under one protocol.

    Runs of fewer epochs than the paper's are corrected apart, and so are other data sets and sizes.
    """
    setting = cell.setting
    of_paper = (setting.dataset, cell.latent_size) in CELLS
    other = "" if of_paper else setting.dataset
    key = (setting.protocol, setting.variant, other, reproduction.is_short(run.config))
    return Family(key, len(CELLS) if of_paper else 0)


def note(report: Report, grid: Grid) -> str:
    """Return the number of the paper's table, and which runs had fewer epochs than the paper's."""
    numerals = reference.table_numbers()
    titles = {str(setting): setting.dataset for setting in grid.settings}
    numeral = numerals.get(titles.get(grid.title, ""))
    number = f"The paper's Table {numeral}." if numeral else ""
    return " ".join(filter(None, [number, reproduction.short_runs(report, grid)]))


def point(metric: str, cell: Cell) -> float | None:
    """Return the value of the author's release."""
    setting = cell.setting
    if setting.protocol != "release":
        return None
    released = _RELEASE.get(Key(metric, setting.dataset, cell.latent_size, cell.model))
    return None if released is None else float(released)


_RELEASE = reference.release()


def _of_paper(make: Callable[[Scores], list[Grid]]) -> Callable[[Report], list[Grid]]:
    """Return what makes the tables of runs of which some are of the paper's data sets."""

    def grids(report: Report) -> list[Grid]:
        found = report.scores
        is_ours = any(cell.setting.dataset in DATA_SETS for cell in found.cells)
        return make(found) if is_ours else []

    return grids


def _couplings(report: Report) -> Iterable[Grid]:
    return filter(None, [couplings.table(report.scores)])


def _power(_found: Scores) -> list[Grid]:
    return [constants.power_table()]


def _claims(found: Scores) -> list[Grid]:
    return [audit.table(audit.findings(found))._replace(settings=evidence.settings(found))]


def _errata(found: Scores) -> list[Grid]:
    return [errata.labels(), errata.cells(), errata.mse(found)]


STUDY = Study(
    family,
    note,
    (
        Section("Reproduction", "reproduction", reproduction.tables, reproduction.records),
        Section("Claims", "claims", _of_paper(_claims)),
        Section("The mean, coupled or not", "couplings", _couplings),
        Section("What a sweep can show", "power", _of_paper(_power), folded=True),
        Section("Errata of the paper", "errata", _of_paper(_errata), folded=True),
    ),
    point,
)
