"""What a run folder holds, which of its replicates are to be scored, and what is kept.

Scores are never destroyed. A newer score replaces an older one of the same replicate; where there
is no newer one, because the embeddings are gone, damaged or not scored yet, the older one stays,
marked as stale if it no longer describes the run.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax import terminal
from mvae_jax.evaluate import embeddings, replicate
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.store import files, metrics_file, run_folder

DEFAULT_BATCH_SIZE = 100  # the release's; a foreign config.json has none
PENDING = f"not scored yet; {metrics_file.WAY_OUT}"
EARLIER = "@"  # before the digest that ends the name of settings that are not today's

Entry = dict[str, Any]  # one replicate in metrics.json


class Run(NamedTuple):
    """One run folder.

    settings: by name, those of today's scores and of the ones that are kept
    entries:  by replicate, what metrics.json says of it; `failed` where it has no values
    pending:  the replicates to be scored, with the SHA-256 of their files
    kept:     the replicates whose embeddings are gone and whose scores are kept
    """

    folder: Path
    config: dict[str, Any]
    settings: dict[str, Any]
    entries: dict[str, Entry]
    pending: dict[str, dict[str, str]]
    kept: list[str]


def plan(folder: Path) -> Run:
    """Read what a run folder holds; raise ValueError where it is no run at all.

    An unreadable metrics.json is moved aside, if there are embeddings to score in its place.
    """
    config = run_folder.read_config(folder)
    manifest = run_folder.read_manifest(folder)
    settings = replicate.settings(config.get("batch_size", DEFAULT_BATCH_SIZE))
    earlier, old_settings = _earlier(folder, config, settings)
    digests, problems = _inspect(folder, manifest)
    entries: dict[str, Entry] = {}
    pending = {}
    for name, of_files in digests.items():
        known = earlier.get(name, {})
        if _same_inputs(known, of_files) and _is_current(known, settings):
            entries[name] = _fresh(known)
        else:
            pending[name] = of_files
            entries[name] = mark(known or _entry(folder, name), PENDING)
    for name, reason in problems.items():
        entries[name] = mark(earlier.get(name) or _entry(folder, name), reason)
    kept = sorted(earlier.keys() - entries.keys())
    for name in kept:
        reason = _outdated(earlier[name], manifest)
        entries[name] = mark(earlier[name], reason) if reason else _fresh(earlier[name])
    entries = _missing(config, manifest, entries) | entries
    return Run(folder, config, old_settings | settings, entries, pending, kept)


def take(run: Run, name: str, scored: Entry) -> None:
    """Enter a pending replicate's new scores, or mark its older ones with why there are none."""
    older = run.entries[name]
    if "failed" in scored:
        run.entries[name] = mark(older, scored["failed"])
        return
    scored |= run.pending[name]
    metrics_file.carry(older, scored)
    run.entries[name] = scored


def mark(entry: Entry, reason: str) -> Entry:
    """Return the entry with its scores stale for this reason, or failed where it has none."""
    if "values" in entry:
        return entry | {"stale": reason}
    return {key: entry[key] for key in ("replicate", "seed") if key in entry} | {"failed": reason}


def write(run: Run) -> None:
    """Write the run's metrics.json, sorted by seed.

    What another process has scored since the plan was made is kept.
    """
    path = run.folder / "metrics.json"
    with files.hold(run.folder):
        there = metrics_file.read(path) if path.exists() else {"replicates": [], "settings": {}}
        run.entries.update({e["replicate"]: e for e in there["replicates"] if _is_newer(run, e)})
        entries = run.entries.values()
        content = {
            **{field: run.config[field] for field in run_folder.REQUIRED},
            "source": run.config.get("source", ""),
            "settings": _used(there["settings"] | run.settings, entries),
            "replicates": sorted(entries, key=lambda e: (e.get("seed", -1), e["replicate"])),
        }
        metrics_file.write(path, content)


def _is_newer(run: Run, there: Entry) -> bool:
    """Return whether another process has scored what this one has no scores of, or older ones."""
    ours = run.entries.get(there["replicate"], {})
    if "values" not in there or "values" not in ours:
        return "values" in there
    inputs = run.pending.get(there["replicate"])
    fresh = "stale" not in there and inputs is not None and _same_inputs(there, inputs)
    return fresh and "stale" in ours


def embedding_files(folder: Path) -> list[Path]:
    """Return the run's embeddings, one file per replicate."""
    return sorted((folder / "embeddings").glob("[!.]*.npz"))


# --- what was scored before --------------------------------------------------------------------


def _earlier(
    folder: Path, config: dict[str, Any], settings: dict[str, Any]
) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Return the scored replicates of the run's metrics.json, and the settings they were scored by.

    Settings that are not today's get a name of their own.
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
            if not embedding_files(folder):
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


def _renamed(entry: Entry, names: dict[str, str]) -> Entry:
    """Return the entry with its settings under these names."""

    def rename(computed: dict[str, Any]) -> dict[str, Any]:
        return computed | {"settings": [names[name] for name in computed["settings"]]}

    renamed = {"values": [rename(value) for value in entry["values"]]}
    curves = {name: rename(curve) for name, curve in entry.get("curves", {}).items()}
    return entry | renamed | ({"curves": curves} if "curves" in entry else {})


def _used(settings: dict[str, Any], entries: Any) -> dict[str, Any]:
    """Return today's settings, and those of kept scores."""
    used = {
        name
        for entry in entries
        for computed in [*entry.get("values", ()), *entry.get("curves", {}).values()]
        for name in computed["settings"]
    }
    return {k: v for k, v in settings.items() if k in used or EARLIER not in k}


def _digest(settings: Any) -> str:
    """Return eight hexadecimal digits that differ for unlike settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def _same_inputs(entry: Entry, digests: dict[str, str]) -> bool:
    """Return whether the files that are there are those that were scored."""
    return all(entry.get(key) == digest for key, digest in digests.items())


def _is_current(entry: Entry, settings: dict[str, Any]) -> bool:
    """Return whether an entry knows of every metric there is today, under today's settings."""
    names = {row["metric"] for row in entry["values"] + entry["absent"]}
    of_today = {row["metric"]: row for row in entry["values"]}
    to_try_again = [
        row for row in entry["absent"] if row["reason"].startswith(metrics_file.OUT_OF_MEMORY)
    ]
    return (
        names >= set(replicate.metric_names())
        and not to_try_again
        and all(
            set(of_today[name]["settings"]) <= settings.keys()
            for name in replicate.metric_names()
            if name in of_today
        )
    )


def _fresh(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "stale"}


def _outdated(entry: Entry, manifest: dict[str, Any]) -> str:
    """Return why scores whose embeddings are gone no longer describe the run; empty if they do."""
    name = entry["replicate"]
    trained = manifest["replicates"].get(name, {})
    if "failed" in trained:
        return f"trained since, and failed: {trained['failed']}"
    written = manifest["sha256"].get(f"embeddings/{name}.npz", entry["sha256"])
    if written != entry["sha256"]:
        return f"trained since, and embeddings/{name}.npz is missing; train again"
    return ""


# --- what is there now -------------------------------------------------------------------------


def _entry(folder: Path, name: str) -> Entry:
    """Return an entry of a replicate that has no scores."""
    try:
        return {"replicate": name, "seed": embeddings.seed_of_name(folder / f"{name}.npz")}
    except FormatError:
        return {"replicate": name}


def _inspect(
    folder: Path, manifest: dict[str, Any]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the SHA-256 of each replicate's files, and why others cannot be scored."""
    digests: dict[str, dict[str, str]] = {}
    problems = {}
    first_of: dict[str, str] = {}  # by the content's SHA-256, the first file that has it
    for path in embedding_files(folder):
        try:
            embeddings.seed_of_name(path)
            of_files = _digests(folder, path.stem, manifest)
            twin = first_of.setdefault(of_files["sha256"], path.name)
            if twin != path.name:
                raise FormatError(f"{path}: has the bytes of {twin}, so is no replicate; remove it")
            digests[path.stem] = of_files
        except (FormatError, OSError) as error:
            problems[path.stem] = str(error)
    names_of: dict[tuple[int, str], list[str]] = {}
    for name in digests:
        seed = embeddings.seed_of_name(folder / f"{name}.npz")
        names_of.setdefault((seed, name.partition("__")[2]), []).append(name)
    for names in names_of.values():
        if len(names) > 1:  # as seed_1.npz and seed_01.npz
            for name in names:
                problems[name] = f"{' and '.join(names)} are of one seed; remove all but one"
                del digests[name]
    return digests, problems


def _digests(folder: Path, name: str, manifest: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of a replicate's files; raise FormatError if training left others."""
    digests = {}
    for key, room in (("sha256", "embeddings"), ("sha256_model", "model")):
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


def _missing(
    config: dict[str, Any], manifest: dict[str, Any], entries: dict[str, Entry]
) -> dict[str, Entry]:
    """Return an entry with the reason for each replicate that should have embeddings."""
    missing: dict[str, Entry] = {}
    for name, trained in manifest["replicates"].items():
        reason = trained.get("failed", f"embeddings/{name}.npz is missing; train again")
        missing[name] = {"replicate": name, "seed": trained["seed"], "failed": reason}
    there = missing.keys() | entries.keys()
    for name, seed in ((r.name, r.seed) for r in run_folder.planned_replicates(config)):
        if name not in there:
            reason = "not trained yet, though config.json asks for it; run the training again"
            missing[name] = {"replicate": name, "seed": seed, "failed": reason}
    return missing
