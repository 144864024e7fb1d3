"""The report as one HTML file that needs nothing else: no server, no network, no other file.

Above MAX_INLINE runs it does not hold a page for each of them, but links to the reports that the
runs have in their own folders.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from mvae_jax import escape
from mvae_jax.report import tables, templates
from mvae_jax.report.cells import Cell, Run
from mvae_jax.report.figures import Drawn, name_of, style
from mvae_jax.report.figures.scores import read_curves
from mvae_jax.report.formats import Grid, escaped
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import describe
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.store import files

MAX_INLINE = 200
CHART = (600, 160)  # width and height of a run's training curves
LISTED = ("elbo", "mse", "probe_accuracy", "nmi")  # in the list of runs


class Part(NamedTuple):
    """A part of the page: tables under one heading; a `folded` one opens on a click."""

    title: str
    grids: Sequence[Grid]
    folded: bool = False


class Chart(NamedTuple):
    """Training curves as polylines of an SVG, one per seed."""

    lines: dict[int, str]
    low: float
    high: float
    epochs: int


class Page(NamedTuple):
    """One run's page."""

    name: str
    title: str
    grid: Grid
    config: dict[str, str]
    environment: dict[str, str]
    chart: Chart | None


def write(
    out: Path,
    found: Scores,
    problems: list[Problem],
    sections: Sequence[Part],
    figures: Sequence[Drawn],
    explorers: Mapping[str, Path],
) -> None:
    """Write index.html.

    problems: what the page lists, and to which it adds why a run has no page
    explorers: pages beside it, by title
    """
    environment = page_environment()
    inline = len(found.cells) <= MAX_INLINE
    by_run = [_page(found, cell, problems) if inline else None for cell in found.cells]
    own = [_own_report(run.path, out) for run in found.cells.values()]
    links = own if not inline else [page and f"#{page.name}" for page in by_run]
    context = {
        "overview": _overview(found),
        "links": links,
        "problems": problems,
        "sections": sections,
        "figures": figures,
        "explorers": explorers,
        "pages": [page for page in by_run if page],
        "chart_size": CHART,
    }
    files.write_text(out / "index.html", environment.get_template("index.html").render(context))


def _own_report(run: Path, out: Path) -> str | None:
    """Return a link to the report in a run's own folder; None where it has no report."""
    page = run / "report" / "index.html"
    return quote(os.fsencode(os.path.relpath(page, out))) if page.is_file() else None


def page_environment() -> jinja2.Environment:
    """Return what renders the pages: what is put in is escaped."""
    environment = templates.environment(escape.html, autoescape=True)
    environment.filters |= {"bold": _bold, "data_uri": _data_uri}
    return environment


def _overview(found: Scores) -> Grid:
    """Return one row per run, with a few of its means."""
    rows = []
    for cell, run in found.cells.items():
        means = []
        for metric in LISTED:
            summary = found.summary(cell, metric)
            means.append(f"{summary.mean:.{describe(metric).decimals}f}" if summary else "-")
        state = run.missing or ("seeds failed" if run.failed else "complete")
        setting, z, model = cell
        where = (setting.dataset, setting.source, setting.protocol, setting.variant)
        seeds = str(len(run.seeds))
        rows.append((model, str(z), *(text or "-" for text in where), seeds, *means, state))
    columns = ("model", "z", "data set", "source", "protocol", "variant", "seeds")
    titles = [describe(metric).heading for metric in LISTED]
    return Grid("Runs", (*columns, *titles, "state"), rows)


def _page(found: Scores, cell: Cell, problems: list[Problem]) -> Page | None:
    """Return a run's page; what is not on it, or that there is none, is added to the problems."""
    name = f"run-{name_of(cell.setting)}-{cell.model}-z{cell.latent_size}"
    title, run = f"{cell} on {cell.setting}", found.cells[cell]
    chart, page = None, None
    with isolated(problems, f"{title}, training curves"):
        chart = _chart(run)
    with isolated(problems, f"{title}, its page"):
        page = Page(
            style.file_name(name, repr(cell) if "-" in cell.model else ""),
            title,
            tables.run_table(found, cell),
            {name: _value(value) for name, value in run.config.items()},
            {name: _value(value) for name, value in run.environment.items()},
            chart,
        )
    return page


def _chart(run: Run) -> Chart | None:
    """Return the training ELBO by epoch; the first tenth may leave the picture below."""
    curves = read_curves(run)
    if not curves:
        return None
    epochs = max(max(curve) for curve in curves.values())
    logged = [(epoch, v) for curve in curves.values() for epoch, v in curve.items()]
    settled = [value for epoch, value in logged if epoch > epochs / 10] or [v for _, v in logged]
    low, high = min(settled), max(settled)
    width, height = CHART
    x = width / max(1, epochs - 1)
    y = height / ((high - low) or 1.0)
    lines = {
        seed: " ".join(
            f"{(epoch - 1) * x:.1f},{height - (max(value, low) - low) * y:.1f}"
            for epoch, value in curve.items()
        )
        for seed, curve in curves.items()
    }
    return Chart(lines, low, high, epochs)


def _bold(text: str) -> Markup:
    """Return a cell as HTML, with what is bold in it."""
    return Markup(escaped(text, escape.html, "<strong>{}</strong>".format))


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _data_uri(path: Path) -> str:
    content = files.read_bytes(path, files.MAX_COPIED)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
