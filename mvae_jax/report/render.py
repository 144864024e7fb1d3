"""The room's door: from run folders to every table, figure and page of the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvae_jax import escape, terminal
from mvae_jax.paper import audit, document, reproduction
from mvae_jax.paper.audit import Finding
from mvae_jax.paper.cells import DATA_SETS
from mvae_jax.report import comparisons, explorer, figures, formats, html, provenance, runs, tables
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.figures import Drawn
from mvae_jax.report.formats import Grid
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.runs import Runs
from mvae_jax.store import files
from mvae_jax.store.files import PathLike

# The sections of the page, in their order.
TABLES, OVERVIEW, REPRODUCTION = "Tables", "MVAE against VAE", "Reproduction"
CLAIMS, DETAILS = "Claims", "Every comparison"  # the latter opens on a click


def render(
    paths: PathLike | Iterable[PathLike],
    out: PathLike,
    *,
    draw: bool = True,
    samples: Path | None = None,
    page: PathLike | None = None,
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
    problems = [*found.problems, *compared.problems]
    of_paper = any(cell.setting.dataset in DATA_SETS for cell in found.cells)
    findings: list[Finding] = []
    with isolated(problems, "the paper's claims"):
        findings = audit.findings(found) if of_paper or page else []
    grids = _grids(found, compared, findings if of_paper else [], problems)
    text = _write_tables(out, grids, found, compared, problems)
    print("\n".join([text, *map(formats.to_text, grids[OVERVIEW])]), flush=True)

    drawn: list[Drawn] = []
    if samples:
        with isolated(problems, "figure of the data sets"):
            drawn.append(figures.draw_data_sets(samples, out / figures.FOLDER))
    explorers: dict[str, Path] = {}
    if draw:
        of_runs, undrawn = figures.draw(found, compared, out / figures.FOLDER)
        explorers, unwritten = explorer.write(out, found)
        drawn += of_runs
        problems += [*undrawn, *unwritten]
    titles = {figure.title for figure in drawn}
    drawn += [f for f in figures.exported(found, paths) if f.title not in titles]

    sections = [html.Section(title, of, title == DETAILS) for title, of in grids.items()]
    said = ""
    with isolated(problems, str(out / "index.html")):
        html.write(out, found, problems, sections, drawn, explorers)
        said = f"wrote {out / 'index.html'}"
    if page:
        with isolated(problems, str(page)):
            document.write(Path(page), found, compared, drawn, findings)
    print(escape.plain(said))
    return tell(problems)


def _grids(
    found: Runs, compared: Comparisons, findings: Sequence[Finding], problems: list[Problem]
) -> dict[str, list[Grid]]:
    """Return the tables of every section, by its title; what cannot be made is a problem."""

    def of_metrics() -> Iterable[Grid]:
        if len(found.cells) == 1:
            return [tables.run_table(*cell) for cell in found.cells.items()]
        return tables.tables(found, compared)

    def of_claims() -> Iterable[Grid]:
        return [audit.table(findings)._replace(settings=audit.settings(found))] if findings else []

    sections: dict[str, Callable[[], Iterable[Grid]]] = {
        TABLES: of_metrics,
        OVERVIEW: lambda: [comparisons.overview(compared)] if compared.found else [],
        REPRODUCTION: lambda: reproduction.tables(found),
        CLAIMS: of_claims,
        DETAILS: lambda: comparisons.details(compared),
    }
    grids: dict[str, list[Grid]] = {title: [] for title in sections}
    for title, make in sections.items():
        with isolated(problems, title):
            noted = (reproduction.noted(found, grid) for grid in make())
            grids[title] += [provenance.noted(found, grid) for grid in noted]
    return grids


def _write_tables(
    out: Path,
    grids: Mapping[str, list[Grid]],
    found: Runs,
    compared: Comparisons,
    problems: list[Problem],
) -> str:
    """Write every table in every format; return those of the metrics as text."""
    text = formats.write(out, "tables", grids[TABLES])
    formats.write(out, "comparisons", [*grids[OVERVIEW], *grids[DETAILS]])
    formats.write(out, "reproduction", grids[REPRODUCTION])
    formats.write(out, "claims", grids[CLAIMS])
    records: dict[str, Callable[[], Iterable[Mapping[str, Any]]]] = {
        "tables": lambda: tables.records(found),
        "comparisons": lambda: comparisons.records(compared),
        "reproduction": lambda: reproduction.records(found),
    }
    for name, of in records.items():
        with isolated(problems, f"{name}.csv"):
            formats.write_or_remove(out / f"{name}.csv", formats.to_csv(of()))
    return text


def tell(problems: Sequence[Problem]) -> bool:
    """Prints what is missing; returns whether nothing is."""
    for problem in problems:
        terminal.say(f"error: {problem.where}: {problem.reason}")
    return not problems
