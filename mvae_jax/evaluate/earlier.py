"""What a run's metrics.json holds of earlier scoring, and which of it is to be computed now."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mvae_jax import terminal
from mvae_jax.evaluate import inputs
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.evaluate.record import FOLDERS
from mvae_jax.store import files, metrics_file, run_folder

EARLIER = "@"  # before the digest that ends the name of settings that are not today's

Entry = dict[str, Any]  # one replicate in metrics.json


def read(
    folder: Path, config: dict[str, Any], settings: dict[str, Any]
) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Return the scored replicates of the run's metrics.json, and the settings they were scored by.

    Settings that are not today's get a name of their own. An unreadable metrics.json is moved
    aside, if there are embeddings to score in its place.
    """
    path = folder / "metrics.json"
    if not path.exists():
        return {}, {}
    with files.hold(folder):
        try:
            found = metrics_file.read(path)
        except metrics_file.EditedError as error:
            raise FormatError(str(error)) from error
        except metrics_file.MetricsError as error:
            if not inputs.embedding_files(folder):
                reason = "but the embeddings are gone; repair the file"
                raise FormatError(f"{error}, {reason}") from error
            aside = files.move_aside(path)
            terminal.say(f"{error}; moved to {aside}")
            return {}, {}
    for field in run_folder.REQUIRED:
        if found[field] != config[field]:
            raise FormatError(
                f"{path}: {field} is {found[field]!r}, in config.json {config[field]!r}; "
                "restore config.json, or move metrics.json elsewhere to score as it says"
            )
    names = {
        name: name if settings.get(name, of) == of else f"{name}{EARLIER}{_digest(of)}"
        for name, of in found["settings"].items()
    }
    scored = [_renamed(entry, names) for entry in found["replicates"] if "values" in entry]
    return (
        {entry["replicate"]: entry for entry in scored},
        {names[name]: of for name, of in found["settings"].items()},
    )


def used(settings: dict[str, Any], entries: Iterable[Entry]) -> dict[str, Any]:
    """Return today's settings, and those of kept scores."""
    names = {
        name
        for entry in entries
        for computed in [*entry.get("values", ()), *entry.get("curves", {}).values()]
        for name in computed["settings"]
    }
    return {k: v for k, v in settings.items() if k in names or EARLIER not in k}


def is_outdated(entry: Entry, sha256: Mapping[str, str], settings: Collection[str]) -> bool:
    """Return whether an entry's values are of other files than there are, or other settings."""
    of_other_files = any(entry.get(key, digest) != digest for key, digest in sha256.items())
    return of_other_files or any(
        not set(row["settings"]) <= set(settings)
        for row in entry["values"]
        if row["metric"] in METRICS
    )


def missing(entry: Entry, sha256: Mapping[str, str]) -> list[str]:
    """Return the metrics that are still to be computed for an entry that is not outdated.

    They are those of which it does not know, those of a file that it does not know, and those
    that the memory did not suffice for.
    """
    known = {row["metric"] for row in entry["values"] + entry["absent"]}
    out_of_memory = {
        row["metric"]
        for row in entry["absent"]
        if row["reason"].startswith(metrics_file.OUT_OF_MEMORY)
    }
    new_folders = {metrics_file.SCORED_FILES[key] for key in sha256.keys() - entry.keys()}
    return [
        metric.name
        for metric in METRICS.values()
        if metric.name not in known - out_of_memory or FOLDERS[metric.split] in new_folders
    ]


def _renamed(entry: Entry, names: dict[str, str]) -> Entry:
    """Return the entry with its settings under these names."""

    def rename(computed: dict[str, Any]) -> dict[str, Any]:
        return computed | {"settings": [names[name] for name in computed["settings"]]}

    renamed = {"values": [rename(value) for value in entry["values"]]}
    curves = {name: rename(curve) for name, curve in entry.get("curves", {}).items()}
    return entry | renamed | ({"curves": curves} if "curves" in entry else {})


def _digest(settings: Any) -> str:
    """Return eight hexadecimal digits that differ for unlike settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
