"""What the text leaves open: the mean coupled, mu = C m(x), or not, in pairs of runs."""

from collections.abc import Iterator

from mvae_jax.report.cells import Cell, Scores, Setting, likelihood
from mvae_jax.report.comparisons import paired, unlike
from mvae_jax.report.formats import Grid
from mvae_jax.report.metrics import HEADLINES, describe
from mvae_jax.report.runs import MODEL, Runs
from mvae_jax.report.statistics import compare


def table(runs: Runs) -> Grid | None:
    """Returns MVAE with its mean coupled less MVAE without; None where there is no such pair."""
    columns: dict[str, dict[str, str]] = {}
    settings = []
    for setting, name, uncoupled, coupled in _pairs(runs):
        settings.append(setting)
        for metric, (x, y) in paired(uncoupled, coupled):
            difference, decimals = compare(x, y).difference, describe(metric).decimals
            text = f"{difference.mean:+.{decimals}f}"
            if difference.interval:
                low, high = (f"{end:+.{decimals}f}" for end in difference.interval)
                text += f" ({low} to {high})"
            columns.setdefault(f"{name}, {difference.n} seeds", {})[metric] = text
    if not columns:
        return None
    rows = [
        (describe(metric).label, *(column.get(metric, "-") for column in columns.values()))
        for metric in HEADLINES
        if any(metric in column for column in columns.values())
    ]
    return Grid(
        "MVAE with its mean coupled less MVAE with its mean uncoupled",
        ("metric", *columns),
        rows,
        notes=[
            "Mean and 95% interval over seeds of the paired difference, of runs that differ in "
            "nothing else. No correction for the number of intervals."
        ],
        settings=settings,
    )


def _pairs(runs: Runs) -> Iterator[tuple[Setting, str, Scores, Scores]]:
    """Yields the first's setting, what two runs share, by name, and both: uncoupled, coupled."""
    for cell, scores in runs.cells.items():
        if cell.model != MODEL or scores.config.get("couple_mean") is not False:
            continue
        for other, coupled in runs.cells.items():
            if coupled.config.get("couple_mean") is True and _alike(cell, scores, other, coupled):
                variants = (f"'{place.setting.variant}'" for place in (other, cell))
                setting = cell.setting._replace(variant=likelihood(scores.config))
                name = f"{setting}, z={cell.latent_size}, {' less '.join(variants)}"
                yield cell.setting, name, scores, coupled


def _alike(a: Cell, of_a: Scores, b: Cell, of_b: Scores) -> bool:
    """Whether two runs differ in no more than their tag and the coupling."""
    where = [_untagged(a, of_a), _untagged(b, of_b)]
    return where[0] == where[1] and not unlike(of_a, of_b)


def _untagged(cell: Cell, scores: Scores) -> Cell:
    """Returns the cell under a variant of swept scalars alone."""
    swept = cell.setting.variant.removeprefix(scores.config.get("tag", "")).removeprefix(", ")
    return cell._replace(setting=cell.setting._replace(variant=swept))
