"""Figures of a report: what the tables cannot show.

Each figure is of one table's runs (one data set, source and protocol). A figure whose files are
not there is not drawn.
"""

from collections.abc import Callable, Collection, Iterable
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
FIGURES: dict[str, tuple[Callable[[Table], Figure | None], str]] = {
    "metrics": (
        scores.metrics_against_latent_size,
        "Mean over seeds and its 95% interval; crosses, where there are any: published values.",
    ),
    "differences": (
        scores.paired_differences,
        "Each model less the baseline, paired by seed, with its 95% interval. Filled: significant "
        "after Holm's correction. The shaded side is where the model is better than the baseline.",
    ),
    "training": (
        scores.training_curves,
        "Training ELBO: mean over seeds, the band from the least to the greatest. The first tenth "
        "of the epochs may lie below the picture.",
    ),
    "reliability": (
        scores.reliability,
        "The linear probe's accuracy against its confidence; on the diagonal it is calibrated. "
        "Bins of all seeds together, those of ten examples and more.",
    ),
    "coupling": (
        latents.coupling,
        "C of the first seed, and its singular values for every seed.",
    ),
    "covariance": (
        latents.covariance,
        "Covariance of the test embeddings mu over examples, first seed; where z is larger than "
        f"{latents.NUM_SHOWN}, of as many coordinates, those that vary most.",
    ),
    "embeddings": (
        latents.plane,
        "Test embeddings at z=2, first seed, coloured by class.",
    ),
    "reconstructions": (
        pictures.reconstructions,
        "Input and reconstructions from a sampled z, first seed, first images in file order.",
    ),
    "sweeps": (
        pictures.sweeps,
        "Decoded plane z_0 (down) against z_1 (across), others 0, over normal quantiles; beside it "
        "planes of the first two left singular vectors of C and of the last two. First seed.",
    ),
}


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
            function, caption = FIGURES[name]
            path = out / f"{name_of(setting)}-{name}.png"
            with isolated(problems, f"{setting}, figure {name}"), style.context():
                figure = function(table) if cells else None
                if figure is None:
                    path.unlink(missing_ok=True)  # an earlier report's
                    continue
                if note:
                    figure.supxlabel(note, fontsize=7)
                style.save(figure, path)
                drawn.append(Drawn(f"{setting}: {name}", caption, path))
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
        Drawn(f"{setting}: {name}", caption + ("" if name in OF_SCORES else partly), path)
        for root in paths
        for setting in found.tables()
        for name, (_, caption) in FIGURES.items()
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
    return Drawn("Data sets", "Real images of every data set, one row each.", path)


def name_of(setting: Setting) -> str:
    """Return a table's name as it may stand in a file name; unlike settings have unlike names."""
    parts = list(filter(None, setting))
    of_ours = setting.protocol in PROTOCOLS and setting.source not in PROTOCOLS
    dashes = "-" in setting.dataset + setting.source + setting.protocol
    # Otherwise the parts cannot be told from each other in the name.
    named = setting.dataset and setting.protocol
    is_clear = named and not dashes and (of_ours or len(parts) == 2)
    return style.file_name("-".join(parts), "" if is_clear else repr(tuple(setting)))
