"""The report as one HTML file that needs nothing else: no server, no network, no other file.

Above MAX_INLINE runs it does not hold a page for each of them, but links to the reports that the
runs have in their own folders.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from mvae_jax import escape
from mvae_jax.report import formats, tables
from mvae_jax.report.cells import Cell, Setting
from mvae_jax.report.conclusion import sentences
from mvae_jax.report.figures import name_of, style
from mvae_jax.report.formats import Grid, escaped
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import describe
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.study import Drawn, Report, Section
from mvae_jax.store import files

MAX_INLINE = 200
LEADING = ("differences", "metrics", "reconstructions")  # kinds of figures, for the top
LISTED = ("elbo", "mse", "probe_accuracy", "nmi")  # in the list of runs


def write(
    out: Path,
    report: Report,
    problems: list[Problem],
    sections: Sequence[tuple[Section, Sequence[Grid]]],
    figures: Sequence[Drawn],
    explorers: Mapping[Setting, Path],
) -> None:
    """Write index.html: the conclusion, figures, tables, and the runs one by one.

    problems: what the page lists, and to which it adds why a run has no page
    sections: with their tables; explorers: the pages beside it, by the table that they are of
    """
    found = report.scores
    pages: dict[Cell, dict[str, Any]] = {}
    for cell in found.cells if len(found.cells) <= MAX_INLINE else ():
        with isolated(problems, f"{cell} on {cell.setting}, its page"):
            pages[cell] = _page(found, cell) | {"explorer": explorers.get(cell.setting)}
    links = [
        f"#{pages[cell]['name']}" if cell in pages else _own_report(run.path, out)
        for cell, run in found.cells.items()
    ]
    conclusion: list[str] = []
    with isolated(problems, "the conclusion"):
        conclusion = list(sentences(report))
    sizes = {str(setting): len(cells) for setting, cells in found.tables().items()}
    lead = min(figures, key=partial(_rank, sizes), default=None)
    context = {
        "conclusion": conclusion,
        "lead": lead,
        "overview": _overview(found),
        "links": links,
        "problems": problems,
        "sections": [of for of in sections if of[1]],
        "figures": [figure for figure in figures if figure is not lead],
        "explorers": explorers,
        "pages": pages.values(),
    }
    files.write_text(out / "index.html", environment().get_template("index.html").render(context))


def _rank(sizes: Mapping[str, int], figure: Drawn) -> tuple[int, int]:
    """Return how early a figure is looked at: by its kind, then that of the table of most runs."""
    table, _, kind = figure.title.rpartition(": ")
    rank = LEADING.index(kind) if kind in LEADING else len(LEADING)
    return rank, -sizes.get(table, 0)


def _own_report(run: Path, out: Path) -> str | None:
    """Return a link to the report in a run's own folder; None where it has no report."""
    page = run / "report" / "index.html"
    return quote(os.fsencode(os.path.relpath(page, out))) if page.is_file() else None


def environment() -> jinja2.Environment:
    """Return what renders the pages: what is put in is escaped."""
    escape_text = partial(escaped, escape_text=escape.html, bold="<strong>{}</strong>".format)
    found = formats.environment(escape_text)
    found.filters |= {"data_uri": _data_uri, "value": _value}
    return found


def _overview(found: Scores) -> Grid:
    """Return one row per run, with a few of its means."""
    shown = [describe(metric) for metric in LISTED]
    rows = []
    for cell, run in found.cells.items():
        means = [(found.summary(cell, metric.name), metric.decimals) for metric in shown]
        texts = [f"{of.mean:.{decimals}f}" if of else "-" for of, decimals in means]
        state = run.missing or ("seeds failed" if run.failed else "complete")
        where = (text or "-" for text in cell.setting)
        seeds = str(len(run.seeds))
        rows.append((cell.model, str(cell.latent_size), *where, seeds, *texts, state))
    columns = ("model", "z", "data set", "source", "protocol", "variant", "seeds")
    return Grid("Runs", (*columns, *(metric.heading for metric in shown), "state"), rows)


def _page(found: Scores, cell: Cell) -> dict[str, Any]:
    """Return what a run's page shows."""
    name = f"run-{name_of(cell.setting)}-{cell.model}-z{cell.latent_size}"
    return {
        "name": style.file_name(name, repr(cell) if "-" in cell.model else ""),
        "title": f"{cell} on {cell.setting}",
        "grid": tables.run_table(found, cell),
        "run": found.cells[cell],
    }


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _data_uri(path: Path) -> str:
    content = files.read_bytes(path, files.MAX_COPIED)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
