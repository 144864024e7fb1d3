"""Figures of a report: what the tables cannot show.

Each figure is of one table's runs (one data set, source and protocol). A figure whose files are
not there is not drawn.
"""

import tomllib
from collections.abc import Callable, Collection, Iterable
from importlib import resources
from pathlib import Path

from matplotlib.figure import Figure

from mvae_jax.report.cells import Cell, Run, Setting
from mvae_jax.report.figures import latents, pictures, scores, style
from mvae_jax.report.figures.table import LATENT_SIZE, Point, Table
from mvae_jax.report.frame import Scores
from mvae_jax.report.pairs import models_of
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.study import Drawn, Report
from mvae_jax.report.swept import sweeps
from mvae_jax.store import files

MOST_MODELS, MOST_SIZES = 12, 40  # of one figure
PROTOCOLS = ("release", "paper")
OF_FIGURES = {2, LATENT_SIZE}  # the latent sizes of the plane and of the pictures
FOLDER = "figures"  # of a report, and of an export
FIGURES: dict[str, Callable[[Table], Figure | None]] = {
    "metrics": scores.metrics_against_latent_size,
    "differences": scores.paired_differences,
    "training": scores.training_curves,
    "reliability": scores.reliability,
    "coupling": latents.coupling,
    "covariance": latents.covariance,
    "embeddings": latents.plane,
    "reconstructions": pictures.reconstructions,
    "sweeps": pictures.sweeps,
}
CAPTIONS = tomllib.loads(
    (resources.files(__package__) / "captions.toml").read_text(encoding="utf-8")
)
OF_SCORES = ("metrics", "differences")  # which the scores alone give


def draw(
    report: Report,
    out: Path,
    names: Collection[str] = tuple(FIGURES),
    point: Point = lambda _metric, _cell: None,
) -> tuple[list[Drawn], list[Problem]]:
    """Draw every figure of these whose data is there, as PNG files in `out`.

    point: the published value that the figure of metrics shows beside ours

    Return the figures, and why each of the others could not be drawn.
    """
    drawn: list[Drawn] = []
    problems: list[Problem] = []
    for setting, of_table in report.scores.tables().items():
        cells, note = _shown(of_table)
        table = Table(cells, report.scores, report.compared, point)
        for name in names:
            path = out / f"{name_of(setting)}-{name}.png"
            with isolated(problems, f"{setting}, figure {name}"), style.context():
                figure = FIGURES[name](table) if cells else None
                if figure is None:
                    path.unlink(missing_ok=True)  # an earlier report's
                    continue
                if note:
                    figure.supxlabel(note, fontsize=7)
                style.save(figure, path)
                drawn.append(Drawn(f"{setting}: {name}", CAPTIONS[name], path))
    return drawn, problems


def draw_sweeps(found: Scores, out: Path) -> tuple[list[Drawn], list[Problem]]:
    """Draw the metrics of every sweep of one scalar against its values, as `draw` does."""
    drawn: list[Drawn] = []
    problems: list[Problem] = []
    for sweep in sweeps(found):
        path = out / f"{name_of(sweep.setting)}-{'-'.join(sweep.fields)}.png"
        title = f"{sweep.setting}, metrics against {', '.join(sweep.fields)}"
        with isolated(problems, title), style.context():
            if (figure := scores.metrics_against_value(found, sweep)) is not None:
                style.save(figure, path)
                drawn.append(Drawn(title, "Mean over seeds and its 95% interval.", path))
    return drawn, problems


def _shown(of_table: dict[Cell, Run]) -> tuple[dict[Cell, Run], str]:
    """Return the table's cells that figures show, in their order, and what is left out."""
    cells = {cell: run for cell, run in of_table.items() if not run.missing}
    models, sizes = models_of(cells), sorted({cell.latent_size for cell in cells})
    of, at = models[:MOST_MODELS], {*style.spread(sizes, MOST_SIZES), *(OF_FIGURES & {*sizes})}
    notes = [f"{len(of)} of {len(models)} models"] if len(of) < len(models) else []
    notes += [f"{len(at)} of {len(sizes)} latent sizes"] if len(at) < len(sizes) else []
    ordered = sorted(cells, key=lambda cell: models.index(cell.model))
    shown = {c: cells[c] for c in ordered if c.model in of and c.latent_size in at}
    return shown, "; ".join(notes)


def exported(found: Scores, paths: Iterable[Path]) -> list[Drawn]:
    """Return the runs' figures that an export left beside them."""
    partly = " Of the runs exported last, which may be a part of the table's."
    return [
        Drawn(f"{setting}: {name}", CAPTIONS[name] + partly * (name not in OF_SCORES), path)
        for root in paths
        for setting in found.tables()
        for name in FIGURES
        if (path := root / FOLDER / f"{name_of(setting)}-{name}.png").is_file()
        and path.stat().st_size <= files.MAX_COPIED  # which the page can hold
    ]


def draw_data_sets(samples: Path, out: Path) -> Drawn:
    """Draw the paper's Figure 1 from a samples file; raise ValueError where it is damaged."""
    with style.context():
        figure = pictures.data_sets(samples)
        path = out / "data_sets.png"
        # The layout leaves no room for labels beside pictures of a fixed aspect.
        style.save(figure, path, bbox_inches="tight")
    return Drawn("Data sets", CAPTIONS["data_sets"], path)


def name_of(setting: Setting) -> str:
    """Return a table's name as it may stand in a file name; unlike settings have unlike names."""
    parts = list(filter(None, setting))
    of_ours = setting.protocol in PROTOCOLS and setting.source not in PROTOCOLS
    dashes = "-" in setting.dataset + setting.source + setting.protocol
    # Otherwise the parts cannot be told from each other in the name.
    named = setting.dataset and setting.protocol
    is_clear = named and not dashes and (of_ours or len(parts) == 2)
    return style.file_name("-".join(parts), "" if is_clear else repr(tuple(setting)))
