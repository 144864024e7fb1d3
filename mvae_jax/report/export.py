"""`--export`: of every scored run what a report's tables need, in a few kilobytes and no arrays.

The figures, most of which cannot be drawn without the arrays, go along as pictures, and the
training curves as numbers.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mvae_jax import files, metrics_file, run_folder
from mvae_jax.report import cells, comparisons, figures, measures, runs
from mvae_jax.report.runs import Problem, Runs

NUM_PICTURES = 48  # of pictures/, whose error is measured
DIGITS = 6  # of a training curve, which is there to be drawn
AS_IT_IS = ("config.json", "environment.json")
DIGESTS = ("embeddings/", "model/")  # of the files that were scored


def export(paths: Sequence[Path], out: Path) -> tuple[list[Path], list[Problem]]:
    """Writes the runs below the paths into the same tree below `out`, and their figures.

    What was exported there before stays, and is drawn along where that needs no arrays.

    Returns the folders written, and what a report on the paths would say is missing. A run of
    which nothing is scored is left out. Raises ValueError where a file is damaged, `out` lies
    among the runs, two runs would be written to one place, or a run that was exported there has
    more epochs or seeds.
    """
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
    for folder, run in targets.items():
        _check_no_less(run, folder)
    for folder, run in targets.items():
        _export_run(run, folder)
    found = runs.read(paths)
    undrawn = _export_figures(found, [*paths, *_beside(targets, out)], out / figures.FOLDER)
    return list(targets), [*found.problems, *undrawn]


def _beside(targets: Iterable[Path], out: Path) -> list[Path]:
    """Returns the runs that lie beside the targets and were exported earlier."""
    parents = {folder.parent for folder in targets}
    there = files.find_runs([out], holding=("metrics.json",))
    return [run for run in there if run.parent in parents and run not in targets]


def _export_figures(found: Runs, paths: Sequence[Path], out: Path) -> list[Problem]:
    """Draws what the paths hold, and copies what was drawn where their arrays were.

    A figure of which neither is to be had stays as an earlier export left it.
    """
    together = runs.read(paths)
    with tempfile.TemporaryDirectory() as folder:
        drawn, undrawn = figures.draw(together, comparisons.compare_all(together), Path(folder))
        for figure in [*figures.exported(found, paths), *drawn]:
            files.copy(figure.path, out / figure.path.name)
    return undrawn


def _check_no_less(run: Path, folder: Path) -> None:
    """Raises ValueError where the folder holds a run of more epochs or seeds."""
    if not (folder / "metrics.json").is_file():
        return
    for what, (old, new) in {
        "epochs": [run_folder.read_config(path).get("num_epochs", 0) for path in (folder, run)],
        "seeds": [
            len(metrics_file.read(path / "metrics.json")["replicates"]) for path in (folder, run)
        ],
    }.items():
        if new < old:
            raise ValueError(
                f"--export: {folder} holds a run of {old} {what}, {run} has {new}; remove the "
                "former, or choose another folder"
            )


def _export_run(run: Path, folder: Path) -> None:
    """Writes one run's configuration, environment and scores.

    What the report measures from arrays and times stands in metrics.json beside what was scored.
    """
    config = run_folder.read_config(run)
    metrics = cells.read_metrics(run, config)
    of_run = measures.measure_run(run, config)
    training = measures.read_training(run)
    for entry in metrics["replicates"]:
        if "failed" in entry:
            continue
        of_seed = measures.measure_pictures(run / "pictures" / f"{entry['replicate']}.npz")
        measured = {"run": (1, of_run), "pictures": (NUM_PICTURES, of_seed)}
        entry["values"] += [
            {"metric": name, "value": value, "seed": entry["seed"], "split": split}
            | {"n": n, "settings": []}
            for split, (n, values) in measured.items()
            for name, value in values.items()
        ]
        if curve := training.get(entry["replicate"]):
            elbo = [float(f"{value:.{DIGITS}g}") for value in curve.values()]
            of_curve = {"seed": entry["seed"], "split": "train", "n": 1, "settings": []}
            of_curve |= {"epoch": list(curve), "elbo": elbo}
            entry["curves"] = entry.get("curves", {}) | {"training": of_curve}
    for name in AS_IT_IS:
        if (run / name).is_file():
            files.copy(run / name, folder / name)
    manifest = run_folder.read_manifest(run)
    digests = {k: v for k, v in manifest["sha256"].items() if k.startswith(DIGESTS)}
    kept: dict[str, Any] = {"version": 1, "replicates": manifest["replicates"], "sha256": digests}
    files.write_text(folder / "manifest.json", json.dumps(kept, indent=2) + "\n")
    metrics_file.write(folder / "metrics.json", metrics)
