"""The room's door: from run folders to every table, figure and page of the report."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from mvae_jax import escape, files
from mvae_jax.files import PathLike
from mvae_jax.report import (
    audit,
    comparisons,
    document,
    explorer,
    figures,
    formats,
    html,
    reproduction,
    runs,
    tables,
)
from mvae_jax.report.claims import DATA_SETS


def render(
    paths: PathLike | Iterable[PathLike],
    out: PathLike,
    *,
    draw: bool = True,
    samples: Path | None = None,
    page: Path | None = None,
) -> bool:
    """Print the tables and write the report to `out`, with its figures where `draw` is set.

    paths: run folders or roots of them; one path, or several
    samples: a file of `python -m mvae_jax.datasets --samples`, for the paper's Figure 1.
    page: where to write all of it as one Markdown page.

    One run gives one table of its metrics; several give the paper's tables. Returns whether
    nothing is missing: every run scored, every seed there, every pair of models comparable. Where
    there is no run at all and no page is asked for, nothing is written.
    """
    paths, out = files.as_paths(paths), Path(out)
    found = runs.read(paths)
    if not found.cells and page is None:
        return tell(found.problems)
    compared = comparisons.compare_all(found)
    folder = out / figures.FOLDER
    drawn, undrawn = figures.draw(found, compared, folder) if draw else ([], [])
    titles = {figure.title for figure in drawn}
    drawn += [f for f in figures.exported(found, paths) if f.title not in titles]
    problems = [*found.problems, *compared.problems, *undrawn]
    if samples:
        try:
            drawn = [figures.draw_data_sets(samples, folder), *drawn]
        except ValueError as error:
            problems.append(runs.Problem("figure of the data sets", str(error)))

    explorers: dict[str, Path] = {}
    if draw:
        explorers, not_written = explorer.write(out, found)
        problems += not_written

    if len(found.cells) == 1:
        grids = [tables.run_table(*cell) for cell in found.cells.items()]
    else:
        grids = list(tables.tables(found, compared))
    overview = [comparisons.overview(compared)] if compared.found else []
    details = list(comparisons.details(compared))
    reproduced = reproduction.tables(found)
    of_paper = any(cell.setting.dataset in DATA_SETS for cell in found.cells)
    findings = audit.findings(found) if of_paper or page else []
    claims = [audit.table(findings)._replace(settings=audit.settings(found))] if of_paper else []
    grids, overview, details, reproduced, claims = (
        [reproduction.noted(found, grid) for grid in part]
        for part in (grids, overview, details, reproduced, claims)
    )
    text = formats.write(out, "tables", grids)
    formats.write(out, "comparisons", [*overview, *details])
    formats.write(out, "reproduction", reproduced)
    formats.write(out, "claims", claims)
    for name, records in (
        ("tables", tables.records(found)),
        ("comparisons", comparisons.records(compared)),
        ("reproduction", reproduction.records(found)),
    ):
        formats.write_or_remove(out / f"{name}.csv", formats.to_csv(records))

    sections = [
        html.Section("Tables", grids),
        html.Section("MVAE against VAE", overview),
        html.Section("Reproduction", reproduced),
        html.Section("Claims", claims),
        html.Section("Every comparison", details, folded=True),
    ]
    html.write(out, found, problems, sections, drawn, explorers)
    if page:
        document.write(page, found, compared, drawn, findings)

    print(
        "\n".join(
            [text, *map(formats.to_text, overview), escape.plain(f"wrote {out / 'index.html'}")]
        )
    )
    return tell(problems)


def tell(problems: Sequence[runs.Problem]) -> bool:
    """Prints what is missing; returns whether nothing is."""
    for problem in problems:
        print(escape.plain(f"error: {problem.where}: {problem.reason}"), file=sys.stderr)
    return not problems
