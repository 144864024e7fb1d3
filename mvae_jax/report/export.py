"""`--export`: of every scored run what a report's tables need, in a few kilobytes and no arrays.

The figures, most of which cannot be drawn without the arrays, go along as pictures.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mvae_jax.report import cells, figures, writing
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.study import Study
from mvae_jax.store import files, metrics_file, run_folder
from mvae_jax.store.files import PathLike

AS_IT_IS = ("config.json", "environment.json")
DIGESTS = ("embeddings/", "model/", "pictures/")  # of the files that were scored


def export(paths: PathLike | Iterable[PathLike], out: PathLike) -> tuple[list[Path], list[Problem]]:
    """Write the runs below the paths into the same tree below `out`, and their figures.

    What was exported there before stays, and stands in the figures of scores.

    Returns the folders written, and what a report on the paths would say is missing. A run of
    which nothing is scored, or of which a file is damaged, is left out. Raises ValueError where
    `out` lies among the runs, two runs would be written to one place, or one that was exported
    there has seeds that the new one lacks or has trained for less.
    """
    paths, out = files.as_paths(paths), Path(out)
    for path in paths:
        if (inner := out.resolve()) == (outer := path.resolve()) or outer in inner.parents:
            raise ValueError(f"--export: got '{out}', which is or lies in '{path}'; choose another")
    targets: dict[Path, Path] = {}
    for path in paths:
        for run in files.find_runs([path], holding=("metrics.json",)):
            # A path that is itself a run keeps its name.
            folder = out / (run.relative_to(path) if run != path else path.resolve().name)
            if folder in targets:
                raise ValueError(f"{targets[folder]} and {run}: would both be {folder}")
            targets[folder] = run
    problems: list[Problem] = []
    scored: dict[Path, dict[str, int]] = {}
    for folder, run in targets.items():
        with isolated(problems, str(run)):
            scored[folder] = _scored(run)
    for folder, epochs in scored.items():
        _check_nothing_lost(targets[folder], epochs, folder)
    written = []
    for folder in scored:
        with isolated(problems, str(targets[folder])):
            _export_run(targets[folder], folder)
            written.append(folder)
    report, of_report = writing.read(paths, None, Study())
    reasons = {problem.reason for problem in problems}
    problems += [problem for problem in of_report if problem.reason not in reasons]
    pictures = out / figures.FOLDER
    of_files = [name for name in figures.FIGURES if name not in figures.OF_SCORES]
    with tempfile.TemporaryDirectory() as new:  # what cannot be drawn stays as it is there
        drawn, undrawn = figures.draw(report, Path(new), of_files)
        for figure in [*figures.exported(report.scores, paths), *drawn]:
            files.copy(figure.path, pictures / figure.path.name)
    together, _ = writing.read(out, None, Study())
    _, of_scores = figures.draw(together, pictures, figures.OF_SCORES)
    return written, [*problems, *undrawn, *of_scores]


def _check_nothing_lost(run: Path, scored: dict[str, int], folder: Path) -> None:
    """Raise ValueError where the folder holds a seed that the run lacks, or trained longer.

    scored: the run's seeds that have scores, and their epochs
    """
    if not (folder / "metrics.json").exists():
        return
    try:
        there = _scored(folder)
    except ValueError as error:
        raise ValueError(f"--export: {folder} cannot be read, so it is kept: {error}") from error
    for name, epochs in there.items():
        if scored.get(name, -1) < epochs:
            raise ValueError(
                f"--export: {folder} has {name}, trained for {epochs} epochs, {run} has not; "
                "remove the former, or choose another folder"
            )


def _scored(run: Path) -> dict[str, int]:
    """Returns the replicates that have scores, and for how many epochs each was trained."""
    num_epochs = run_folder.read_config(run).get("num_epochs", 0)
    trained = run_folder.read_manifest(run)["replicates"]
    entries = metrics_file.read(run / "metrics.json")["replicates"]
    names = [e["replicate"] for e in entries if "failed" not in e and "stale" not in e]
    return {name: trained.get(name, {}).get("epoch", num_epochs) for name in names}


def _export_run(run: Path, folder: Path) -> None:
    """Write one run's configuration, environment and scores."""
    config = run_folder.read_config(run)
    metrics, manifest = cells.read_metrics(run, config), run_folder.read_manifest(run)
    path = folder / "metrics.json"
    there = metrics_file.read(path) if path.exists() else {"replicates": [], "settings": {}}
    exported = {entry["replicate"]: entry for entry in there["replicates"]}
    for entry in metrics["replicates"]:
        if "failed" not in entry:
            metrics_file.carry(exported.get(entry["replicate"], {}), entry)
    for field in ("settings", "described"):
        if merged := there.get(field, {}) | metrics.get(field, {}):
            metrics[field] = merged
    for name in AS_IT_IS:
        if (run / name).is_file():
            files.copy(run / name, folder / name)
    digests = {k: v for k, v in manifest["sha256"].items() if k.startswith(DIGESTS)}
    kept: dict[str, Any] = {"version": 1, "replicates": manifest["replicates"], "sha256": digests}
    files.write_text(folder / "manifest.json", json.dumps(kept, indent=2) + "\n")
    metrics_file.write(path, metrics)
