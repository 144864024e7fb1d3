"""The report as one HTML file that needs nothing else: no server, no network, no other file.

Above MAX_INLINE runs the pages of the single runs are files of their own, in `pages/` beside it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from mvae_jax import escape
from mvae_jax.report import tables, templates
from mvae_jax.report.cells import Cell, Scores
from mvae_jax.report.figures import Drawn, name_of, style
from mvae_jax.report.figures.scores import read_curves
from mvae_jax.report.formats import Grid, escaped
from mvae_jax.report.metrics import describe
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.runs import Runs
from mvae_jax.report.statistics import summarise
from mvae_jax.store import files, regular

PAGES = "pages"
MAX_INLINE = 200
CHART = (600, 160)  # width and height of a run's training curves
LISTED = ("elbo", "mse", "probe_accuracy", "nmi")  # in the list of runs


class Section(NamedTuple):
    """A part of the page: tables under one heading; `folded` ones open on a click."""

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
    runs: Runs,
    problems: list[Problem],
    sections: Sequence[Section],
    figures: Sequence[Drawn],
    explorers: Mapping[str, Path],
) -> None:
    """Write index.html, and the runs' pages beside it where there are many.

    problems: what the page lists, and to which it adds why a run has no page
    explorers: pages beside it, by title
    """
    environment = page_environment()
    by_run = [_page(cell, scores, problems) for cell, scores in runs.cells.items()]
    pages = [page for page in by_run if page]
    inline = len(pages) <= MAX_INLINE
    address = "#{}" if inline else PAGES + "/{}.html"
    context = {
        "overview": _overview(runs),
        "links": [page and address.format(page.name) for page in by_run],
        "problems": problems,
        "sections": sections,
        "figures": figures,
        "explorers": explorers,
        "pages": pages if inline else [],
        "chart_size": CHART,
    }
    files.write_text(out / "index.html", environment.get_template("index.html").render(context))
    for earlier in (out / PAGES).glob("run-*.html"):
        earlier.unlink()
    if not inline:
        template = environment.get_template("run.html")
        for page in pages:
            text = template.render(page=page, chart_size=CHART)
            files.write_text(out / PAGES / f"{page.name}.html", text)


def page_environment() -> jinja2.Environment:
    """Returns what renders the pages: what is put in is escaped."""
    environment = templates.environment(escape.html, autoescape=True)
    environment.filters |= {"bold": _bold, "data_uri": _data_uri}
    return environment


def _overview(runs: Runs) -> Grid:
    """Returns one row per run, with a few of its means."""
    rows = []
    for cell, scores in runs.cells.items():
        means = []
        for metric in LISTED:
            if scores.why_missing(metric):
                means.append("-")
            else:
                mean = summarise(list(scores.values[metric].values())).mean
                means.append(f"{mean:.{describe(metric).decimals}f}")
        seeds = str(len(scores.replicates) - len(scores.failed))
        state = scores.missing or ("seeds failed" if scores.failed else "complete")
        setting, z, model = cell
        where = (setting.dataset, setting.source, setting.protocol, setting.variant)
        rows.append((model, str(z), *(text or "-" for text in where), seeds, *means, state))
    columns = ("model", "z", "data set", "source", "protocol", "variant", "seeds")
    titles = [describe(metric).heading for metric in LISTED]
    return Grid("Runs", (*columns, *titles, "state"), rows)


def _page(cell: Cell, scores: Scores, problems: list[Problem]) -> Page | None:
    """Return a run's page; what is not on it, or that there is none, is added to the problems."""
    name = f"run-{name_of(cell.setting)}-{cell.model}-z{cell.latent_size}"
    title = f"{cell.model} z={cell.latent_size} on {cell.setting}"
    chart, page = None, None
    with isolated(problems, f"{title}, training curves"):
        chart = _chart(scores)
    with isolated(problems, f"{title}, its page"):
        page = Page(
            style.file_name(name, repr(cell) if "-" in cell.model else ""),
            title,
            tables.run_table(cell, scores),
            {name: _value(value) for name, value in scores.config.items()},
            {name: _value(value) for name, value in scores.environment.items()},
            chart,
        )
    return page


def _chart(scores: Scores) -> Chart | None:
    """Returns the training ELBO by epoch; the first tenth may leave the picture below."""
    curves = read_curves(scores)
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
    content = regular.read_bytes(path, files.MAX_COPIED)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
