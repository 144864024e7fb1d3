"""Reads one run folder into the scores of its cells.

A cell is one model at one latent size on one data set under one protocol: one run folder, or one
value of a swept scalar in it. What cannot be read is a cell without values, with the reason.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax import metrics_file
from mvae_jax.report import measures

DESCRIBED = {"dataset": str, "protocol": str, "model": str, "latent_size": int}


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
        return (
            f"{metric} is missing or not finite for seed {listed(without)}; {metrics_file.WAY_OUT}"
        )


Cells = dict[Cell, Scores]


def read_run(run: Path) -> Iterator[tuple[Cell, Scores]]:
    """Yields the run's cells: one, or one per value of a swept scalar.

    Raises ValueError where not even the cell is known.
    """
    config = _read_json(run / "config.json")
    for field, kind in DESCRIBED.items():
        if type(config.get(field)) is not kind:
            raise ValueError(f"{run / 'config.json'}: '{field}' is missing or no {kind.__name__}")
    try:
        by_sweep: dict[str, list[dict[str, Any]]] = {}
        for entry in read_metrics(run, config)["replicates"]:
            _, _, swept = entry["replicate"].partition("__")
            by_sweep.setdefault(swept.replace("__", ", "), []).append(entry)
        cells = [(_cell(config, s), _scores(run, config, of)) for s, of in by_sweep.items()]
    except ValueError as error:
        cells = [(_cell(config, ""), empty(run, config, str(error)))]
    yield from cells


def read_metrics(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a run's metrics.json; raises ValueError where it is absent, malformed or another's."""
    path = run / "metrics.json"
    found = metrics_file.read(path)
    for field in DESCRIBED:
        if found[field] != config[field]:
            said, expected = found[field], config[field]
            raise ValueError(f"{path}: {field} is {said!r}, in config.json {expected!r}")
    if not found["replicates"]:
        raise ValueError(f"{path}: replicates is empty; {metrics_file.WAY_OUT}")
    return found


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
        missing = f"seed {listed(lost)} of the {config['num_seeds']} planned has no scores"
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


def empty(run: Path, config: dict[str, Any], reason: str) -> Scores:
    """Returns a cell without values and why it has none."""
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
        raise ValueError(f"{path}: does not exist; {metrics_file.WAY_OUT}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no JSON object")
    return found


def listed(seeds: list[int]) -> str:
    """Returns `1, 2, 3`, or the first few and their number."""
    text = ", ".join(map(str, seeds[:5]))
    return text if len(seeds) <= 5 else f"{text} and {len(seeds) - 5} more"
