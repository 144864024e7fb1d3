"""`--export`: of every scored run what a report's tables need, in a few kilobytes and no arrays.

The figures, most of which cannot be drawn without the arrays, go along as pictures.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvae_jax import files, metrics_file, run_folder
from mvae_jax.report import cells, comparisons, figures, measures, runs

NUM_PICTURES = 48  # of pictures/, whose error is measured
AS_IT_IS = ("config.json", "environment.json")


def export(paths: Sequence[Path], out: Path, *, draw: bool = True) -> list[Path]:
    """Writes the runs below the paths into the same tree below `out`; returns their folders.

    A run of which nothing is scored is left out. Their figures are written where `draw` is set.
    Raises ValueError where a file is damaged.
    """
    exported = []
    for path in paths:
        for run in files.find_runs([path], holding=("metrics.json",)):
            folder = out / run.relative_to(path)
            _export_run(run, folder)
            exported.append(folder)
    if draw and exported:
        found = runs.read(paths)
        figures.draw(found, comparisons.compare_all(found), out / figures.FOLDER)
    return exported


def _export_run(run: Path, folder: Path) -> None:
    """Writes one run's configuration, environment and scores.

    What the report measures from arrays and times stands in metrics.json beside what was scored.
    """
    config = run_folder.read_config(run)
    metrics = cells.read_metrics(run, config)
    of_run = measures.measure_run(run, config)
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
    for name in AS_IT_IS:
        if (run / name).is_file():
            files.write_text(folder / name, (run / name).read_text())
    replicates = run_folder.read_manifest(run)["replicates"]
    manifest: dict[str, Any] = {"version": 1, "replicates": replicates, "sha256": {}}
    files.write_text(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    metrics_file.write(folder / "metrics.json", metrics)
