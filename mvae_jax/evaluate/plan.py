"""What a run folder holds, which of its metrics are to be computed, and what is kept.

Scores are never destroyed. A newer score replaces an older one of the same replicate; where there
is no newer one, because the embeddings are gone, damaged or not scored yet, the older one stays,
marked as stale if it no longer describes the run. Every change reads metrics.json and writes it
again while no other evaluation can, so that several may score one run.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax import terminal
from mvae_jax.evaluate import metrics
from mvae_jax.evaluate.embeddings import FormatError, seed_of_name
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.evaluate.record import FOLDERS, Metric
from mvae_jax.store import files, metrics_file, names, run_folder

PENDING = f"not scored yet; {metrics_file.WAY_OUT}"
EARLIER = "@"  # before the digest that ends the name of settings that are not today's

Entry = dict[str, Any]  # one replicate in metrics.json


class Pending(NamedTuple):
    """A replicate to be scored: its files' SHA-256, and the package's metrics to be computed."""

    sha256: dict[str, str]
    metrics: list[str]


class Run(NamedTuple):
    """One run folder.

    entries: by replicate, what metrics.json says of it; `failed` where it has no values
    pending: the replicates to be scored
    kept:    the replicates whose embeddings are gone and whose scores are kept
    own:     the user's own metrics
    """

    folder: Path
    config: dict[str, Any]
    entries: dict[str, Entry]
    pending: dict[str, Pending]
    kept: list[str]
    own: Sequence[Metric]


def plan(folder: Path, own: Sequence[Metric] = ()) -> Run:
    """Bring a run's metrics.json up to its files; raise ValueError where it is no run at all.

    own: metrics of the user's own, which are computed in any case: their code may have changed
    """
    config = run_folder.read_config(folder)
    manifest = run_folder.read_manifest(folder)
    digests, problems = _inspect(folder, manifest)
    with files.hold(folder):
        content = _read(folder, config)
        known = {e["replicate"]: e for e in content["replicates"] if "values" in e}
        entries: dict[str, Entry] = {}
        pending = {}
        for name, sha256 in digests.items():
            entry = known.get(name)
            if entry is None or _is_outdated(entry, sha256, metrics.settings(config)):
                wanted = list(METRICS)
                entries[name] = _marked(entry or _entry(name), PENDING)
            else:
                wanted = _missing(entry, sha256)
                entries[name] = _marked(entry, "")
            if wanted or own:
                pending[name] = Pending(sha256, wanted)
        for name, reason in problems.items():
            entries[name] = _marked(known.get(name) or _entry(name), reason)
        kept = sorted(known.keys() - entries.keys())
        for name in kept:
            entries[name] = _marked(known[name], _overtaken(known[name], manifest))
        entries = _without_embeddings(config, manifest, entries) | entries
        run = Run(folder, config, entries, pending, kept, own)
        _write(run, content)
    return run


def take(run: Run, name: str, scored: Entry) -> None:
    """Write a pending replicate's new scores, or mark its older ones with why there are none."""
    with files.hold(run.folder):
        content = _read(run.folder, run.config)
        run.entries.update({entry["replicate"]: entry for entry in content["replicates"]})
        older = run.entries[name]
        if "failed" in scored:
            run.entries[name] = _marked(older, scored["failed"])
        else:
            run.entries[name] = scored | run.pending[name].sha256
            metrics_file.carry(older, run.entries[name])
        _write(run, content)


def embedding_files(folder: Path) -> list[Path]:
    """Return the run's embeddings, one file per replicate."""
    return sorted((folder / "embeddings").glob("[!.]*.npz"))


# --- metrics.json ------------------------------------------------------------------------------


def _read(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return what metrics.json holds, with today's settings beside those of its scores.

    Settings that are not today's get a name of their own. An unreadable metrics.json is moved
    aside, if there are embeddings to score in its place.
    """
    path, today = folder / "metrics.json", metrics.settings(config)
    found: dict[str, Any] = {"settings": today, "replicates": []}
    if not path.exists():
        return found
    try:
        found = metrics_file.read(path)
    except metrics_file.EditedError as error:
        raise FormatError(str(error)) from error
    except metrics_file.MetricsError as error:
        if not embedding_files(folder):
            reason = "but the embeddings are gone; repair the file"
            raise FormatError(f"{error}, {reason}") from error
        terminal.say(f"{error}; moved to {files.move_aside(path)}")
        return found
    for field in run_folder.REQUIRED:
        if found[field] != config[field]:
            raise FormatError(
                f"{path}: {field} is {found[field]!r}, in config.json {config[field]!r}; "
                "restore config.json, or move metrics.json elsewhere to score as it says"
            )
    renamed = {}
    for name, of in found["settings"].items():
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:8]
        renamed[name] = name if today.get(name, of) == of else f"{name}{EARLIER}{digest}"
    for row in _computed(found["replicates"]):
        row["settings"] = [renamed[name] for name in row["settings"]]
    found["settings"] = {renamed[name]: of for name, of in found["settings"].items()} | today
    return found


def _write(run: Run, content: Mapping[str, Any]) -> None:
    """Write the run's entries, sorted by seed, with the settings that they name and today's."""
    entries = run.entries.values()
    used = {name for row in _computed(entries) for name in row["settings"]}
    settings = {k: v for k, v in content["settings"].items() if k in used or EARLIER not in k}
    written = {
        **{field: run.config[field] for field in run_folder.REQUIRED},
        "source": run.config.get("source", ""),
        "settings": settings,
        "replicates": sorted(entries, key=lambda e: (e.get("seed", -1), e["replicate"])),
    }
    ours = {m.name: {field: getattr(m, field) for field in metrics_file.SHOWN} for m in run.own}
    rows = [row for e in entries for row in [*e.get("values", ()), *e.get("absent", ())]]
    known = {row["metric"] for row in rows}
    described = content.get("described", {}) | ours
    if described := {name: shown for name, shown in described.items() if name in known}:
        written["described"] = described
    metrics_file.write(run.folder / "metrics.json", written)


def _computed(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """Yield every value and curve."""
    for entry in entries:
        yield from entry.get("values", ())
        yield from entry.get("curves", {}).values()


def _marked(entry: Entry, reason: str) -> Entry:
    """Return the entry with its scores stale for this reason, if any, or failed without scores."""
    if "values" not in entry:
        kept = {key: entry[key] for key in ("replicate", "seed") if key in entry}
        return kept | {"failed": reason}
    fresh = {key: value for key, value in entry.items() if key != "stale"}
    return fresh | ({"stale": reason} if reason else {})


def _entry(name: str) -> Entry:
    """Return an entry of a replicate that has no scores; without its seed if badly named."""
    try:
        return {"replicate": name, "seed": names.seed_of(name)}
    except ValueError:
        return {"replicate": name}


def _is_outdated(entry: Entry, sha256: Mapping[str, str], settings: Collection[str]) -> bool:
    """Return whether an entry's values are of other files than there are, or other settings."""
    return any(entry.get(key, digest) != digest for key, digest in sha256.items()) or any(
        not set(row["settings"]) <= set(settings)
        for row in entry["values"]
        if row["metric"] in METRICS
    )


def _missing(entry: Entry, sha256: Mapping[str, str]) -> list[str]:
    """Return the metrics that are still to be computed for an entry that is not outdated.

    They are those of which it does not know, those of a file that it does not know, and those
    that the memory did not suffice for.
    """
    decided = {
        row["metric"]
        for row in entry["values"] + entry["absent"]
        if not row.get("reason", "").startswith(metrics_file.OUT_OF_MEMORY)
    }
    new_folders = {metrics_file.SCORED_FILES[key] for key in sha256.keys() - entry.keys()}
    return [
        metric.name
        for metric in METRICS.values()
        if metric.name not in decided or FOLDERS[metric.split] in new_folders
    ]


def _overtaken(entry: Entry, manifest: dict[str, Any]) -> str:
    """Return why scores whose embeddings are gone no longer describe the run; empty if they do."""
    name = entry["replicate"]
    trained = manifest["replicates"].get(name, {})
    if "failed" in trained:
        return f"trained since, and failed: {trained['failed']}"
    written = manifest["sha256"].get(f"embeddings/{name}.npz", entry["sha256"])
    if written != entry["sha256"]:
        return f"trained since, and embeddings/{name}.npz is missing; train again"
    return ""


# --- the other files ---------------------------------------------------------------------------


def _inspect(
    folder: Path, manifest: dict[str, Any]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the SHA-256 of each replicate's files, and why others cannot be scored."""
    digests: dict[str, dict[str, str]] = {}
    problems = {}
    first_of: dict[str, str] = {}  # by the content's SHA-256, the first file that has it
    for path in embedding_files(folder):
        try:
            seed_of_name(path)
            of_files = _digests(folder, path.stem, manifest)
            twin = first_of.setdefault(of_files["sha256"], path.name)
            if twin != path.name:
                raise FormatError(f"{path}: has the bytes of {twin}, so is no replicate; remove it")
            digests[path.stem] = of_files
        except (FormatError, OSError) as error:
            problems[path.stem] = str(error)

    def identity(name: str) -> tuple[int, str]:  # the same of seed_1.npz and seed_01.npz
        return names.seed_of(name), name.partition("__")[2]

    number = Counter(map(identity, digests))
    for name in [name for name in digests if number[identity(name)] > 1]:
        del digests[name]
        problems[name] = f"{name}: another file is of the same seed; remove all but one"
    return digests, problems


def _digests(folder: Path, name: str, manifest: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of a replicate's files; raise FormatError if training left others."""
    digests = {}
    for key, room in metrics_file.SCORED_FILES.items():
        path = folder / room / f"{name}.npz"
        if key == "sha256" or os.path.lexists(path):
            digests[key] = files.sha256(path)
            written = manifest["sha256"].get(f"{room}/{name}.npz", digests[key])
            if written != digests[key]:
                raise FormatError(
                    f"{path}: is not the file that training wrote (its record has another "
                    "SHA-256); remove the file and run the training again, or remove done/ and "
                    "manifest.json to score it as it is"
                )
    return digests


def _without_embeddings(
    config: dict[str, Any], manifest: dict[str, Any], known: Collection[str]
) -> dict[str, Entry]:
    """Return an entry with the reason for each replicate that should have embeddings.

    known: the replicates that have an entry
    """
    reasons = dict.fromkeys(
        (r.name for r in run_folder.planned_replicates(config) if r.name not in known),
        "not trained yet, though config.json asks for it; run the training again",
    )
    for name, trained in manifest["replicates"].items():
        reasons[name] = trained.get("failed", f"embeddings/{name}.npz is missing; train again")
    return {name: _marked(_entry(name), reason) for name, reason in reasons.items()}
