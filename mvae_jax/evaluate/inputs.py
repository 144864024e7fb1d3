"""The files that a run folder holds for scoring: whose they are, and their SHA-256."""

import os
from pathlib import Path
from typing import Any

from mvae_jax.evaluate import embeddings
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.store import files, metrics_file, run_folder


def embedding_files(folder: Path) -> list[Path]:
    """Return the run's embeddings, one file per replicate."""
    return sorted((folder / "embeddings").glob("[!.]*.npz"))


def inspect(
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


def without_embeddings(
    config: dict[str, Any], manifest: dict[str, Any], known: set[str]
) -> dict[str, dict[str, Any]]:
    """Return an entry with the reason for each replicate that should have embeddings.

    known: the replicates that have an entry
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, trained in manifest["replicates"].items():
        reason = trained.get("failed", f"embeddings/{name}.npz is missing; train again")
        entries[name] = {"replicate": name, "seed": trained["seed"], "failed": reason}
    for name, seed in ((r.name, r.seed) for r in run_folder.planned_replicates(config)):
        if name not in entries.keys() | known:
            reason = "not trained yet, though config.json asks for it; run the training again"
            entries[name] = {"replicate": name, "seed": seed, "failed": reason}
    return entries
