"""REPRODUCTION.md: what was run, how it compares with the paper, what the paper got wrong."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from mvae_jax import escape
from mvae_jax.paper import audit, constants, couplings, errata, reproduction, study, summary
from mvae_jax.paper.audit import Finding
from mvae_jax.paper.judge import NO_RUNS, NOT_PUBLISHED
from mvae_jax.paper.reproduction import ORIGINAL, UNCONVERGED_PROBE, Figure
from mvae_jax.report import differences, provenance, tables, templates
from mvae_jax.report.figures import Drawn
from mvae_jax.report.formats import Bold, Grid, markdown, to_markdown
from mvae_jax.report.metrics import HEADLINES, describe
from mvae_jax.report.statistics import ALPHA
from mvae_jax.report.study import Report
from mvae_jax.store import files


def write(path: Path, report: Report, drawn: Sequence[Drawn], findings: Sequence[Finding]) -> None:
    """Write the page on the runs; everything in it is computed.

    drawn: the figures to show, by links relative to the page; findings: the audit's
    """
    found, compared = report
    reproduced = reproduction.tables(report)
    headlines = compared.select(compared.frame.metric.isin(HEADLINES))
    environment = templates.environment(markdown, "mvae_jax.paper", keep_trailing_newline=True)
    notes = provenance.notes(found.cells, compared.baseline)

    def grid(grid: Grid) -> Markup:
        grid = grid._replace(notes=[*grid.notes, *filter(None, [study.note(report, grid)])])
        return Markup(to_markdown(provenance.noted(notes, grid)))

    environment.filters |= {"grid": grid, "html": escape.html}
    text = environment.get_template("reproduction.md").render(
        summary=summary.sentences(found, compared, findings),
        what_was_run=summary.what_was_run(found),
        not_run=summary.not_run(found) if reproduced else {},
        num_cells=summary.NUM_CELLS,
        figures=by_setting(drawn),
        short={
            str(cell.setting): run.config["num_epochs"]
            for cell, run in found.cells.items()
            if reproduction.is_short(run.config)
        },
        link=lambda figure: _relative(figure.path, path.parent),
        tables=list(tables.tables(found, compared)),
        reproduced=reproduced,
        frey_face=reproduction.frey_face(found),
        misses=misses(reproduction.figures(found)),
        compared=[*differences.overview(headlines), *differences.details(headlines)],
        couplings=couplings.table(found),
        verdicts=audit.screen(findings)._replace(settings=audit.settings(found)),
        findings=findings,
        figures_behind=figures_behind,
        finding_notes=audit.NOTES,
        tested_by=audit.tested_by,
        power=constants.load().power,
        errata=errata.with_ours(constants.load().errata, found),
        statements=constants.load().statements,
    )
    files.write_text(path, text)


def by_setting(drawn: Sequence[Drawn]) -> dict[str, list[tuple[str, Drawn]]]:
    """Return the figures by what their titles say before the colon, with what is behind it."""
    grouped: dict[str, list[tuple[str, Drawn]]] = {}
    for figure in drawn:
        setting, _, name = figure.title.rpartition(": ")
        grouped.setdefault(setting or name, []).append((name, figure))
    return grouped


def misses(figures: Sequence[Figure]) -> Grid:
    """Return the released figures outside our intervals, the farthest first."""
    outside = [(abs(_distance(f)), f) for f in figures if f.inside is False]
    comparable = reproduction.comparable(figures)
    rows = []
    for _, figure in sorted(outside, key=lambda pair: -pair[0]):
        _, dataset, z, model = figure.key
        shown, group = describe(figure.key.metric), reproduction.group(figure)
        release = f"{float(figure.release):.{shown.decimals}f}"
        ours = f"{figure.mean:.{shown.decimals}f}"
        reason = "open, or chance" if group == ORIGINAL else group
        if figure.unconverged and group != UNCONVERGED_PROBE:
            reason += f", {UNCONVERGED_PROBE}"
        where = (dataset, str(z), model, shown.title)
        rows.append((*where, release, ours, f"{_distance(figure):+.1f}", reason))
    headers = (
        "data set",
        "z",
        "model",
        "metric",
        "release",
        "ours",
        "half widths",
        "possible reason",
    )
    return Grid(
        "Released figures outside our intervals",
        headers,
        rows,
        notes=[
            "Half widths: how far the release is from our mean, in halves of the interval.",
            f"Chance: of {len(comparable)} figures of the release's images and probes, "
            f"{ALPHA:.0%} are to be expected outside, {ALPHA * len(comparable):.1f}, "
            "where the release is one more seed of ours.",
        ],
        settings={figure.setting for figure in figures},
    )


def figures_behind(finding: Finding) -> dict[str, Bold]:
    """Return a claim's verdicts with their figures, by the bodies of evidence that share them.

    Those that have nothing to say are left out.
    """
    bodies: dict[Bold, list[str]] = {}
    for body, verdict in finding.verdicts.items():
        if verdict.lacking not in (NO_RUNS, NOT_PUBLISHED):
            bodies.setdefault(verdict.text, []).append(body)
    return {" and ".join(titles): text for text, titles in bodies.items()}


def _relative(path: Path, folder: Path) -> Markup:
    """Return the path as a link from a page in the folder."""
    return Markup(quote(os.fsencode(os.path.relpath(path, folder))))


def _distance(figure: Figure) -> float:
    """Return the release less our mean, in half widths of the interval."""
    assert figure.interval is not None
    low, high = figure.interval
    return (float(figure.release) - figure.mean) / max((high - low) / 2, 1e-12)
