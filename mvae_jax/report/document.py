"""REPRODUCTION.md: what was run, how it compares with the paper, what the paper got wrong."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mvae_jax import files
from mvae_jax.report import (
    audit,
    comparisons,
    couplings,
    errata,
    power,
    reference,
    reproduction,
    runs,
    tables,
    templates,
)
from mvae_jax.report.claims import CELLS
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.figures import Drawn
from mvae_jax.report.formats import Grid, to_markdown
from mvae_jax.report.metrics import describe
from mvae_jax.report.reproduction import ORIGINAL, Figure
from mvae_jax.report.runs import BASELINE, MODEL, Runs
from mvae_jax.report.statistics import ALPHA


def write(path: Path, found: Runs, compared: Comparisons, drawn: Sequence[Drawn]) -> None:
    """Writes the page on the runs; everything in it is computed.

    drawn: the figures to show, by links relative to the page
    """
    reproduced = reproduction.tables(found)
    environment = templates.environment(keep_trailing_newline=True)
    environment.filters["grid"] = to_markdown
    text = environment.get_template("reproduction.md").render(
        what_was_run=what_was_run(found),
        not_run=not_run(found) if reproduced else {},
        num_cells=2 * len(CELLS),
        figures=[(figure, _relative(figure.path, path.parent)) for figure in drawn],
        tables=list(tables.tables(found, compared)),
        reproduced=reproduced,
        frey_face=reproduction.frey_face(found),
        couplings=couplings.table(found),
        misses=misses(reproduction.figures(found)),
        claims=audit.table(found),
        overview=comparisons.overview(compared) if compared.found else None,
        power=power.table(),
        errata=errata.tables(found),
        unconverged=len(reference.unconverged()),
    )
    files.write_text(path, text)


def what_was_run(found: Runs) -> Grid:
    """Returns one row per table: models, latent sizes, seeds, epochs, hardware, versions."""
    rows = []
    for setting, cells in found.tables().items():
        scored = {cell: scores for cell, scores in cells.items() if not scores.missing}
        if not scored:
            continue
        models = " ".join(runs.models_of(scored))
        sizes = " ".join(map(str, sorted({cell.latent_size for cell in scored})))
        seeds = {str(len(s.replicates) - len(s.failed)) for s in scored.values()}
        epochs = {str(s.config.get("num_epochs", "-")) for s in scored.values()}
        environments = [s.environment for s in scored.values()]
        likelihoods = {couplings.likelihood(s.config) for s in scored.values()}
        devices = {", ".join(sorted(set(e.get("devices", ["-"])))) for e in environments}
        processors = {str(e.get("processor", "-")) for e in environments}
        versions = {e.get("versions", {}).get("jax", "-") for e in environments}
        revisions = {str(e.get("git_revision") or "-")[:10] for e in environments}
        columns = (seeds, epochs, likelihoods, devices, processors, versions, revisions)
        rows.append((str(setting), models, sizes, *(", ".join(sorted(c)) for c in columns)))
    headers = ("data set", "models", "z", "seeds", "epochs", "likelihood")
    return Grid("Runs", (*headers, "devices", "processor", "jax", "revision"), rows)


def not_run(found: Runs) -> dict[str, list[str]]:
    """Returns, per model and data set, the paper's latent sizes that no run of ours fills.

    Of the release protocol.
    """
    done = {
        (cell.setting.dataset, cell.latent_size, cell.model)
        for cell, scores in found.cells.items()
        if cell.setting.protocol == "release" and not cell.setting.variant and not scores.missing
    }
    missing: dict[str, list[str]] = {}
    for dataset, z in CELLS:
        for model in (BASELINE, MODEL):
            if (dataset, z, model) not in done:
                missing.setdefault(f"{model} on {dataset}", []).append(str(z))
    return missing


def misses(figures: Sequence[Figure]) -> Grid:
    """Returns the released figures outside our intervals, the farthest first."""
    outside = [(abs(_distance(f)), f) for f in figures if f.inside is False]
    comparable = [f for f in figures if f.interval and reproduction.group(f) == ORIGINAL]
    rows = []
    for _, figure in sorted(outside, key=lambda pair: -pair[0]):
        _, dataset, z, model = figure.key
        shown, group = describe(figure.key.metric), reproduction.group(figure)
        release = f"{float(figure.release):.{shown.decimals}f}"
        ours = f"{figure.mean:.{shown.decimals}f}"
        reason = "open, or chance" if group == ORIGINAL else group
        where = (dataset, str(z), model, shown.title)
        rows.append((*where, release, ours, f"{_distance(figure):+.1f}", reason))
    headers = ("data set", "z", "model", "metric", "release", "ours", "half widths", "reason")
    return Grid(
        "Released figures outside our intervals",
        headers,
        rows,
        notes=[
            "Half widths: how far the release is from our mean, in halves of the interval.",
            f"Chance: of {len(comparable)} figures of the original images and probes, "
            f"{ALPHA:.0%} are to be expected outside, {ALPHA * len(comparable):.1f}, "
            "where the release is one more seed of ours.",
        ],
    )


def _relative(path: Path, folder: Path) -> str:
    """Returns the path as a link from a page in the folder."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _distance(figure: Figure) -> float:
    """Returns the release less our mean, in half widths of the interval."""
    assert figure.interval is not None
    low, high = figure.interval
    return (float(figure.release) - figure.mean) / max((high - low) / 2, 1e-12)
