"""Reads one run folder into its cells.

A cell is one model at one latent size on one data set under one protocol: one run folder, or one
value of a swept scalar in it. What cannot be read is a cell without values, with the reason.
"""

import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mvae_jax import paths
from mvae_jax.evaluate.metrics import described
from mvae_jax.evaluate.record import Metric
from mvae_jax.report.metrics import describe
from mvae_jax.report.problems import reason_of
from mvae_jax.store import metrics_file, origins, run_folder
from mvae_jax.store.origins import Origin

SCORE_AGAIN = metrics_file.WAY_OUT
# What is reported: the test split, what C itself gives, what is measured of the run's files.
SPLITS = ("test", "model", "run", "pictures")
NO_SEED = -1  # of a value that is the same for every seed


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

    def __str__(self) -> str:
        return f"{self.model} z={self.latent_size}"


class Run(NamedTuple):
    """What is known of one cell besides its values.

    path:       the run folder
    replicates: seed -> the stem of its files
    failed:     seed -> why its training failed; the means are over the others
    absent:     metric -> why no seed has it
    missing:    why the cell may not be averaged as it is; empty where it may
    tested_on:  the number of test examples, and the SHA-256 of their indices where it is known
    sha256:     path below the run -> SHA-256, of the files that training has recorded
    origins:    what trained its seeds besides the configuration, as far as it is known
    described:  how metrics are shown that only the run's metrics.json describes
    epochs:     seed -> for how many epochs it was trained, as far as the run says
    """

    path: Path
    config: dict[str, Any]
    missing: str = ""
    environment: Mapping[str, Any] = MappingProxyType({})
    replicates: Mapping[int, str] = MappingProxyType({})
    failed: Mapping[int, str] = MappingProxyType({})
    absent: Mapping[str, str] = MappingProxyType({})
    tested_on: frozenset[tuple[int, str | None]] = frozenset()
    sha256: Mapping[str, str] = MappingProxyType({})
    origins: tuple[Origin, ...] = ()
    described: Mapping[str, Metric] = MappingProxyType({})
    epochs: Mapping[int, int] = MappingProxyType({})

    @property
    def seeds(self) -> list[int]:
        """The seeds whose training did not fail, in order."""
        return [seed for seed in self.replicates if seed not in self.failed]

    @property
    def first(self) -> int | None:
        """The first seed that has values."""
        return next(iter(self.seeds), None)

    @property
    def has_one_result(self) -> bool:
        """Whether this may be a method without seeds: one replicate, and no seed was planned."""
        return len(self.replicates) == 1 and not run_folder.planned_seeds(self.config)


Row = tuple[str, str, int, float]  # metric, split, seed and value
Part = tuple[Cell, Run, list[Row]]


def read_run(path: Path) -> list[Part]:
    """Return a run's cells with their values: one, or one for each value of a swept scalar.

    Raise ValueError where not even the cell is known.
    """
    config = run_folder.read_config(path)
    try:
        by_sweep: dict[str, list[dict[str, Any]]] = {}
        content = read_metrics(path, config)
        for entry in content["replicates"]:
            _, _, swept = entry["replicate"].partition("__")
            by_sweep.setdefault(swept.replace("__", ", "), []).append(entry)
        manifest = run_folder.read_manifest(path)
        environment = run_folder.read_environment(path)
        bare = Run(path, config, "", environment, described=described(content))
        return [
            (cell_of(config, swept), *_read_cell(bare, manifest, entries))
            for swept, entries in by_sweep.items()
        ]
    except Exception as error:  # whatever its files hold: this cell alone is without values
        return [(cell_of(config, ""), Run(path, config, reason_of(error)), [])]


def read_metrics(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read a run's metrics.json; raise ValueError where it is absent, malformed or another's."""
    path = path / "metrics.json"
    found = metrics_file.read(path)
    for field in run_folder.REQUIRED:
        if found[field] != config[field]:
            said, expected = found[field], config[field]
            raise ValueError(f"{path}: {field} is {said!r}, in config.json {expected!r}")
    if not found["replicates"]:
        raise ValueError(f"{path}: replicates is empty; {SCORE_AGAIN}")
    return found


def _read_cell(
    bare: Run, manifest: Mapping[str, Any], entries: list[dict[str, Any]]
) -> tuple[Run, list[Row]]:
    """Return one cell's run and values; raise ValueError where a file of it is damaged."""
    trained = {e["replicate"]: manifest["replicates"].get(e["replicate"], {}) for e in entries}
    # What the cell was trained with, where the configuration has several values.
    config = bare.config | trained[entries[0]["replicate"]].get("swept", {})
    num_epochs = config.get("num_epochs", 0)
    known = [entry for entry in entries if "seed" in entry]
    replicates = dict(sorted((entry["seed"], entry["replicate"]) for entry in known))
    of_seeds = {seed: trained[name] for seed, name in replicates.items()}
    failed = {seed: of["failed"] for seed, of in of_seeds.items() if "failed" in of}
    live = [entry for entry in entries if entry.get("seed") not in failed]
    scored = [entry for entry in live if "failed" not in entry and "stale" not in entry]
    rows = {(row[0], row[2]): row for entry in scored for row in _rows(entry)}
    laps = [of["epoch_seconds"] for of in of_seeds.values() if of.get("epoch_seconds") is not None]
    if laps:
        median = float(statistics.median(laps))
        rows["epoch_seconds", NO_SEED] = ("epoch_seconds", "run", NO_SEED, median)

    lost = sorted(run_folder.planned_seeds(config) - replicates.keys())
    unscored = [
        why
        for entry in live
        for why in _why_unscored(entry, num_epochs, trained, manifest["sha256"])
    ]
    missing = ""
    if len(replicates) < len(known):
        missing = f"{bare.path / 'metrics.json'}: two replicates have the same seed"
    elif unscored:
        missing = "; ".join(unscored)
    elif lost:
        missing = f"seed {listed(lost)} of the {config['num_seeds']} planned has no scores"
    elif len(failed) == len(replicates):
        missing = "every seed failed"
    run = bare._replace(
        config=config,
        missing=missing,
        replicates=replicates,
        failed=failed,
        absent={row["metric"]: row["reason"] for e in scored for row in e.get("absent", ())},
        tested_on=frozenset(
            (entry["num_test"], entry.get("sha256_index_test"))
            for entry in known
            if "failed" not in entry
        ),
        sha256=manifest["sha256"],
        origins=tuple(origins.trained_by(bare.environment, of_seeds.values())),
        epochs={seed: of.get("epoch", num_epochs) for seed, of in of_seeds.items()},
    )
    return run, list(rows.values())


def _rows(entry: dict[str, Any]) -> list[Row]:
    """Return a replicate's finite values, those of the run itself without its seed."""
    return [
        (name, split, NO_SEED if describe(name).per_run else entry["seed"], float(row["value"]))
        for row in entry["values"]
        for name, split in [(row["metric"], row["split"])]
        if split in SPLITS and math.isfinite(row["value"])
    ]


def _why_unscored(
    entry: dict[str, Any],
    num_epochs: int,
    trained: Mapping[str, Mapping[str, Any]],
    sha256: Mapping[str, str],
) -> Iterator[str]:
    """Yield why a replicate's scores are none of the run as it is planned."""
    name = entry["replicate"]
    if "failed" in entry:
        yield f"{name} has no scores: {entry['failed']}"
        return
    seed, epochs = entry["seed"], trained[name].get("epoch", num_epochs)
    if "stale" in entry:
        yield f"the scores of seed {seed} are stale: {entry['stale']}"
    if epochs < num_epochs:
        yield f"seed {seed} is trained for {epochs} of {num_epochs} epochs; train on"
    recorded = {
        key: sha256.get(f"{folder}/{name}.npz") for key, folder in metrics_file.SCORED_FILES.items()
    }
    if any(key in entry and of not in (None, entry[key]) for key, of in recorded.items()):
        yield f"seed {seed} was trained anew since it was scored; {SCORE_AGAIN}"


def cell_of(config: Mapping[str, Any], swept: str) -> Cell:
    """Return the cell of a configuration; swept: the values of swept scalars, in words."""
    dataset = config["dataset"]
    if paths.is_data(dataset):  # keeps its ending, to be told from the data set of that name
        name = Path(dataset).name
        dataset = name if name.endswith(paths.DATA_FILES) else f"{name}/"
    variant = ", ".join(filter(None, [config.get("tag", ""), swept]))
    setting = Setting(dataset, config.get("source", ""), config["protocol"], variant)
    return Cell(setting, config["latent_size"], config["model"])


def swept_in(cell: Cell, run: Run) -> str:
    """Return the swept scalars of a cell, in words: its variant without the run's tag."""
    return cell.setting.variant.removeprefix(run.config.get("tag", "")).removeprefix(", ")


def likelihood(config: Mapping[str, Any]) -> str:
    """Return the likelihood of a run's configuration, a Gaussian's with its variance."""
    name = str(config.get("likelihood", "-"))
    return f"{name} {config.get('likelihood_variance', '?')}" if name == "gaussian" else name


def left_out(run: Run) -> list[str]:
    """Return which seeds are not in the means because their training failed, and why."""
    number = f"means over {len(run.seeds)} of {len(run.replicates)}"
    return [f"{number} seeds, {seed} left out: {why}" for seed, why in run.failed.items()]


def listed(seeds: list[int]) -> str:
    """Return `1, 2, 3`, or the first few and their number."""
    text = ", ".join(map(str, seeds[:5]))
    return text if len(seeds) <= 5 else f"{text} and {len(seeds) - 5} more"
