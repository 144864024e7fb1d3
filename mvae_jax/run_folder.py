"""What a run folder says of itself: config.json, manifest.json and the logs, read and checked.

Scoring and the report read them, and another tool may have written them: a foreign run has but
a config.json with REQUIRED.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvae_jax import config as config_lib
from mvae_jax.config import Replicate

REQUIRED: dict[str, type] = {"dataset": str, "protocol": str, "model": str, "latent_size": int}
# What else is read, where it is there.
OPTIONAL: dict[str, type] = {
    "source": str,
    "tag": str,
    "batch_size": int,
    "num_epochs": int,
    "first_seed": int,
    "num_seeds": int,
    "couple_mean": bool,
    "keep_embeddings": bool,
    "sweep": dict,
}
POSITIVE = ("latent_size", "batch_size", "num_seeds")


class RunFolderError(ValueError):
    """A file that is not what its format says; the message names file, field and way out."""


def read_config(folder: Path) -> dict[str, Any]:
    """Reads config.json; raises RunFolderError where REQUIRED is not there or a type is wrong."""
    path = folder / "config.json"
    config = read_json(path)
    for field, kind in (REQUIRED | OPTIONAL).items():
        value: Any = config.get(field)
        if value is None and field in OPTIONAL:
            config.pop(field, None)
        elif type(value) is not kind:
            found = repr(value) if field in config else "missing"
            raise RunFolderError(f"{path}: '{field}' is {found}; write {kind.__name__} there")
    for field in POSITIVE:
        if config.get(field, 1) < 1:
            found = config[field]
            raise RunFolderError(f"{path}: '{field}' is {found}; write an integer of at least 1")
    return config


def planned_seeds(config: dict[str, Any]) -> range:
    """Returns the seeds that a configuration asks for; none of a foreign run, which names none."""
    if "first_seed" not in config or "num_seeds" not in config:
        return range(0)
    return range(config["first_seed"], config["first_seed"] + config["num_seeds"])


def planned_replicates(config: dict[str, Any]) -> list[Replicate]:
    """Returns the replicates that a configuration asks for; none of a foreign run."""
    return config_lib.replicates(planned_seeds(config), config.get("sweep", {}))


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns `replicates` and `sha256`, which training recorded; none of a foreign run.

    replicates: name -> {"seed": its seed}, with "failed" where training diverged
    sha256:     path below the folder -> digest
    """
    path = folder / "manifest.json"
    if not path.exists():
        return {"replicates": {}, "sha256": {}}
    manifest = read_json(path)
    for field in ("replicates", "sha256"):
        if not isinstance(manifest.get(field), dict):
            raise RunFolderError(f"{path}: '{field}' is missing; train again")
    for name, replicate in manifest["replicates"].items():
        if not isinstance(replicate, dict) or type(replicate.get("seed")) is not int:
            raise RunFolderError(f"{path}: replicate {name} has no seed; train again")
        if not isinstance(replicate.get("failed", ""), str):
            raise RunFolderError(f"{path}: 'failed' of replicate {name} is no text; train again")
    return {field: manifest[field] for field in ("replicates", "sha256")}


def read_sweep(root: Path) -> dict[Path, dict[str, Any]]:
    """Returns what a root's sweep.jsonl lists: run folder -> its entry; nothing without one."""
    entries = read_lines(root / "sweep.jsonl")
    return {root / e["workdir"]: e for e in entries if isinstance(e.get("workdir"), str)}


def failure_mark(log: Path) -> Path:
    """Returns the file that stands beside a run's log where a sweep saw the run fail."""
    return log.with_name(f"{log.name}.failed")


def unscored(folder: Path, config: dict[str, Any], trained: dict[str, Any]) -> list[str]:
    """Returns the replicates that were asked for, have not failed and have no scores.

    trained: the manifest's replicates
    """
    failed = {name for name, replicate in trained.items() if "failed" in replicate}
    try:
        entries = read_json(folder / "metrics.json").get("replicates", [])
        scored = {e["replicate"] for e in entries if "failed" not in e and "stale" not in e}
    except (RunFolderError, TypeError, KeyError):
        scored = set()
    planned = (replicate.name for replicate in planned_replicates(config))
    return [name for name in planned if name not in scored | failed]


def read_lines(path: Path, last_bytes: int | None = None) -> Iterator[dict[str, Any]]:
    """Yields the objects of a .jsonl log; skips what is none, as the line that a kill tore.

    last_bytes: reads only so much of the end
    """
    if path.is_file():
        with path.open("rb") as file:
            if last_bytes is not None:
                file.seek(max(0, path.stat().st_size - last_bytes))
            lines = file.read().decode(errors="replace").splitlines()
        for line in lines:
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(found, dict):
                yield found


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object; raises RunFolderError."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: does not exist") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: not readable ({error})") from error
    if not isinstance(found, dict):
        raise RunFolderError(f"{path}: holds no object but {type(found).__name__}")
    return found
