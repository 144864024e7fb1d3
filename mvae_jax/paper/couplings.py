"""What the text leaves open: the mean coupled, mu = C m(x), or not, in pairs of runs."""

from collections.abc import Iterator

from mvae_jax.paper.cells import MODEL
from mvae_jax.paper.tables import grid
from mvae_jax.report.cells import Cell, Run, likelihood, swept_in
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import HEADLINES, describe
from mvae_jax.report.pairs import unlike
from mvae_jax.report.statistics import compare


def table(found: Scores) -> Grid | None:
    """Return MVAE with its mean coupled less MVAE without; None where there is no such pair."""
    columns: dict[str, dict[str, str]] = {}
    settings = []
    for name, uncoupled, coupled in _pairs(found):
        settings.append(uncoupled.setting)
        for metric in HEADLINES:
            x, y = found.of(uncoupled, metric), found.of(coupled, metric)
            if not x or x.keys() != y.keys():
                continue
            row, decimals = compare(x, y), describe(metric).decimals
            text = f"{row.difference:+.{decimals}f}"
            if row.seeds > 1:
                text += f" ({row.low95:+.{decimals}f} to {row.high95:+.{decimals}f})"
            columns.setdefault(f"{name}, {row.seeds} seeds", {})[metric] = text
    if not columns:
        return None
    rows = [
        (describe(metric).label, *(column.get(metric, "-") for column in columns.values()))
        for metric in HEADLINES
        if any(metric in column for column in columns.values())
    ]
    return grid("couplings", rows, settings, [*columns])


def _pairs(found: Scores) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield what two runs share, by name, and both: uncoupled, coupled."""
    cells = [
        (cell, run)
        for cell, run in found.cells.items()
        if cell.model == MODEL and not run.missing and "couple_mean" in run.config
    ]
    for cell, run in cells:
        for other, coupled in cells:
            if run.config["couple_mean"] or not coupled.config["couple_mean"]:
                continue
            if _untagged(cell, run) == _untagged(other, coupled) and not unlike(run, coupled):
                variants = (f"'{place.setting.variant}'" for place in (other, cell))
                setting = cell.setting._replace(variant=likelihood(run.config))
                yield f"{setting}, z={cell.latent_size}, {' less '.join(variants)}", cell, other


def _untagged(cell: Cell, run: Run) -> Cell:
    """Return the cell under a variant of swept scalars alone."""
    return cell._replace(setting=cell.setting._replace(variant=swept_in(cell, run)))
