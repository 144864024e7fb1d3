"""The archive of scores that `--export` writes: the cells of many runs in two files, no arrays.

    scores.csv   one row per value: run, the key of its cell, and the columns of `mvae_jax.scores`;
                 in full precision, texts as `escape.csv` leaves them; no seed where a value is the
                 same for every seed
    runs.jsonl   a header, then one cell per line, in the order of the scores
                   header: format, version, sha256 of scores.csv, and the names of its metrics
                   cell:   path, of its run below the root that was exported; swept, its swept
                           scalars in words; config, environment, and the fields of `cells.Run`

The key of a cell is its path, with the swept scalars behind it where there are any. A report reads
nothing but the key, metric, split, seed and value of a row; the rest is for whoever opens the file.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mvae_jax import escape
from mvae_jax.evaluate.metrics import described
from mvae_jax.report.cells import NO_SEED, SPLITS, Cell, Run, cell_of, swept_in
from mvae_jax.report.formats import to_csv
from mvae_jax.report.frame import VALUES
from mvae_jax.store import files, json_file, metrics_file, names, origins, run_folder
from mvae_jax.store.json_file import RunFolderError

RUNS, SCORES = files.ARCHIVE, "scores.csv"
FORMAT, VERSION = "mvae_jax archive", 1
MAX_BYTES = 1 << 30  # of scores.csv
WAY_OUT = "restore both files, or export the runs again into another folder"
HEADER = {"format": str, "version": int, "sha256": str, "metrics": list}
CELL = {
    **{"path": str, "swept": str, "config": dict, "environment": dict, "missing": str},
    **{"replicates": {...: str}, "epochs": {...: int}, "failed": {...: str}, "tested_on": list},
    **{"absent": {...: str}, "sha256": {...: str}, "origins": list, "described": dict},
}
DIGESTS = tuple(f"{folder}/" for folder in metrics_file.SCORED_FILES.values())
# As text, because pandas may parse a float to its neighbour.
READ = {**dict.fromkeys(("run", "metric", "split"), "category"), "seed": "Int64", "value": "str"}

Found = tuple[list[tuple[Cell, Run]], pd.DataFrame]  # cells, and their values as Scores has them


def is_archive(folder: Path) -> bool:
    """Return whether the folder holds an archive, whole or not."""
    return os.path.lexists(folder / RUNS)


def read(folder: Path) -> Found:
    """Read an archive; raise ValueError, which names file, field and way out."""
    path = folder / RUNS
    try:
        header, *lines = [*json_file.read_lines(path, torn=False)] or [{}]
        json_file.check_types(path, header, HEADER, optional=False)
        if (header["format"], header["version"]) != (FORMAT, VERSION):
            said = escape.shown((header["format"], header["version"]))
            raise ValueError(f"{path}: is of format {said}; this version reads {FORMAT} {VERSION}")
        try:
            data = files.read_bytes(folder / SCORES, MAX_BYTES)
        except OSError as error:
            raise json_file.unreadable(folder / SCORES, error) from error
        if hashlib.sha256(data).hexdigest() != header["sha256"]:
            raise ValueError(f"{folder / SCORES}: is not the file that {RUNS} was written with")
        cells: dict[str, tuple[Cell, Run]] = {}
        for number, line in enumerate(lines, 2):
            key, cell, run = _cell(folder, Path(f"{path}, line {number}"), line)
            if key in cells:
                raise ValueError(f"{path}, line {number}: is a second line of {key}")
            cells[key] = (cell, run)
        values = _values(folder / SCORES, data, cells, header["metrics"])
    except ValueError as error:
        raise ValueError(f"{error}; {WAY_OUT}") from error
    return list(cells.values()), values


def write(folder: Path, cells: Mapping[Cell, Run], values: pd.DataFrame) -> None:
    """Write an archive in place of the one that is there.

    cells:  in order, their paths below `folder`
    values: of all cells in their order: run, the key, then the columns of `mvae_jax.scores`
    """
    data = to_csv(values).encode()
    metrics = sorted(set(values.metric))
    digest = hashlib.sha256(data).hexdigest()
    header = {"format": FORMAT, "version": VERSION, "sha256": digest, "metrics": metrics}
    lines = [header, *(_line(folder, cell, run) for cell, run in cells.items())]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    files.write_bytes(folder / SCORES, lambda file: file.write(data))
    files.write_text(folder / RUNS, text)


def key_of(folder: Path, cell: Cell, run: Run) -> str:
    """Return the key of a cell whose run's path lies below the folder."""
    path = os.fspath(run.path.relative_to(folder))
    return ", ".join(filter(None, [path, swept_in(cell, run)]))


def _line(folder: Path, cell: Cell, run: Run) -> dict[str, Any]:
    """Return a cell as JSON's types."""
    fields = ("config", "environment", "missing", "origins")
    by_name = ("replicates", "epochs", "failed", "absent")
    return {
        **{"path": os.fspath(run.path.relative_to(folder)), "swept": swept_in(cell, run)},
        **{field: getattr(run, field) for field in fields},
        **{field: dict(getattr(run, field)) for field in by_name},
        "described": {
            name: {field: getattr(metric, field) for field in metrics_file.SHOWN}
            for name, metric in run.described.items()
        },
        "tested_on": sorted(run.tested_on, key=repr),
        "sha256": {k: v for k, v in run.sha256.items() if k.startswith(DIGESTS)},
    }


def _cell(folder: Path, where: Path, line: dict[str, Any]) -> tuple[str, Cell, Run]:
    """Return a line's key, cell and run; raise ValueError at what is not of the format."""
    json_file.check_types(where, line, CELL, optional=False)
    config = run_folder.check_config(where, line["config"])
    replicates = _seeds(where, line, "replicates")
    for seed, name in replicates.items():
        if names.seed_of(name) != seed:
            raise RunFolderError(f"{where}: 'replicates' has {name} as seed {seed}")
    for name, shown in line["described"].items():
        metrics_file.check_shown(shown, f"{where}: described.{escape.shown(name)}.")
    cell = cell_of(config, line["swept"])
    of_cell = {str(position): origin for position, origin in enumerate(line["origins"])}
    run = Run(
        folder / names.check_below(line["path"]),
        config,
        line["missing"],
        json_file.typed(where, line["environment"], run_folder.ENVIRONMENT),
        replicates,
        _seeds(where, line, "failed"),
        line["absent"],
        frozenset(_tested_on(where, found) for found in line["tested_on"]),
        line["sha256"],
        tuple(origins.in_environment({"origins": of_cell}).values()),
        described(line),
        _seeds(where, line, "epochs"),
    )
    return key_of(folder, cell, run), cell, run


def _seeds(where: Path, line: dict[str, Any], field: str) -> dict[int, Any]:
    """Return a field that has the cell's seeds as its keys, checked."""
    found: dict[str, Any] = line[field]
    for seed in found:
        known = field == "replicates" or seed in line["replicates"]
        if not (seed.isascii() and seed.isdigit() and len(seed) <= 18 and known):
            raise RunFolderError(f"{where}: '{field}' has {escape.shown(seed)}, which is no seed")
    return {int(seed): value for seed, value in found.items()}


def _tested_on(where: Path, found: Any) -> tuple[int, str | None]:
    if isinstance(found, list) and len(found) == 2 and json_file.has_type(found[0], int):
        number, digest = found
        if digest is None or isinstance(digest, str):
            return number, digest
    raise RunFolderError(f"{where}: 'tested_on' is {escape.shown(found)}; write list there")


def _values(
    path: Path, data: bytes, cells: Mapping[str, tuple[Cell, Run]], metrics: list[Any]
) -> pd.DataFrame:
    """Return the rows of scores.csv as Scores has them; raise ValueError at one without a place."""
    if not all(isinstance(name, str) for name in metrics):
        raise ValueError(f"{path.parent / RUNS}: 'metrics' is no list of names")
    try:
        rows = pd.read_csv(
            io.BytesIO(data),
            usecols=list(READ),
            dtype=READ,
            keep_default_na=False,
            na_values={"seed": [""]},
        )
        numbers = rows.value.to_numpy(object).astype(np.float64)
    except (ValueError, OverflowError) as error:
        raise json_file.unreadable(path, error) from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}: a value is not finite")
    keys = _named(path, rows.run, cells)
    found = pd.DataFrame(
        {
            "cell": keys.map({key: position for position, key in enumerate(cells)}),
            "metric": _named(path, rows.metric, metrics),
            "split": _named(path, rows.split, SPLITS),
            "seed": rows.seed.fillna(NO_SEED),
            "value": numbers,
        }
    )
    for (key, seed), _ in found.groupby([keys, "seed"], observed=True):
        if seed != NO_SEED and seed not in cells[key][1].seeds:
            raise ValueError(f"{path}: has seed {seed}, which {RUNS} does not list")
    if found.duplicated(["cell", "metric", "seed"]).any():
        raise ValueError(f"{path}: has two values of one metric and seed")
    return found.astype(VALUES)


def _named(path: Path, column: pd.Series, known: Iterable[Any]) -> pd.Series:
    """Return a column with each text as it was before it went into a CSV file."""
    names = {escape.csv(name): name for name in known}
    for name in column.cat.categories:
        if name not in names:
            said = escape.shown(name)
            raise ValueError(f"{path}: '{column.name}' is {said}, which {RUNS} does not list")
    return column.cat.rename_categories(names)
