"""What a run folder says of itself: config.json, done/, manifest.json and the logs, checked.

Scoring and the report read them, and another tool may have written them: a foreign run has but
a config.json with REQUIRED. Nothing in them is believed: a file is read where it is a regular one
of at most so many bytes, and a field where it has its type.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mvae_jax import config as config_lib
from mvae_jax.config import Replicate
from mvae_jax.store import files, json_file, names
from mvae_jax.store.json_file import RunFolderError, check_types, read_json, read_lines, typed

# Schemas, see `json_file.find_fault`.
REQUIRED: dict[str, Any] = {"dataset": str, "protocol": str, "model": str, "latent_size": int}
# What else is read, where it is there.
OPTIONAL: dict[str, Any] = {
    "source": str,
    "tag": str,
    "batch_size": int,
    "num_epochs": int,
    "first_seed": int,
    "num_seeds": int,
    "couple_mean": bool,
    "keep_embeddings": bool,
    "sweep": {field: [float] for field in config_lib.SWEPT},
}
LEAST = {"latent_size": 1, "batch_size": 1, "num_seeds": 1, "first_seed": 0, "num_epochs": 0}
ENVIRONMENT = {"devices": [str], "processor": str, "git_revision": str, "versions": dict}
TRAINED = {
    "seed": int,
    "epoch": int,
    "failed": str,
    "swept": {...: float},
    "origins": [str],
    "epoch_seconds": float,
    "stopped_epoch": int,
}
DONE = {"sha256": {...: str}, "log": {"bytes": int, "sha256": str}}
EPOCH = {"seed": int, "epoch": int, "elbo": float}
TIME = {"event": str, "seconds": float, "seeds": int}
SWEEP = {
    "workdir": str,
    "command": list,
    "cost": float,
    "num_epochs": int,
    "num_replicates": int,
}


T = TypeVar("T")


# --- the files ---------------------------------------------------------------------------------


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json; raise RunFolderError where REQUIRED is not there or a type is wrong."""
    path = folder / "config.json"
    return check_config(path, read_json(path, sealed=is_own(folder)))


def check_config(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without fields that are null; raise RunFolderError as `read_config`.

    path: of the file that holds it
    """
    check_types(path, config, REQUIRED, optional=False)
    config = typed(path, config, OPTIONAL)
    for field, least in LEAST.items():
        if config.get(field, least) < least:
            raise RunFolderError(
                f"{path}: '{field}' is {config[field]}; write an integer of at least {least}"
            )
    number = config_lib.num_replicates(config.get("num_seeds", 1), config.get("sweep", {}))
    if number > config_lib.MAX_REPLICATES:
        raise RunFolderError(
            f"{path}: 'num_seeds' and 'sweep' ask for {number:,} replicates; "
            f"allowed: at most {config_lib.MAX_REPLICATES:,}"
        )
    return config


def planned_seeds(config: dict[str, Any]) -> range:
    """Return the seeds that a configuration asks for; none of a foreign run, which names none."""
    if "first_seed" not in config or "num_seeds" not in config:
        return range(0)
    return range(config["first_seed"], config["first_seed"] + config["num_seeds"])


def planned_replicates(config: dict[str, Any]) -> list[Replicate]:
    """Return the replicates that a configuration asks for; none of a foreign run."""
    return config_lib.replicates(planned_seeds(config), config.get("sweep", {}))


def read_environment(folder: Path) -> dict[str, Any]:
    """Return what environment.json says of a run; nothing where there is none."""
    path = folder / "environment.json"
    found = read_json(path, sealed=is_own(folder)) if os.path.lexists(path) else {}
    return typed(path, found, ENVIRONMENT)


def is_own(folder: Path) -> bool:
    """Return whether this package trained the run, so that its JSON files carry their SHA-256."""
    return (folder / "done").is_dir()


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what training recorded in done/, or an export in manifest.json; none of a foreign run.

    replicates: name -> {"seed": its seed}, with "failed" where training diverged
    sha256:     path below the folder -> digest
    """
    path = folder / "manifest.json"
    if is_own(folder):
        return _read_done(folder)
    if not os.path.lexists(path):
        return {"replicates": {}, "sha256": {}}
    manifest = read_json(path)
    schema = {"replicates": dict, "sha256": {...: str}}
    check_types(path, manifest, schema, optional=False)
    for name, replicate in manifest["replicates"].items():
        manifest["replicates"][name] = _trained(path, name, replicate)
    _check_paths(path, manifest["sha256"])
    return {field: manifest[field] for field in ("replicates", "sha256")}


def _read_done(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what done/<replicate>.json say, in the form of a manifest."""
    replicates: dict[str, Any] = {}
    sha256: dict[str, Any] = {}
    for path in sorted((folder / "done").glob("[!.]*.json")):
        record = _trained(path, path.stem, typed(path, read_json(path, sealed=True), DONE))
        _check_paths(path, record.get("sha256", {}))
        sha256 |= record.pop("sha256", {})
        replicates[path.stem] = record
    return {"replicates": replicates, "sha256": sha256}


def _trained(path: Path, name: str, replicate: Any) -> dict[str, Any]:
    """Return what is known of a replicate, checked."""
    seed = _checked(path, names.seed_of, name)
    if not isinstance(replicate, dict) or replicate.get("seed") != seed:
        raise RunFolderError(f"{path}: replicate {name} has no seed {seed}; train again")
    return typed(path, replicate, TRAINED)


def _check_paths(path: Path, sha256: Mapping[str, Any]) -> None:
    for name in sha256:
        _checked(path, names.check_below, name)


def epoch_logs(folder: Path) -> list[Path]:
    """Return the logs of a run's replicates."""
    return sorted((folder / "logs").glob("[!.]*.jsonl"))


def read_epochs(
    path: Path, extent: Mapping[str, Any] | None = None, last_bytes: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the lines of a replicate's log, of which every field of EPOCH that is there is checked.

    extent: how many bytes of it training has recorded, and their SHA-256

    Raise RunFolderError where the log does not begin with what was recorded.
    """
    seed = _checked(path, names.seed_of, path.stem)
    if extent and not begins_as(path, extent):
        raise RunFolderError(f"{path}: damaged, its SHA-256 is not that of its record")
    for line in read_lines(path, EPOCH, last_bytes):
        if line.get("seed", seed) != seed:
            raise RunFolderError(f"{path}: 'seed' is {line['seed']}, not that of its name")
        if line.get("epoch") is None or line["epoch"] < 1:
            raise RunFolderError(f"{path}: 'epoch' is {line.get('epoch')}; allowed: at least 1")
        yield line


def begins_as(path: Path, extent: Mapping[str, Any]) -> bool:
    """Return whether a log begins with the bytes that were recorded of it."""
    try:
        with files.open_binary(path) as file:
            known = file.read(max(0, extent.get("bytes", 0)))
    except OSError:
        known = b""
    return hashlib.sha256(known).hexdigest() == extent.get("sha256")


def read_times(folder: Path, last_bytes: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the lines of timing.jsonl that hold an `event` and its finite `seconds`."""
    for line in read_lines(folder / "timing.jsonl", TIME, last_bytes):
        if line.get("event") is not None and json_file.is_finite(line.get("seconds")):
            yield line


def read_sweep(root: Path) -> dict[Path, dict[str, Any]]:
    """Return what a root's sweep.jsonl lists: run folder -> its entry; nothing without one."""
    entries = read_entries(root / "sweep.jsonl")
    return {root / entry["workdir"]: entry for entry in entries if "workdir" in entry}


def read_entries(path: Path, torn: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the lines of a sweep.jsonl; their run folders lie below its own.

    torn: skips lines that are no objects; else they raise RunFolderError
    """
    for line in read_lines(path, SWEEP, torn=torn):
        entry = typed(path, line, SWEEP)
        if "workdir" in entry:
            _checked(path, names.check_below, entry["workdir"])
        yield entry


def failure_mark(log: Path) -> Path:
    """Return the file that stands beside a run's log where a sweep saw the run fail."""
    return log.with_name(f"{log.name}.failed")


def unscored(folder: Path, config: dict[str, Any], trained: dict[str, Any]) -> list[str]:
    """Return the replicates that were asked for, have not failed and have no scores.

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


def _checked(path: Path, check: Callable[[str], T], name: str) -> T:
    """Return what a check of a name returns; its ValueError becomes one of this file."""
    try:
        return check(name)
    except ValueError as error:
        raise RunFolderError(f"{path}: {error}") from error
