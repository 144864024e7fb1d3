"""REPRODUCTION.md: what was run, how it compares with the paper, what the paper got wrong."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from mvae_jax.paper import audit, errata, reference, reproduction, summary
from mvae_jax.paper.audit import Finding
from mvae_jax.paper.reproduction import UNCONVERGED_PROBE, either, printed
from mvae_jax.paper.tables import grid
from mvae_jax.report import formats
from mvae_jax.report.formats import Grid, markdown
from mvae_jax.report.metrics import describe
from mvae_jax.report.statistics import ALPHA
from mvae_jax.report.study import Drawn, Report
from mvae_jax.store import files

PAPER_FIGURES = {  # its number -> the title of ours
    1: "Data sets",
    3: "frey_face, release protocol: reconstructions",
    4: "frey_face, release protocol: sweeps",
}


def write(path: Path, report: Report, drawn: Sequence[Drawn], findings: Sequence[Finding]) -> None:
    """Write the page on the runs; everything in it is computed.

    drawn: the figures to show, by links relative to the page; findings: the audit's
    """
    found, compared = report
    figures = reproduction.figures(found)
    figures = figures[figures.epochs.isna() | (figures.epochs >= reproduction.EPOCHS)]
    environment = formats.environment(markdown, "mvae_jax.paper", keep_trailing_newline=True)
    environment.filters["grid"] = compact
    text = environment.get_template("reproduction.md").render(
        **summary.facts(found, compared, findings),
        claims=audit.screen(findings),
        outside=reproduction.OUTSIDE,
        unconverged=reproduction.UNCONVERGED,
        reproduced=beside(figures),
        misses=misses(figures[figures.group != reproduction.MADE_ANEW]),
        frey_face=reproduction.frey_face(found),
        of_paper=of_paper(drawn),
        figures=by_setting(drawn),
        short={
            str(cell.setting): run.config["num_epochs"]
            for cell, run in found.cells.items()
            if reproduction.is_short(run.config)
        },
        link=lambda figure: Markup(quote(os.fsencode(os.path.relpath(figure.path, path.parent)))),
        errata=[errata.labels(), errata.cells()],
        num_unconverged=len(reference.unconverged()),
    )
    files.write_text(path, text)


def compact(grid: Grid) -> Markup:
    """Return a table in Markdown without the spaces that would align it."""
    headers = [f"{title} {header}".strip() for title, header in grid.spread]
    lines = ["|".join(map(markdown, row)) for row in (headers, *grid.rows)]
    lines.insert(1, "|".join(["---"] * len(headers)))
    notes = [f"- {markdown(note)}" for note in grid.notes]
    lines = [f"|{line}|" for line in lines]
    notes += [""] if notes else []
    return Markup("\n".join([f"### {markdown(grid.title)}", "", *lines, "", *notes]))


def beside(figures: pd.DataFrame) -> list[Grid]:
    """Return one table per data set: our means, the release and the paper."""
    columns = {"ours": _ours, "release": reproduction.released, "paper": lambda row: row.paper}
    grids = []
    for setting, found in figures.groupby("setting"):
        source = f" ({setting.source})" if setting.source else ""
        numeral = reference.table_numbers()[setting.dataset]
        title = f"Table {numeral}, {setting.dataset}{source}, {either(found.seeds)} seeds"
        table = reproduction.beside("beside", found, columns, title=title)
        above = [None, *(row[0] for row in table.rows)]  # a metric is named in its first row
        rows = [
            ("" if row[0] == last else row[0], *row[1:])
            for last, row in zip(above, table.rows, strict=False)
        ]
        grids.append(table._replace(rows=rows))
    return grids


def _ours(row: Any) -> str:
    spread = "" if row.sd is None else f" ± {printed(row, row.sd)}"
    return printed(row, row.mean) + spread


def by_setting(drawn: Sequence[Drawn]) -> dict[str, list[tuple[str, Drawn]]]:
    """Return the figures by what their titles say before the colon, with what is behind it."""
    grouped: dict[str, list[tuple[str, Drawn]]] = {}
    for figure in drawn:
        setting, _, name = figure.title.rpartition(": ")
        grouped.setdefault(setting or name, []).append((name, figure))
    return grouped


def of_paper(drawn: Sequence[Drawn]) -> dict[int, Drawn]:
    """Return those that are the paper's, by its numbers, as drawn under the release protocol."""
    by_title = {figure.title: figure for figure in drawn}
    return {n: by_title[title] for n, title in PAPER_FIGURES.items() if title in by_title}


def misses(figures: pd.DataFrame) -> Grid:
    """Return the released figures outside our intervals, the farthest first."""
    outside = figures[figures.inside.eq(False)]
    distance = (outside.release.astype(float) - outside["mean"]) / outside.reach.clip(lower=1e-12)
    outside = outside.assign(distance=distance.astype(float))
    rows = []
    for row in outside.sort_values("distance", key=lambda d: -d.abs(), kind="stable").itertuples():
        reason = "open, or chance" if row.group == reproduction.ORIGINAL else row.group
        if row.release_unconverged and row.group != UNCONVERGED_PROBE:
            reason += f", {UNCONVERGED_PROBE}"
        where = (row.dataset, str(row.latent_size), row.model, describe(row.metric).title)
        both = (printed(row, row.release), printed(row, row.mean))
        rows.append((*where, *both, f"{row.distance:+.1f}", reason))
    number = len(reproduction.comparable(figures))
    chance: dict[str, Any] = {"number": number, "alpha": ALPHA, "expected": ALPHA * number}
    return grid("misses", rows, {*figures.setting}, **chance)
