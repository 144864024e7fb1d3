"""Reads one run folder into the scores of its cells.

A cell is one model at one latent size on one data set under one protocol: one run folder, or one
value of a swept scalar in it. What cannot be read is a cell without values, with the reason.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mvae_jax.report import measures
from mvae_jax.report.metrics import describe
from mvae_jax.report.problems import reason_of
from mvae_jax.store import metrics_file, origins, run_folder
from mvae_jax.store.origins import Origin

SCORE_AGAIN = metrics_file.WAY_OUT
# What is reported: the test split, what C itself gives, what an exported run has measured before.
SPLITS = ("test", "model", "run", "pictures")


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
    values:     metric -> seed -> value, on the test split (of C: of the model)
    per_run:    metric -> value, of what does not depend on the seed
    failed:     seed -> why its training failed; the means are over the others
    absent:     metric -> why no seed has it
    missing:    why the cell may not be averaged as it stands; empty where it may
    tested_on:  the number of test examples, and the SHA-256 of their indices where it is known
    sha256:     path below the run -> SHA-256, of the files that training has recorded
    origins:    what trained its seeds besides the configuration, as far as it is known
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
    tested_on: frozenset[tuple[int, str | None]] = frozenset()
    sha256: Mapping[str, str] = MappingProxyType({})
    origins: tuple[Origin, ...] = ()

    @property
    def first(self) -> int | None:
        """The first seed that has values."""
        return next((seed for seed in self.replicates if seed not in self.failed), None)

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
        return f"{metric} is missing or not finite for seed {listed(without)}; {SCORE_AGAIN}"


Cells = dict[Cell, Scores]


def read_run(run: Path) -> Iterator[tuple[Cell, Scores]]:
    """Yields the run's cells: one, or one per value of a swept scalar.

    Raises ValueError where not even the cell is known.
    """
    config = run_folder.read_config(run)
    try:
        by_sweep: dict[str, list[dict[str, Any]]] = {}
        for entry in read_metrics(run, config)["replicates"]:
            _, _, swept = entry["replicate"].partition("__")
            by_sweep.setdefault(swept.replace("__", ", "), []).append(entry)
        cells = [(_cell(config, s), _scores(run, config, of)) for s, of in by_sweep.items()]
    except Exception as error:  # whatever its files hold: this cell alone is without values
        cells = [(_cell(config, ""), empty(run, config, reason_of(error)))]
    yield from cells


def read_metrics(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a run's metrics.json; raises ValueError where it is absent, malformed or another's."""
    path = run / "metrics.json"
    found = metrics_file.read(path)
    for field in run_folder.REQUIRED:
        if found[field] != config[field]:
            said, expected = found[field], config[field]
            raise ValueError(f"{path}: {field} is {said!r}, in config.json {expected!r}")
    if not found["replicates"]:
        raise ValueError(f"{path}: replicates is empty; {SCORE_AGAIN}")
    return found


def _scores(run: Path, config: dict[str, Any], entries: list[dict[str, Any]]) -> Scores:
    """Collects one cell's replicates; raises ValueError where a file of theirs is damaged."""
    known = [entry for entry in entries if "seed" in entry]
    replicates = {entry["seed"]: entry["replicate"] for entry in known}
    values: dict[str, dict[int, float]] = {}
    absent: dict[str, str] = {}
    failed: dict[int, str] = {}
    per_run: dict[str, float] = {}
    manifest = run_folder.read_manifest(run)
    # What the cell was trained with, where the configuration has several values.
    config = config | manifest["replicates"].get(entries[0]["replicate"], {}).get("swept", {})
    unscored = [f"{e['replicate']} has no scores: {e['failed']}" for e in entries if e not in known]
    for entry in known:
        seed, name = entry["seed"], entry["replicate"]
        if "failed" in manifest["replicates"].get(name, {}):
            failed[seed] = manifest["replicates"][name]["failed"]
            continue
        if "failed" in entry:
            unscored.append(f"seed {seed} has no scores: {entry['failed']}")
            continue
        if "stale" in entry:
            unscored.append(f"the scores of seed {seed} are stale: {entry['stale']}")
        planned = config.get("num_epochs", 0)
        trained = manifest["replicates"].get(name, {}).get("epoch", planned)
        if trained < planned:
            unscored.append(f"seed {seed} is trained for {trained} of {planned} epochs; train on")
        if _is_stale(entry, manifest["sha256"]):
            unscored.append(f"seed {seed} was trained anew since it was scored; {SCORE_AGAIN}")
        of_seed = [row for row in entry["values"] if row["split"] in SPLITS]
        rows = {row["metric"]: row["value"] for row in of_seed}
        rows |= measures.measure_pictures(run, name, manifest["sha256"])
        per_run |= {m: rows.pop(m) for m in list(rows) if describe(m).per_run}
        for metric, value in rows.items():
            of_metric = values.setdefault(metric, {})
            if math.isfinite(value):
                of_metric[seed] = float(value)
        absent |= {row["metric"]: row["reason"] for row in entry.get("absent", ())}

    missing = ""
    if len(replicates) < len(known):
        missing = f"{run / 'metrics.json'}: two replicates have the same seed"
    elif unscored:
        missing = "; ".join(unscored)
    elif lost := sorted(run_folder.planned_seeds(config) - replicates.keys()):
        missing = f"seed {listed(lost)} of the {config['num_seeds']} planned has no scores"
    elif len(failed) == len(replicates):
        missing = "every seed failed"
    environment = run_folder.read_environment(run)
    trained = [manifest["replicates"].get(name, {}) for name in replicates.values()]
    return Scores(
        run,
        config,
        environment,
        dict(sorted(replicates.items())),
        values,
        per_run | measures.measure_run(run, config),
        failed,
        absent,
        missing,
        frozenset(
            (entry["num_test"], entry.get("sha256_index_test"))
            for entry in known
            if "failed" not in entry
        ),
        manifest["sha256"],
        tuple(origins.trained_by(environment, trained)),
    )


def _is_stale(entry: dict[str, Any], written: Mapping[str, str]) -> bool:
    """Whether training has since left other files than those that were scored."""
    for key, folder in (("sha256", "embeddings"), ("sha256_model", "model")):
        digest = written.get(f"{folder}/{entry['replicate']}.npz")
        if key in entry and digest not in (None, entry[key]):
            return True
    return False


def empty(run: Path, config: dict[str, Any], reason: str) -> Scores:
    """Returns a cell without values and why it has none."""
    return Scores(run, config, {}, {}, {}, {}, {}, {}, reason)


def _cell(config: dict[str, Any], swept: str) -> Cell:
    dataset = config["dataset"]
    if dataset.endswith(".npz"):  # keeps its ending, to be told from the data set of that name
        dataset = Path(dataset).name
    variant = ", ".join(filter(None, [config.get("tag", ""), swept]))
    setting = Setting(dataset, config.get("source", ""), config["protocol"], variant)
    return Cell(setting, config["latent_size"], config["model"])


def likelihood(config: Mapping[str, Any]) -> str:
    """Returns the likelihood of a run's configuration, a Gaussian's with its variance."""
    name = str(config.get("likelihood", "-"))
    return f"{name} {config.get('likelihood_variance', '?')}" if name == "gaussian" else name


def listed(seeds: list[int]) -> str:
    """Returns `1, 2, 3`, or the first few and their number."""
    text = ", ".join(map(str, seeds[:5]))
    return text if len(seeds) <= 5 else f"{text} and {len(seeds) - 5} more"
