"""`--export`: the scores of every run below some paths as one archive, and the report's figures.

The archive (`report.archive`) has no arrays, a few kilobytes a run. The figures, most of which
cannot be drawn without the arrays, go along as pictures.
"""

import fnmatch
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from mvae_jax.report import archive, figures, scores, writing
from mvae_jax.report.cells import NO_SEED, Cell, Run
from mvae_jax.report.frame import NO_VALUES, Scores
from mvae_jax.report.problems import Problem
from mvae_jax.report.study import Study
from mvae_jax.store import files
from mvae_jax.store.files import PathLike


def export(
    paths: PathLike | Iterable[PathLike],
    out: PathLike,
    names: Sequence[str] = ("*",),
    study: Study = Study(),  # noqa: B008 - never written to
) -> tuple[list[Cell], list[Problem]]:
    """Write the scores below the paths into the archive `out`, and their figures beside it.

    The cells that the archive holds already stay, but for those that are exported now.

    names: which figures go along, by patterns of their file names without the ending
    study: whose corrections and published values the figures show

    Return the cells written, and what a report on the paths would say is missing. A run that
    cannot be read is left out. Raise ValueError where `out` lies among the runs, two runs would be
    written to one place, or a cell of the archive has seeds or metrics that the new one lacks, or
    has trained for longer.
    """
    paths, out = files.as_paths(paths), Path(out)
    _check_out(paths, out)
    found = scores.read(paths)
    new = {
        cell: run._replace(path=_place(run.path, paths, out))
        for cell, run in found.cells.items()
        if run.replicates
    }
    report, problems = writing.read(paths, None, study)
    if new:
        out.mkdir(parents=True, exist_ok=True)
        with files.hold(out):
            _write(found, new, out)
        problems = [*problems, *_write_figures(report, paths, out, names, study)]
    return list(new), problems


def _check_out(paths: Sequence[Path], out: Path) -> None:
    for path in paths:
        if (inner := out.resolve()) == (outer := path.resolve()) or outer in inner.parents:
            raise ValueError(f"--export: got '{out}', which is or lies in '{path}'; choose another")
    runs = files.find_runs([out], holding=scores.MARKS - {archive.RUNS})
    if runs:  # a report on `out` would read the archive and pass them over
        raise ValueError(f"--export: got '{out}', which holds the run {runs[0]}; choose another")


def _place(run: Path, paths: Sequence[Path], out: Path) -> Path:
    """Return where a run is written: as below its root; a root that is a run, by its name."""
    root = next(path for path in paths if run.is_relative_to(path))
    return out / (run.resolve().name if run == root else run.relative_to(root))


def _write(found: Scores, new: dict[Cell, Run], out: Path) -> None:
    """Write the cells found, and those of the archive that are none of them."""
    there = _read_archive(out)
    for cell in new.keys() & there.cells.keys():
        _check_nothing_lost(cell, found, there)
    cells = dict(sorted((there.cells | new).items()))
    keys = {cell: archive.key_of(out, cell, run) for cell, run in cells.items()}
    taken: dict[str, Cell] = {}
    for cell, key in keys.items():
        if other := taken.get(key):
            both = f"{other.setting}, {other} and {cell.setting}, {cell}"
            raise ValueError(f"--export: {both} would both be {out / key}; choose another folder")
        taken[key] = cell
    rows = [_rows(found, keys, new), _rows(there, keys, there.cells.keys() - new.keys())]
    values = pd.concat([of for of in rows if len(of)] or rows[:1])
    order = {key: position for position, key in enumerate(taken)}
    values = values.sort_values("run", key=lambda column: column.map(order), kind="stable")
    archive.write(out, cells, values)


def _read_archive(out: Path) -> Scores:
    """Return what the archive holds already; raise ValueError where it cannot be read."""
    if not archive.is_archive(out) and not (out / archive.SCORES).exists():
        return Scores(NO_VALUES, {}, [])
    there = scores.read(out)
    if there.problems:
        reason = there.problems[0].reason
        raise ValueError(f"--export: {out} cannot be read, so it is kept: {reason}")
    return there


def _rows(found: Scores, keys: dict[Cell, str], of: Iterable[Cell]) -> pd.DataFrame:
    """Return the values of these cells, each behind its key."""
    wanted = {*of}
    names = [keys[cell] if cell in wanted else None for cell in found.cells]
    values = scores.tidy(found).astype({"metric": object, "split": object})
    values.insert(0, "run", [names[cell] for cell in found.values.cell])
    return values[values.run.notna()]


def _check_nothing_lost(cell: Cell, new: Scores, there: Scores) -> None:
    """Raise ValueError where the archive's cell has a value of a seed that the new one lacks, or
    has after fewer epochs."""
    old, run = there.cells[cell], new.cells[cell]
    scored, known = (
        {*zip(of.seed, of.metric, strict=True)} for of in (new.rows(cell), there.rows(cell))
    )
    for seed, metric in sorted(known):
        epochs = old.epochs.get(seed, 0)
        is_lost = (seed, metric) not in scored or run.epochs.get(seed, 0) < epochs
        if is_lost and seed != NO_SEED:
            raise ValueError(
                f"--export: {old.path} has {metric} of {old.replicates[seed]} after {epochs} "
                f"epochs, {run.path} has not; choose another folder"
            )


def _write_figures(
    report: writing.Report,
    paths: Sequence[Path],
    out: Path,
    names: Sequence[str],
    study: Study,
) -> list[Problem]:
    """Write the figures whose names match; return why others could not be drawn.

    What cannot be drawn stays as it is there; those of the scores are of the whole archive.
    """
    pictures = out / figures.FOLDER
    of_files = [name for name in figures.FIGURES if name not in figures.OF_SCORES]
    with tempfile.TemporaryDirectory() as new:
        drawn, undrawn = figures.draw(report, Path(new), of_files)
        for figure in [*figures.exported(report.scores, paths), *drawn]:
            if _matches(figure.path, names):
                files.copy(figure.path, pictures / figure.path.name)
    together, _ = writing.read(out, None, study)
    of_scores, not_drawn = figures.draw(together, pictures, figures.OF_SCORES, study.point)
    for figure in of_scores:
        if not _matches(figure.path, names):
            figure.path.unlink()
    return [*undrawn, *not_drawn]


def _matches(path: Path, names: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path.stem, name) for name in names)
