"""What a report is made of, and what a study of a paper or a project adds to it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mvae_jax.report import comparisons
from mvae_jax.report.cells import Cell, Run
from mvae_jax.report.comparisons import Comparisons, Family
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.problems import Problem


class Report(NamedTuple):
    """What every section is made of: the scores, and the comparisons with the baseline."""

    scores: Scores
    compared: Comparisons


class Drawn(NamedTuple):
    """A figure on disk."""

    title: str
    caption: str
    path: Path


class Section(NamedTuple):
    """A part of the report: tables under one heading, and the files that hold them.

    title:   the heading on the page
    file:    the name of its files: <file>.txt, .md, .tex and, of the records, .csv
    grids:   makes the tables; where there are none, the heading is left out
    records: makes the rows of the CSV file
    printed: whether the terminal shows the tables
    folded:  whether the page shows them on a click only
    """

    title: str
    file: str
    grids: Callable[[Report], Iterable[Grid]]
    records: Callable[[Report], pd.DataFrame] = lambda _report: pd.DataFrame()
    printed: bool = False
    folded: bool = False


class Study(NamedTuple):
    """What a study adds to the report on its runs.

    family:   tells over which cells Holm's correction runs
    note:     says what else a reader must know of a table; "" where there is nothing
    sections: shown behind those of every report
    point:    the published value of a metric in a cell, which the figure of metrics shows as well
    finish:   called with the figures, and the problems to add to, when the report is written
    """

    family: Callable[[Cell, Run], Family] = comparisons.of_table
    note: Callable[[Report, Grid], str] = lambda _report, _grid: ""
    sections: tuple[Section, ...] = ()
    point: Callable[[str, Cell], float | None] = lambda _metric, _cell: None
    finish: Callable[[Report, list[Drawn], list[Problem]], None] = lambda *_: None
