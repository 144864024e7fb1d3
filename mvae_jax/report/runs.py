"""Reads run folders into scores, one per cell of the tables, and says what is missing and why.

A cell is one model at one latent size on one data set under one protocol. Nothing is dropped in
silence: what cannot be read, lacks a seed or is claimed by two runs becomes a cell without values
and a problem with its reason.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax import files
from mvae_jax.report import measures
from mvae_jax.report.metrics import PAPER

VERSION = 1  # of metrics.json
DESCRIBED = {"dataset": str, "protocol": str, "model": str, "latent_size": int}
BASELINE, MODEL = "vae", "mvae"  # the two that are compared, seed by seed
SCORE_AGAIN = "run python -m mvae_jax.evaluate on the folder"


class Setting(NamedTuple):
    """What the runs of one table share; `variant` is the runs' tag and swept scalars."""

    dataset: str
    source: str
    protocol: str
    variant: str

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        variant = f", {self.variant}" if self.variant else ""
        return f"{self.dataset}{source}, {self.protocol} protocol{variant}"


class Cell(NamedTuple):
    """One model at one latent size; sorts by z as a number."""

    setting: Setting
    latent_size: int
    model: str


class Scores(NamedTuple):
    """What is known of one cell.

    replicates: seed -> the stem of its files
    values:     metric -> seed -> value, on the test split
    per_run:    metric -> value, of what does not depend on the seed
    failed:     seed -> why its training failed; the means are over the others
    absent:     metric -> why no seed has it
    missing:    why the cell may not be averaged as it stands; empty where it may
    """

    run: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    replicates: dict[int, str]
    values: dict[str, dict[int, float]]
    per_run: dict[str, float]
    failed: dict[int, str]
    absent: dict[str, str]
    missing: str

    def why_missing(self, metric: str) -> str:
        """Returns why the metric has no mean in this cell; empty where it has one."""
        if self.missing:
            return self.missing
        if metric in self.per_run:
            return ""
        seeds = self.values.get(metric, {})
        without = sorted(self.replicates.keys() - self.failed.keys() - seeds.keys())
        if not without:
            return ""
        if metric in self.absent and not seeds:
            return self.absent[metric]
        return f"{metric} is missing or not finite for seed {_listed(without)}; {SCORE_AGAIN}"


class Problem(NamedTuple):
    """Something that keeps the report from being complete."""

    where: str
    reason: str


Cells = dict[Cell, Scores]


class Runs(NamedTuple):
    """Everything found below the paths, by data set, latent size and model."""

    cells: Cells
    problems: list[Problem]

    def tables(self) -> dict[Setting, Cells]:
        """Returns the cells of each table."""
        grouped: dict[Setting, Cells] = {}
        for cell, scores in self.cells.items():
            grouped.setdefault(cell.setting, {})[cell] = scores
        return grouped


def read(paths: Iterable[Path]) -> Runs:
    """Reads every run folder at or below the paths."""
    cells: Cells = {}
    problems: list[Problem] = []
    for run in files.find_runs(paths, holding=("embeddings", "metrics.json")):
        try:
            found = dict(_read_run(run))
        except ValueError as error:
            problems.append(Problem(str(run), str(error)))
            continue
        for cell, scores in found.items():
            if cell in cells:
                reason = f"{cells[cell].run} and {run} are the same cell; give one a config.tag"
                scores = _empty(run, scores.config, reason)
            cells[cell] = scores
    _mark_unequal(cells)
    for cell, scores in cells.items():
        problems += _problems(cell, scores)
    return Runs(dict(sorted(cells.items())), problems)


def models_of(cells: Iterable[Cell]) -> list[str]:
    """Returns the models in the order in which they are shown: VAE, MVAE, others by name."""
    first = [BASELINE, MODEL]
    found = {cell.model for cell in cells}
    return [*(model for model in first if model in found), *sorted(found.difference(first))]


def _mark_unequal(cells: Cells) -> None:
    """Marks both models of a row as missing where they were trained on different seeds.

    Means over different seeds differ by the seeds as well as by the models.
    """
    for cell, vae in list(cells.items()):
        other = cell._replace(model=MODEL)
        if cell.model != BASELINE or other not in cells or vae.missing or cells[other].missing:
            continue
        ours, theirs = set(vae.replicates), set(cells[other].replicates)
        lacks = [
            f"{model} lacks seed {_listed(sorted(seeds))}"
            for model, seeds in ((BASELINE, theirs - ours), (MODEL, ours - theirs))
            if seeds
        ]
        if lacks:
            reason = f"{' and '.join(lacks)}; train and score the same seeds of both"
            cells[cell] = vae._replace(missing=reason)
            cells[other] = cells[other]._replace(missing=reason)


def _problems(cell: Cell, scores: Scores) -> Iterator[Problem]:
    where = f"{cell.setting}, {cell.model} z={cell.latent_size}"
    yield from (Problem(where, note) for note in left_out(scores))
    if scores.missing:
        yield Problem(where, scores.missing)
    else:
        yield from (Problem(where, reason) for reason in partial(scores))


def left_out(scores: Scores) -> list[str]:
    """Returns which seeds are not in the means because their training failed, and why."""
    number = f"means over {len(scores.replicates) - len(scores.failed)} of {len(scores.replicates)}"
    return [f"{number} seeds, {seed} left out: {why}" for seed, why in scores.failed.items()]


def partial(scores: Scores) -> list[str]:
    """Returns why each metric is missing that should be there: some seeds have it, or it is one
    of the paper's and nobody said that it could not be computed."""
    due = [m for m in PAPER if m not in scores.absent]
    due += [m for m in scores.values if m not in PAPER]
    return [reason for metric in due if (reason := scores.why_missing(metric))]


# --- one run folder ----------------------------------------------------------------------------


def _read_run(run: Path) -> Iterator[tuple[Cell, Scores]]:
    """Yields the run's cells: one, or one per value of a swept scalar.

    Raises ValueError where not even the cell is known.
    """
    config = _read_json(run / "config.json")
    for field, kind in DESCRIBED.items():
        if type(config.get(field)) is not kind:
            raise ValueError(f"{run / 'config.json'}: '{field}' is missing or no {kind.__name__}")
    try:
        by_sweep: dict[str, list[dict[str, Any]]] = {}
        for entry in read_metrics(run / "metrics.json", config)["replicates"]:
            _, _, swept = entry["replicate"].partition("__")
            by_sweep.setdefault(swept.replace("__", ", "), []).append(entry)
        cells = [(_cell(config, s), _scores(run, config, of)) for s, of in by_sweep.items()]
    except ValueError as error:
        cells = [(_cell(config, ""), _empty(run, config, str(error)))]
    yield from cells


def read_metrics(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a metrics.json; raises ValueError where it is absent, malformed or of another run."""
    found = _read_json(path)
    if found.get("version") != VERSION:
        version = found.get("version")
        raise ValueError(f"{path}: version is {version!r}, not {VERSION}; {SCORE_AGAIN}")
    for field in DESCRIBED:
        if found.get(field) != config[field]:
            said, expected = found.get(field), config[field]
            raise ValueError(f"{path}: {field} is {said!r}, in config.json {expected!r}")
    entries = found.get("replicates")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: 'replicates' is missing or empty; {SCORE_AGAIN}")
    for entry in entries:
        if not _is_replicate(entry):
            raise ValueError(f"{path}: a replicate is malformed ({entry!r:.80}); {SCORE_AGAIN}")
    return found


def _is_replicate(entry: Any) -> bool:
    """Whether an entry names its replicate and seed, and has values or the reason for none."""
    try:
        name, seed = entry["replicate"], _seed(entry)
        return (isinstance(name, str) and isinstance(seed, int)) and (
            isinstance(entry.get("failed"), str)
            or all(
                isinstance(row["metric"], str) and isinstance(row["value"], int | float)
                for row in entry["values"]
            )
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _seed(entry: dict[str, Any]) -> int:
    """Returns the entry's seed; that of a file which could not be read stands in its name."""
    if "seed" in entry:
        return entry["seed"]
    return int(entry["replicate"].partition("__")[0].removeprefix("seed_"))


def _scores(run: Path, config: dict[str, Any], entries: list[dict[str, Any]]) -> Scores:
    """Collects one cell's replicates; raises ValueError where a file of theirs is damaged."""
    replicates = {_seed(entry): entry["replicate"] for entry in entries}
    values: dict[str, dict[int, float]] = {}
    absent: dict[str, str] = {}
    failed: dict[int, str] = {}
    unscored: dict[int, str] = {}
    diverged = _diverged(run)
    for entry in entries:
        seed, name = _seed(entry), entry["replicate"]
        if "failed" in entry:
            (failed if name in diverged else unscored)[seed] = entry["failed"]
            continue
        on_test = [row for row in entry["values"] if row.get("split", "test") == "test"]
        rows = {row["metric"]: row["value"] for row in on_test}
        rows |= measures.measure_pictures(run / "pictures" / f"{name}.npz")
        for metric, value in rows.items():
            of_metric = values.setdefault(metric, {})
            if math.isfinite(value):
                of_metric[seed] = float(value)
        absent |= {row["metric"]: row["reason"] for row in entry.get("absent", ())}

    missing = ""
    if len(replicates) < len(entries):
        missing = f"{run / 'metrics.json'}: two replicates have the same seed"
    elif unscored:
        missing = "; ".join(f"seed {seed} has no scores: {r}" for seed, r in unscored.items())
    elif lost := sorted(_planned_seeds(config) - replicates.keys()):
        missing = f"seed {_listed(lost)} of the {config['num_seeds']} planned has no scores"
    elif len(failed) == len(replicates):
        missing = "every seed failed"
    environment = run / "environment.json"
    return Scores(
        run,
        config,
        _read_json(environment) if environment.is_file() else {},
        dict(sorted(replicates.items())),
        values,
        measures.measure_run(run, config),
        failed,
        absent,
        missing,
    )


def _diverged(run: Path) -> set[str]:
    """Returns the replicates whose training failed: there is nothing of them to score."""
    manifest = run / "manifest.json"
    replicates = _read_json(manifest).get("replicates", {}) if manifest.is_file() else {}
    return {name for name, replicate in replicates.items() if "failed" in replicate}


def _empty(run: Path, config: dict[str, Any], reason: str) -> Scores:
    return Scores(run, config, {}, {}, {}, {}, {}, {}, reason)


def _cell(config: dict[str, Any], swept: str) -> Cell:
    dataset = config["dataset"]
    if dataset.endswith(".npz"):
        dataset = Path(dataset).stem
    variant = ", ".join(filter(None, [config.get("tag", ""), swept]))
    setting = Setting(dataset, config.get("source") or "", config["protocol"], variant)
    return Cell(setting, config["latent_size"], config["model"])


def _planned_seeds(config: dict[str, Any]) -> set[int]:
    """Returns the seeds that the configuration asks for; none in a foreign run."""
    first, number = config.get("first_seed"), config.get("num_seeds")
    if isinstance(first, int) and isinstance(number, int):
        return set(range(first, first + number))
    return set()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{path}: does not exist; {SCORE_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no JSON object")
    return found


def _listed(seeds: list[int]) -> str:
    """Returns `1, 2, 3`, or the first few and their number."""
    text = ", ".join(map(str, seeds[:5]))
    return text if len(seeds) <= 5 else f"{text} and {len(seeds) - 5} more"
