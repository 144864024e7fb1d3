"""One run as a program or a notebook shows it: a line, its main metrics, one figure."""

import io
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from mvae_jax import escape
from mvae_jax.report import comparisons, figures, tables
from mvae_jax.report.cells import Cell
from mvae_jax.report.figures import style
from mvae_jax.report.figures.table import Table
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores

SCREEN_DPI = 100


def line(found: Scores) -> str:
    """Return the run in a line, with the bound and the accuracy where it has one cell."""
    cell = next(iter(found.cells))
    if len(found.cells) > 1:
        swept = "; ".join(other.setting.variant for other in found.cells)
        return escape.plain(f"{cell} on {cell.setting.dataset}, {len(found.cells)} cells: {swept}")
    number = len(found.cells[cell].seeds)
    said = [f"{number} seed" + ("s" if number != 1 else "")]
    for name in ("elbo", "probe_accuracy"):
        if summary := found.summary(cell, name):
            of = found.describe(name)
            unit = f" {of.unit}" if of.unit == "nats" else ""
            said.append(f"{of.title} {summary.mean:.{of.decimals}f}{unit}")
    return escape.plain(f"{cell} on {cell.setting}: {', '.join(said)}")


def page(found: Scores) -> str:
    """Return the main metrics of each cell as tables of HTML."""
    return "\n".join(_to_html(tables.main_table(found, cell)) for cell in found.cells)


def _to_html(grid: Grid) -> str:
    frame = pd.DataFrame(grid.rows, columns=list(grid.headers))
    notes = "".join(f"<p>{escape.html(note)}</p>" for note in grid.notes)
    return f"<p><b>{escape.html(grid.title)}</b></p>{frame.to_html(index=False)}{notes}"


def figure(found: Scores, name: str) -> Figure:
    """Draw one of `figures.FIGURES` of a run of one cell.

    Raise ValueError where there is no such figure, or the run lacks what it shows.
    """
    if name not in figures.FIGURES:
        raise ValueError(f"figure: got {name!r}; allowed: {', '.join(figures.FIGURES)}")
    cell = only_cell(found)
    table = Table(found.cells, found, comparisons.compare_all(found, cell.model), lambda *_: None)
    with style.context():
        drawn = figures.FIGURES[name](table)
    if drawn is None:
        missing = found.cells[cell].missing or "the run has not what it shows"
        raise ValueError(f"figure: got {name!r}; {missing}")
    drawn.set_dpi(SCREEN_DPI)
    # Notebooks ask for it; they show figures of matplotlib themselves only if pyplot has made one.
    vars(drawn)["_repr_png_"] = partial(_to_png, drawn)
    return drawn


def _to_png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    return file.getvalue()


def only_cell(found: Scores) -> Cell:
    """Return the cell of a run; raise ValueError where it swept scalars and has several."""
    cell, *others = found.cells
    if others:
        swept = "; ".join(of.setting.variant for of in found.cells)
        raise ValueError(f"run: got {swept}; choose one by its values, as run.at(beta=4)")
    return cell
