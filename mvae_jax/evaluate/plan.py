"""What a run folder holds, which of its metrics are to be computed, and what is kept.

Scores are never destroyed. A newer score replaces an older one of the same replicate; where there
is no newer one, because the embeddings are gone, damaged or not scored yet, the older one stays,
marked as stale if it no longer describes the run.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax.evaluate import earlier, embeddings, inputs, metrics
from mvae_jax.evaluate.earlier import Entry
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.evaluate.record import Metric
from mvae_jax.store import files, metrics_file, run_folder

PENDING = f"not scored yet; {metrics_file.WAY_OUT}"


class Pending(NamedTuple):
    """A replicate to be scored: its files' SHA-256, and the package's metrics to be computed."""

    sha256: dict[str, str]
    metrics: list[str]


class Run(NamedTuple):
    """One run folder.

    settings: by name, those of today's scores and of the ones that are kept
    entries:  by replicate, what metrics.json says of it; `failed` where it has no values
    pending:  the replicates to be scored
    kept:     the replicates whose embeddings are gone and whose scores are kept
    own:      the user's own metrics
    """

    folder: Path
    config: dict[str, Any]
    settings: dict[str, Any]
    entries: dict[str, Entry]
    pending: dict[str, Pending]
    kept: list[str]
    own: Sequence[Metric]


def plan(folder: Path, own: Sequence[Metric] = ()) -> Run:
    """Read what a run folder holds; raise ValueError where it is no run at all.

    own: metrics of the user's own, which are computed in any case: their code may have changed
    """
    config = run_folder.read_config(folder)
    manifest = run_folder.read_manifest(folder)
    settings = metrics.settings(config)
    known, old_settings = earlier.read(folder, config, settings)
    digests, problems = inputs.inspect(folder, manifest)
    entries: dict[str, Entry] = {}
    pending = {}
    for name, sha256 in digests.items():
        entry = known.get(name)
        if entry is None or earlier.is_outdated(entry, sha256, settings):
            wanted = list(metrics.METRICS)
            entries[name] = mark(entry or _entry(folder, name), PENDING)
        else:
            wanted = earlier.missing(entry, sha256)
            entries[name] = _fresh(entry)
        if wanted or own:
            pending[name] = Pending(sha256, wanted)
    for name, reason in problems.items():
        entries[name] = mark(known.get(name) or _entry(folder, name), reason)
    kept = sorted(known.keys() - entries.keys())
    for name in kept:
        reason = _outdated(known[name], manifest)
        entries[name] = mark(known[name], reason) if reason else _fresh(known[name])
    entries = inputs.without_embeddings(config, manifest, set(entries)) | entries
    return Run(folder, config, old_settings | settings, entries, pending, kept, own)


def take(run: Run, name: str, scored: Entry) -> None:
    """Enter a pending replicate's new scores, or mark its older ones with why there are none."""
    older = run.entries[name]
    if "failed" in scored:
        run.entries[name] = mark(older, scored["failed"])
        return
    scored |= run.pending[name].sha256
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
        for entry in there["replicates"]:
            ours = run.entries.get(entry["replicate"], {})
            if _is_newer(run, entry):
                run.entries[entry["replicate"]] = entry
            elif "values" in ours and "values" in entry:
                metrics_file.carry(entry, ours)
        entries = run.entries.values()
        content = {
            **{field: run.config[field] for field in run_folder.REQUIRED},
            "source": run.config.get("source", ""),
            "settings": earlier.used(there["settings"] | run.settings, entries),
            "replicates": sorted(entries, key=lambda e: (e.get("seed", -1), e["replicate"])),
        }
        if described := _described(there.get("described", {}), run.own, entries):
            content["described"] = described
        metrics_file.write(path, content)


def _is_newer(run: Run, there: Entry) -> bool:
    """Return whether another process has scored what this one has no scores of, or older ones."""
    ours = run.entries.get(there["replicate"], {})
    if "values" not in there or "values" not in ours:
        return "values" in there
    pending = run.pending.get(there["replicate"])
    if pending is None or "stale" in there or "stale" not in ours:
        return False
    return not earlier.is_outdated(there, pending.sha256, run.settings)


def _described(
    there: dict[str, Any], own: Sequence[Metric], entries: Iterable[Entry]
) -> dict[str, Any]:
    """Return how the user's own metrics are shown, those of which an entry knows."""
    known = {
        row["metric"]
        for entry in entries
        for row in [*entry.get("values", ()), *entry.get("absent", ())]
    }
    ours = {m.name: {field: getattr(m, field) for field in metrics_file.SHOWN} for m in own}
    return {name: shown for name, shown in (there | ours).items() if name in known}


def _fresh(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "stale"}


def _entry(folder: Path, name: str) -> Entry:
    """Return an entry of a replicate that has no scores."""
    try:
        return {"replicate": name, "seed": embeddings.seed_of_name(folder / f"{name}.npz")}
    except FormatError:
        return {"replicate": name}


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
