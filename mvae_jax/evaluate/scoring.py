"""Scores run folders: every pending replicate in a process, each written as it finishes."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy
import sklearn
from joblib.externals.loky.process_executor import TerminatedWorkerError

import mvae_jax
from mvae_jax import terminal, workers
from mvae_jax.evaluate import embeddings, plan, progress, replicate
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.evaluate.plan import Entry, Run
from mvae_jax.store import files
from mvae_jax.store.files import PathLike

VERSIONS = {
    "mvae_jax": mvae_jax.__version__,
    "numpy": np.__version__,
    "scipy": scipy.__version__,
    "scikit-learn": sklearn.__version__,
}


def score(paths: PathLike | Iterable[PathLike], jobs: int | None = None) -> bool:
    """Score every run folder at or below the paths; return whether every replicate has values.

    Scores whose embeddings are gone are kept.

    paths: one path, or several
    jobs: processes, which share the cores' threads between them; by default one per core, and
      never more than there is to score. One alone runs in this process.

    Raises:
      ValueError: a path is empty, or the root of the file system.
    """
    paths = files.as_paths(paths)
    empty = [path for path in paths if not files.find_runs([path])]
    for path in empty:
        terminal.say(f"error: path: no folder with embeddings/ at or below {path}")
    folders = files.find_runs(paths)
    runs = []
    for folder in folders:
        try:
            run = plan.plan(folder)
            plan.write(run)
        except (OSError, ValueError) as error:
            terminal.say(f"error: {error}")
            continue
        runs.append(run)
    try:
        _score_pending(runs, jobs or joblib.cpu_count())
    except TerminatedWorkerError:
        terminal.say(
            "error: a scoring process was killed, for its memory most likely; what was finished "
            "is kept: run the command again, with --jobs=1"
        )
        return False
    complete = [_finish(run) for run in runs]
    return not empty and len(runs) == len(folders) and all(complete)


def score_replicate(folder: Path, name: str, latent_size: int, batch_size: int) -> Entry:
    """Return one replicate's entry of metrics.json: its values, or why there are none."""
    path = folder / "embeddings" / f"{name}.npz"
    try:
        found = embeddings.read(path, folder / "model" / path.name, latent_size)
    except (FormatError, MemoryError) as error:
        return {"replicate": name, "seed": embeddings.seed_of_name(path), "failed": str(error)}
    values, absent, curves = replicate.score(found, batch_size)

    def origin(metric: str) -> dict[str, Any]:
        """Returns what every number carries; that of C is over its entries, not over examples."""
        split, n = ("test", len(found.mu["test"]))
        if metric == "redundancy_index":
            split, n = ("model", latent_size * (latent_size - 1))
        settings = replicate.settings_of(metric)
        return {"seed": found.seed, "split": split, "n": n, "settings": settings}

    return {
        "replicate": name,
        "seed": found.seed,
        "versions": VERSIONS,
        "num_test": len(found.mu["test"]),
        "sha256_index_test": found.examples,
        "values": [{"metric": m, "value": value, **origin(m)} for m, value in values.items()],
        "absent": [{"metric": m, "reason": reason} for m, reason in absent.items()],
        "curves": {name: {**origin(name), **axes} for name, axes in curves.items()},
    }


def _score_pending(runs: list[Run], jobs: int) -> None:
    tasks = [(run, name) for run in runs for name in run.pending]
    if not tasks:
        terminal.say(f"nothing to score: {len(runs)} runs are as they were")
        return
    calls = (
        (
            position,
            run.folder,
            name,
            run.config["latent_size"],
            run.settings["elbo_release"]["batch_size"],
        )
        for position, (run, name) in enumerate(tasks)
    )
    with progress.replicates(len(tasks)) as report:
        for position, entry, seconds in workers.run(_timed, calls, min(jobs, len(tasks))):
            run, name = tasks[position]
            plan.take(run, name, entry)
            plan.write(run)
            outcome = f"failed: {entry['failed']}" if "failed" in entry else "scored"
            report(f"{run.folder} {name}: {outcome}, {seconds:.1f} s")


def _timed(position: int, *task: Any) -> tuple[int, Entry, float]:
    start = time.perf_counter()
    return position, score_replicate(*task), time.perf_counter() - start


def _finish(run: Run) -> bool:
    """Return whether the run is complete, which ends embeddings that are not to be kept."""
    if run.kept:
        terminal.say(
            f"{run.folder}: {len(run.kept)} scored replicates are kept as they were, because their "
            "embeddings are gone"
        )
    failed = {n: e for n, e in run.entries.items() if "failed" in e or "stale" in e}
    for name, entry in failed.items():
        if name not in run.pending:  # those were reported as they finished
            reason = entry.get("failed") or f"its scores are stale: {entry['stale']}"
            terminal.say(f"{run.folder} {name}: {reason}")
    if not failed and not run.config.get("keep_embeddings", True):
        for path in plan.embedding_files(run.folder):
            path.unlink()
    return bool(run.entries) and not failed
