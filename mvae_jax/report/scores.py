"""Scores of run folders as one tidy pandas frame, and what is missing from it.

Nothing is dropped in silence: what cannot be read, lacks a seed or is claimed by two runs becomes
a cell without values and a problem with its reason.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd

from mvae_jax import workers
from mvae_jax.config import SWEPT
from mvae_jax.report import archive
from mvae_jax.report.cells import NO_SEED, Cell, Part, Run, read_run, swept_in
from mvae_jax.report.frame import NO_VALUES, VALUES, Scores
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.store import files, run_folder
from mvae_jax.store.files import PathLike

MARKS = files.RUN_MARKS | {"metrics.json", archive.RUNS}  # of a folder that is a run, or has runs
FIELDS = ("tag", *SWEPT)  # of the configuration, in the frame
TEXTS = ("dataset", "source", "protocol", "tag", "model")
ORDER = ["cell", "metric", "seed"]  # of the rows of `Scores.values`
CHUNK = 50  # run folders that a process reads at a time
FEW = 4 * CHUNK  # folders for which no process is started
MARKED = "embeddings/, metrics.json, done/, manifest.json or runs.jsonl"


class Frames(NamedTuple):
    """Scores as two pandas frames.

    values:   one row per value: dataset, source, protocol, tag, the swept scalars (NaN where the
              run does not say), model, latent_size, seed (<NA> where it is the same for every
              seed), split, metric, value (nats per example where the metric has that unit)
    problems: where, reason: one row for everything that keeps the scores from being complete
    """

    values: pd.DataFrame
    problems: pd.DataFrame


def scores(*paths: PathLike) -> Frames:
    """Read the scores of every run at or below the paths.

    >>> values, problems = mvae_jax.scores("runs")  # doctest: +SKIP
    >>> values.query("metric == 'elbo'").groupby(["model", "latent_size"]).value.mean()
    ... # doctest: +SKIP

    Raises:
      ValueError: a path is empty, or the root of the file system.
    """
    found = read(paths)
    return Frames(tidy(found), pd.DataFrame(found.lacking(), columns=list(Problem._fields)))


def tidy(found: Scores) -> pd.DataFrame:
    """Return the values as `Frames` has them."""
    of_runs = [
        [run.config.get(field, "" if field == "tag" else math.nan) for field in FIELDS]
        for run in found.cells.values()
    ]
    fields = pd.DataFrame(of_runs, columns=[*FIELDS])
    order = ["dataset", "source", "protocol", *FIELDS, "model", "latent_size"]
    cells = pd.concat([found.places, fields], axis=1)[order]
    cells = cells.astype(dict.fromkeys(TEXTS, "category"))
    rows = found.values
    values = cells.iloc[rows.cell].reset_index(drop=True)
    seeds = rows.seed.astype("Int64").where(rows.seed != NO_SEED)
    return values.assign(seed=seeds, split=rows.split, metric=rows.metric, value=rows.value)


# --- one run -----------------------------------------------------------------------------------


def parts_of(folder: Path, swept: Mapping[str, float]) -> list[Part]:
    """Return the cells of one run folder with their values, at these values of swept scalars.

    Raise ValueError where the folder is no run, or has no such values.
    """
    parts = read_run(folder)
    found = [part for part in parts if swept.items() <= part[1].config.items()]
    if not found:
        asked = ", ".join(f"{field}={value}" for field, value in swept.items())
        there = "; ".join(swept_in(cell, run) or "nothing swept" for cell, run, _ in parts)
        raise ValueError(f"{folder}: swept: got {asked}; allowed: {there}")
    return found


def of_parts(parts: Sequence[Part]) -> Scores:
    """Return the scores of these cells, no two of which are the same."""
    cells = {cell: run for cell, run, _ in parts}
    return Scores(_values(parts).sort_values(ORDER, ignore_index=True), cells, [])


def _values(parts: Sequence[Part]) -> pd.DataFrame:
    rows = [(i, *row) for i, (_, _, of_cell) in enumerate(parts) for row in of_cell]
    return pd.DataFrame(rows, columns=[*VALUES]).astype(VALUES)


# --- reading -----------------------------------------------------------------------------------


def read(paths: PathLike | Iterable[PathLike], jobs: int | None = None) -> Scores:
    """Read every run folder at or below the paths; raise ValueError as `files.as_paths` does.

    jobs: processes that read; by default one per core, where there are many folders
    """
    problems: list[Problem] = []
    roots = files.as_paths(paths)
    folders = files.find_runs(roots, holding=MARKS)
    empty = files.without_any(roots, folders)
    for root in roots:
        if root in empty:
            problems.append(Problem(str(root), f"no folder with {MARKED} at or below it"))
        problems += _not_begun(root)
    archives = [folder for folder in folders if archive.is_archive(folder)]
    runs = [folder for folder in folders if folder not in archives]
    chunks = [(i, runs[i : i + CHUNK]) for i in range(0, len(runs), CHUNK)]
    jobs = 1 if len(runs) < FEW else jobs or joblib.cpu_count()
    # Sorted, because which of two runs of one cell is the first must not depend on the processes.
    read = sorted(workers.run(_read_folders, chunks, jobs), key=itemgetter(0))
    found = [of[1:] for of in read]
    for folder in archives:
        with isolated(problems, str(folder)):
            found.append((*archive.read(folder), []))
    frames = [NO_VALUES]
    parts: list[tuple[Cell, Run]] = []
    for of_chunk, values, why in found:
        frames.append(values.assign(cell=values.cell + len(parts)))
        parts += of_chunk
        problems += why
    cells: dict[Cell, Run] = {}
    for cell, run in parts:
        if cell in cells:
            reason = f"{cells[cell].path} and {run.path} are the same cell; give one a config.tag"
            run = Run(cells[cell].path, cells[cell].config, reason)
        cells[cell] = run
    cells = dict(sorted(cells.items()))
    positions = {cell: i for i, cell in enumerate(cells)}
    known = [positions[cell] if cells[cell].replicates else -1 for cell, _ in parts]
    values = pd.concat(frames, ignore_index=True).astype(VALUES)
    values["cell"] = np.array(known, np.int32)[values.cell]
    values = values[values.cell >= 0].sort_values(ORDER, ignore_index=True)
    return Scores(values, cells, problems)


def _read_folders(
    start: int, folders: list[Path]
) -> tuple[int, list[tuple[Cell, Run]], pd.DataFrame, list[Problem]]:
    problems: list[Problem] = []
    parts: list[Part] = []
    for folder in folders:
        with isolated(problems, str(folder)):
            parts += read_run(folder)
    return start, [part[:2] for part in parts], _values(parts), problems


def _not_begun(root: Path) -> Iterator[Problem]:
    """Yield what the root's sweep lists and has not run."""
    try:
        listed = run_folder.read_sweep(root)
    except run_folder.RunFolderError as error:
        yield Problem(str(root / "sweep.jsonl"), str(error))
        return
    waiting = [folder for folder in listed if not (folder / "config.json").is_file()]
    logs = [root / "logs" / f"{folder.relative_to(root)}.txt" for folder in waiting]
    failed = [log for log in logs if run_folder.failure_mark(log).is_file()]
    of_all = f"of the {len(listed)} runs that it lists"
    if failed:
        said = f"{len(failed)} {of_all} failed at their start; {failed[0]} says why"
        yield Problem(str(root / "sweep.jsonl"), said)
    if waiting := [folder for folder, log in zip(waiting, logs, strict=True) if log not in failed]:
        first = waiting[0].relative_to(root)
        said = f"{len(waiting)} {of_all} have not begun, {first} the first of them"
        yield Problem(str(root / "sweep.jsonl"), said)
