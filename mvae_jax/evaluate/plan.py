"""What a run folder holds, and which of its replicates are to be scored."""

from pathlib import Path
from typing import Any, NamedTuple

from mvae_jax import files, metrics_file, run_folder
from mvae_jax.evaluate import embeddings, replicate
from mvae_jax.evaluate.embeddings import FormatError

DEFAULT_BATCH_SIZE = 100  # the release's; a foreign config.json has none
PENDING = f"not scored yet; {metrics_file.WAY_OUT}"

Entry = dict[str, Any]  # one replicate in metrics.json


class Run(NamedTuple):
    """One run folder.

    entries: by replicate, what metrics.json says of it; `failed` where it has no values
    pending: the replicates to be scored, with the SHA-256 of their files
    """

    folder: Path
    config: dict[str, Any]
    settings: dict[str, Any]
    entries: dict[str, Entry]
    pending: dict[str, dict[str, str]]


def plan(folder: Path) -> Run:
    """Returns what a run folder holds; raises ValueError where it is no run at all.

    What an earlier metrics.json says is kept where the files, the settings and the metrics are
    the same. A replicate that cannot be scored is an entry with the reason.
    """
    config = run_folder.read_config(folder)
    settings = replicate.settings(config.get("batch_size", DEFAULT_BATCH_SIZE))
    manifest = run_folder.read_manifest(folder)
    known = _known(folder, config, settings)
    entries: dict[str, Entry] = {}
    pending = {}
    first_of: dict[str, str] = {}  # by the content's SHA-256, the first file that has it
    for path in embedding_files(folder):
        entry: Entry = {"replicate": path.stem}
        try:
            entry["seed"] = embeddings.seed_of_name(path)
            digests = _digests(folder, path.stem, manifest)
            twin = first_of.setdefault(digests["sha256"], path.name)
            if twin != path.name:
                raise FormatError(f"{path}: has the bytes of {twin}, so is no replicate; remove it")
        except (FormatError, OSError) as error:
            entries[path.stem] = {**entry, "failed": str(error)}
            continue
        earlier = known.get(path.stem, {})
        if {k: v for k, v in earlier.items() if k in ("sha256", "sha256_model")} == digests:
            entries[path.stem] = earlier
        else:
            entries[path.stem] = {**entry, "failed": PENDING}
            pending[path.stem] = digests
    if not config.get("keep_embeddings", True):  # scored before, and gone since
        entries = known | entries
    _fail_duplicates(entries, pending)
    return Run(folder, config, settings, _missing(config, manifest, entries) | entries, pending)


def write(run: Run) -> None:
    """Writes the run's metrics.json, sorted by seed."""
    content = {
        **{field: run.config[field] for field in run_folder.REQUIRED},
        "source": run.config.get("source", ""),
        "settings": run.settings,
        "replicates": sorted(
            run.entries.values(), key=lambda entry: (entry.get("seed", -1), entry["replicate"])
        ),
    }
    metrics_file.write(run.folder / "metrics.json", content)


def embedding_files(folder: Path) -> list[Path]:
    """Returns the run's embeddings, one file per replicate."""
    return sorted((folder / "embeddings").glob("[!.]*.npz"))


def _known(folder: Path, config: dict[str, Any], settings: dict[str, Any]) -> dict[str, Entry]:
    """Returns the scored replicates of the run's metrics.json, if made as they would be now."""
    path = folder / "metrics.json"
    known = {}
    try:
        found = metrics_file.read(path)
        scored = {e["replicate"]: e for e in found["replicates"] if "failed" not in e}
        same_run = all(found[field] == config[field] for field in run_folder.REQUIRED)
        if same_run and found["settings"] == settings:
            known = {name: entry for name, entry in scored.items() if _is_full(entry)}
        lost = [
            n for n in scored.keys() - known if not (folder / "embeddings" / f"{n}.npz").exists()
        ]
    except metrics_file.MetricsError:
        lost = ["what it holds"] if path.exists() else []
    if lost and not config.get("keep_embeddings", True):
        raise FormatError(
            f"{path}: {', '.join(sorted(lost))} cannot be scored as this version would, since "
            "the embeddings are gone (keep_embeddings is false); move the file elsewhere to go on"
        )
    return known


def _is_full(entry: Entry) -> bool:
    """Returns whether an entry knows of every metric that there is today."""
    names = {row["metric"] for row in entry["values"] + entry["absent"]}
    return names == set(replicate.metric_names())


def _digests(folder: Path, name: str, manifest: dict[str, Any]) -> dict[str, str]:
    """Returns the SHA-256 of a replicate's files; raises FormatError if training left others."""
    digests = {}
    for key, room in (("sha256", "embeddings"), ("sha256_model", "model")):
        path = folder / room / f"{name}.npz"
        if path.is_file():
            digests[key] = files.sha256(path)
            written = manifest["sha256"].get(f"{room}/{name}.npz", digests[key])
            if written != digests[key]:
                raise FormatError(
                    f"{path}: is not the file that training wrote (manifest.json has another "
                    "SHA-256); train again, or remove manifest.json to score it as it is"
                )
    return digests


def _fail_duplicates(entries: dict[str, Entry], pending: dict[str, dict[str, str]]) -> None:
    """Marks the files of one seed (seed_1.npz, seed_01.npz) as failed, since none is the one."""
    names_of: dict[tuple[int, str], list[str]] = {}
    for name, entry in entries.items():
        if "failed" not in entry or name in pending:
            names_of.setdefault((entry["seed"], name.partition("__")[2]), []).append(name)
    for names in names_of.values():
        if len(names) > 1:
            for name in names:
                reason = f"{' and '.join(names)} are of one seed; remove all but one"
                entries[name] = {"replicate": name, "seed": entries[name]["seed"], "failed": reason}
                pending.pop(name, None)


def _missing(
    config: dict[str, Any], manifest: dict[str, Any], entries: dict[str, Entry]
) -> dict[str, Entry]:
    """Returns an entry with the reason for each replicate that should have embeddings."""
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
