"""From run folders to every table, figure and page of the report."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mvae_jax import escape
from mvae_jax.report import (
    comparisons,
    differences,
    explorer,
    figures,
    formats,
    html,
    pairs,
    provenance,
    scores,
    tables,
)
from mvae_jax.report.cells import Setting
from mvae_jax.report.formats import Grid
from mvae_jax.report.pairs import BASELINE
from mvae_jax.report.problems import Problem, isolated, tell
from mvae_jax.report.study import Drawn, Report, Section, Study
from mvae_jax.store import files
from mvae_jax.store.files import PathLike


def _of_metrics(report: Report) -> Iterable[Grid]:
    if len(report.scores.cells) == 1:
        return [tables.run_table(report.scores, cell) for cell in report.scores.cells]
    return tables.tables(*report)


# The sections of every report; a study's and a user's own come behind them.
TABLES = Section(
    "Tables", "tables", _of_metrics, lambda report: tables.records(report.scores), printed=True
)
SECTIONS = (
    TABLES,
    Section(
        *("Comparisons", "comparisons", differences.overview),
        lambda report: report.compared.frame.drop(columns=["planned", "cell"]),
        printed=True,
    ),
    Section("Every comparison", "every_comparison", differences.details, folded=True),
)


def render(
    paths: PathLike | Iterable[PathLike],
    out: PathLike,
    *,
    baseline: str | None = None,
    study: Study | None = None,
    sections: Sequence[Section] = (),
    draw: bool = True,
    samples: Path | None = None,
    every: bool = False,
) -> bool:
    """Print the tables and write the report to `out`, with its figures where `draw` is set.

    paths: run folders or roots of them; one path, or several
    baseline: the model that all others are compared with; by default `vae`
    study: what it adds is written too
    sections: more sections, behind those of every report
    samples: a file of `python -m mvae_jax.datasets --samples`, for a figure of the data sets
    every: print every metric of a single run, not the main ones alone

    One run gives one table of its metrics; several give tables of the models side by side. Return
    whether nothing is missing: every run scored, every seed there, every pair of models
    comparable. Where there is no run at all, nothing is written.

    Raises:
      ValueError: a path is empty or the file system's root, or no run is of the baseline's model.
    """
    study = study or Study()
    paths, out = files.as_paths(paths), Path(out)
    report, problems = read(paths, baseline, study)
    drawn: list[Drawn] = []
    if report.scores.cells:
        shown = _write_sections(report, study, sections, out, problems, every)
        explorers: dict[Setting, Path] = {}
        if samples:
            with isolated(problems, "figure of the data sets"):
                drawn.append(figures.draw_data_sets(samples, out / figures.FOLDER))
        if draw:
            of_runs, undrawn = figures.draw(report, out / figures.FOLDER, point=study.point)
            of_sweeps, not_drawn = figures.draw_sweeps(report.scores, out / figures.FOLDER)
            explorers, unwritten = explorer.write(out, report.scores)
            drawn += [*of_sweeps, *of_runs]
            problems += [*undrawn, *not_drawn, *unwritten]
        titles = {figure.title for figure in drawn}
        of_export = figures.exported(report.scores, paths)
        drawn += [figure for figure in of_export if figure.title not in titles]
        with isolated(problems, str(out / "index.html")):
            html.write(out, report, problems, shown, drawn, explorers)
            print(escape.plain(f"wrote {out / 'index.html'}"))
    study.finish(report, drawn, problems)
    return tell(problems)


def read(
    paths: PathLike | Iterable[PathLike], baseline: str | None, study: Study
) -> tuple[Report, list[Problem]]:
    """Return what a report on the paths is made of, and what it lacks; raise as `render` does."""
    found = scores.read(paths)
    models = pairs.models_of(found.cells)
    if baseline is not None and models and baseline not in models:
        raise ValueError(f"--baseline: got '{baseline}'; allowed: {', '.join(models)}")
    marked = pairs.mark(found, baseline or BASELINE)
    compared = comparisons.compare_all(marked, baseline or BASELINE, study.family)
    return Report(marked, compared), [*marked.lacking(), *compared.problems]


def _write_sections(
    report: Report,
    study: Study,
    sections: Sequence[Section],
    out: Path,
    problems: list[Problem],
    every: bool,
) -> list[tuple[Section, list[Grid]]]:
    """Write the files of every section and print its tables; return these."""
    found = report.scores
    notes = provenance.notes(found.cells, report.compared.baseline)

    def noted(grid: Grid) -> Grid:
        if said := study.note(report, grid):
            grid = grid._replace(notes=[*grid.notes, said])
        return provenance.noted(notes, grid)

    shown: list[tuple[Section, list[Grid]]] = []
    for section in (*SECTIONS, *study.sections, *sections):
        grids: list[Grid] = []
        with isolated(problems, section.title):
            grids += map(noted, section.grids(report))
        text = formats.write(out, section.file, grids)
        with isolated(problems, f"{section.file}.csv"):
            records = section.records(report)
            csv = "" if records.empty else formats.to_csv(records)
            formats.write_or_remove(out / f"{section.file}.csv", csv)
        if section is TABLES and len(found.cells) == 1 and not every:
            main = [noted(tables.main_table(found, cell)) for cell in found.cells]
            text = "\n".join(map(formats.to_text, main))
        if section.printed and text:
            print(text, flush=True)
        shown.append((section, grids))
    return shown
