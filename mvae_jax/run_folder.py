"""What a run folder says of itself: config.json, manifest.json and the logs, read and checked.

Scoring and the report read them, and another tool may have written them: a foreign run has but
a config.json with REQUIRED. Nothing in them is believed: a file is read where it is a regular one
of at most so many bytes, and a field where it has its type.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from mvae_jax import config as config_lib
from mvae_jax.config import Replicate
from mvae_jax.store import json_text, names, regular

MAX_JSON_BYTES = 64 << 20
MAX_LOG_BYTES = 1 << 30
MAX_LINE_BYTES = 1 << 20
MAX_REPLICATES = 100_000  # of one run: seeds times the grid of swept values

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
LEAST = {"latent_size": 1, "batch_size": 1, "num_seeds": 1, "first_seed": 0, "num_epochs": 0}
ENVIRONMENT = {"devices": list, "processor": str, "git_revision": str, "versions": dict}
TRAINED = {"seed": int, "epoch": int, "failed": str, "swept": dict, "origins": list}
EPOCH = {"replicate": str, "seed": int, "split": str, "epoch": int, "elbo": float}
TIME = {"event": str, "seconds": float, "seeds": int}
SWEEP = {
    "workdir": str,
    "command": list,
    "cost": float,
    "num_epochs": int,
    "num_replicates": int,
}


T = TypeVar("T")


class RunFolderError(ValueError):
    """A file that is not what its format says; the message names file, field and way out."""


# --- the files ---------------------------------------------------------------------------------


def read_config(folder: Path) -> dict[str, Any]:
    """Reads config.json; raises RunFolderError where REQUIRED is not there or a type is wrong."""
    path = folder / "config.json"
    config = read_json(path)
    for field in OPTIONAL:
        if config.get(field, 0) is None:
            del config[field]
    if absent := [field for field in REQUIRED if config.get(field) is None]:
        found = "None" if absent[0] in config else "missing"
        raise _wrong(path, absent[0], found, REQUIRED[absent[0]])
    check_types(path, config, REQUIRED | OPTIONAL)
    for field, least in LEAST.items():
        if config.get(field, least) < least:
            raise RunFolderError(
                f"{path}: '{field}' is {config[field]}; write an integer of at least {least}"
            )
    number = config.get("num_seeds", 1)
    for field in config_lib.SWEPT:
        values = config.get("sweep", {}).get(field, [])
        if not isinstance(values, list) or not all(map(_is_finite, values)):
            raise RunFolderError(
                f"{path}: 'sweep.{field}' is {shown(values)}; write a list of finite numbers"
            )
        number *= len(values) or 1
    if number > MAX_REPLICATES:
        raise RunFolderError(
            f"{path}: 'num_seeds' and 'sweep' ask for {number:,} replicates; "
            f"allowed: at most {MAX_REPLICATES:,}"
        )
    return config


def planned_seeds(config: dict[str, Any]) -> range:
    """Returns the seeds that a configuration asks for; none of a foreign run, which names none."""
    if "first_seed" not in config or "num_seeds" not in config:
        return range(0)
    return range(config["first_seed"], config["first_seed"] + config["num_seeds"])


def planned_replicates(config: dict[str, Any]) -> list[Replicate]:
    """Returns the replicates that a configuration asks for; none of a foreign run."""
    return config_lib.replicates(planned_seeds(config), config.get("sweep", {}))


def read_environment(folder: Path) -> dict[str, Any]:
    """Returns what environment.json says of a run; nothing where there is none."""
    path = folder / "environment.json"
    environment = read_json(path) if os.path.lexists(path) else {}
    check_types(path, environment, ENVIRONMENT)
    if not all(isinstance(device, str) for device in environment.get("devices") or ()):
        raise RunFolderError(f"{path}: 'devices' is no list of names; write str there")
    return {field: value for field, value in environment.items() if value is not None}


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns `replicates` and `sha256`, which training recorded; none of a foreign run.

    replicates: name -> {"seed": its seed}, with "failed" where training diverged
    sha256:     path below the folder -> digest
    """
    path = folder / "manifest.json"
    if not os.path.lexists(path):
        return {"replicates": {}, "sha256": {}}
    manifest = read_json(path)
    for field in ("replicates", "sha256"):
        if not isinstance(manifest.get(field), dict):
            raise RunFolderError(f"{path}: '{field}' is missing; train again")
    for name, replicate in manifest["replicates"].items():
        seed = _checked(path, names.seed_of, name)
        if not isinstance(replicate, dict) or replicate.get("seed") != seed:
            raise RunFolderError(f"{path}: replicate {name} has no seed {seed}; train again")
        check_types(path, replicate, TRAINED)
        if not all(map(_is_finite, replicate.get("swept", {}).values())):
            raise RunFolderError(f"{path}: 'swept' of {name} is no numbers; train again")
        if not all(isinstance(origin, str) for origin in replicate.get("origins", ())):
            raise RunFolderError(f"{path}: 'origins' of {name} is no list of str; train again")
    for name, digest in manifest["sha256"].items():
        _checked(path, names.check_below, name)
        check_types(path, {name: digest}, {name: str})
    return {field: manifest[field] for field in ("replicates", "sha256")}


def read_epochs(folder: Path, last_bytes: int | None = None) -> Iterator[dict[str, Any]]:
    """Yields the lines of metrics.jsonl, of which every field of EPOCH that is there is checked."""
    path = folder / "metrics.jsonl"
    for line in read_lines(path, EPOCH, last_bytes):
        if line.get("replicate") is not None:
            _checked(path, names.seed_of, line["replicate"])
        if line.get("epoch", 1) < 1:
            raise RunFolderError(f"{path}: 'epoch' is {line['epoch']}; allowed: at least 1")
        yield line


def read_times(folder: Path, last_bytes: int | None = None) -> Iterator[dict[str, Any]]:
    """Yields the lines of timing.jsonl that hold an `event` and its finite `seconds`."""
    for line in read_lines(folder / "timing.jsonl", TIME, last_bytes):
        if line.get("event") is not None and _is_finite(line.get("seconds")):
            yield line


def read_sweep(root: Path) -> dict[Path, dict[str, Any]]:
    """Returns what a root's sweep.jsonl lists: run folder -> its entry; nothing without one."""
    path = root / "sweep.jsonl"
    entries = [line for line in read_lines(path, SWEEP) if line.get("workdir") is not None]
    return {root / _checked(path, names.check_below, e["workdir"]): e for e in entries}


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


# --- JSON --------------------------------------------------------------------------------------


def read_lines(
    path: Path, types: Mapping[str, type] = MappingProxyType({}), last_bytes: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the objects of a .jsonl log; skips what is none, as the line that a kill tore.

    types:      of the fields that are there
    last_bytes: reads only so much of the end

    Raises RunFolderError where the log is no regular file, is too large, or a field is of another
    type.
    """
    try:
        file = regular.open_binary(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if last_bytes is not None:
            file.seek(max(0, size - last_bytes))
        elif size > MAX_LOG_BYTES:
            raise RunFolderError(f"{path}: has {size:,} bytes; allowed: at most {MAX_LOG_BYTES:,}")
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise RunFolderError(f"{path}: a line has more than {MAX_LINE_BYTES:,} bytes")
            try:
                found = json_text.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError):
                continue
            except ValueError as error:
                raise _unreadable(path, error) from error
            if isinstance(found, dict):
                check_types(path, found, types)
                yield found


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object; raises RunFolderError."""
    found = read_value(path)
    if not isinstance(found, dict):
        raise RunFolderError(f"{path}: holds no object but {type(found).__name__}")
    return found


def read_value(path: Path) -> Any:
    """Reads a file that holds one JSON value; raises RunFolderError."""
    try:
        return json_text.loads(regular.read_bytes(path, MAX_JSON_BYTES))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: does not exist") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def check_types(path: Path, found: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raises RunFolderError at the first field that is there, not null and of another type."""
    for field, kind in types.items():
        value = found.get(field)
        if value is not None and not has_type(value, kind):
            raise _wrong(path, field, shown(value), kind)


def has_type(value: Any, kind: type) -> bool:
    """Returns whether a JSON value is of a type; a whole number is a float too, true is neither."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def shown(value: Any) -> str:
    """Returns a value for a message of one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_finite(value: Any) -> bool:
    return has_type(value, float) and math.isfinite(value)


def _checked(path: Path, check: Callable[[str], T], name: str) -> T:
    """Returns what a check of a name returns; its ValueError becomes one of this file."""
    try:
        return check(name)
    except ValueError as error:
        raise RunFolderError(f"{path}: {error}") from error


def _wrong(path: Path, field: str, found: str, kind: type) -> RunFolderError:
    return RunFolderError(f"{path}: '{field}' is {found}; write {kind.__name__} there")


def _unreadable(path: Path, error: Exception) -> RunFolderError:
    reason = getattr(error, "strerror", None) or error
    return RunFolderError(f"{path}: not readable ({reason})")
