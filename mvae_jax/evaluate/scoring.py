"""Scores run folders: every pending replicate in a process, each written as it finishes."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy
import sklearn
from joblib.externals.loky.process_executor import TerminatedWorkerError

import mvae_jax
from mvae_jax import terminal, workers
from mvae_jax.evaluate import embeddings, inputs, metrics, plan, progress, replicate
from mvae_jax.evaluate.earlier import Entry
from mvae_jax.evaluate.embeddings import FormatError
from mvae_jax.evaluate.own import check
from mvae_jax.evaluate.plan import Run
from mvae_jax.evaluate.record import Metric
from mvae_jax.store import files
from mvae_jax.store.files import PathLike

VERSIONS = {
    "mvae_jax": mvae_jax.__version__,
    "numpy": np.__version__,
    "scipy": scipy.__version__,
    "scikit-learn": sklearn.__version__,
}


def score(
    paths: PathLike | Iterable[PathLike], jobs: int | None = None, own: Sequence[Metric] = ()
) -> bool:
    """Score every run folder at or below the paths; return whether every replicate has values.

    Scores whose embeddings are gone are kept.

    paths: one path, or several
    jobs: processes, which share the cores' threads between them; by default one per core, and
      never more than there is to score. One alone runs in this process.
    own: metrics of the user's own, which are computed beside the package's

    Raises:
      ValueError: a path is empty, or the root of the file system, or a metric cannot be shown.
    """
    for metric in own:
        check(metric)
    paths = files.as_paths(paths)
    archives, folders = files.find_runs(paths, holding={files.ARCHIVE}), files.find_runs(paths)
    for archive in archives:
        terminal.say(f"{archive}: an archive of scores, which are kept as they are")
    empty = files.without_any(paths, [*archives, *folders])
    for path in empty:
        terminal.say(f"error: path: no folder with embeddings/ at or below {path}")
    runs = []
    for folder in folders:
        try:
            run = plan.plan(folder, own)
            plan.write(run)
        except (OSError, ValueError) as error:
            terminal.say(f"error: {error}")
            continue
        runs.append(run)
    try:
        if runs:
            _score_pending(runs, jobs or joblib.cpu_count())
    except TerminatedWorkerError:
        terminal.say(
            "error: a scoring process was killed, for its memory most likely; what was finished "
            "is kept: run the command again, with --jobs=1"
        )
        return False
    complete = [_finish(run) for run in runs]
    return not empty and len(runs) == len(folders) and all(complete)


def score_replicate(
    folder: Path,
    name: str,
    config: dict[str, Any],
    wanted: list[str] | None = None,
    own: Sequence[Metric] = (),
) -> Entry:
    """Return one replicate's entry of metrics.json: its values, or why there are none.

    wanted: the package's metrics to compute, by default all of them
    own: more metrics, of the user's own
    """
    path = folder / "embeddings" / f"{name}.npz"
    try:
        found = embeddings.read(folder, name, config)
    except (FormatError, MemoryError) as error:
        return {"replicate": name, "seed": embeddings.seed_of_name(path), "failed": str(error)}
    known = metrics.METRICS if wanted is None else wanted
    values, absent, curves = replicate.score(found, [*(metrics.METRICS[m] for m in known), *own])
    return {
        "replicate": name,
        "seed": found.seed,
        "versions": VERSIONS,
        "num_test": len(found.mu["test"]),
        "sha256_index_test": found.examples,
        "values": values,
        "absent": absent,
        "curves": curves,
    }


def _score_pending(runs: list[Run], jobs: int) -> None:
    tasks = [(run, name) for run in runs for name in run.pending]
    if not tasks:
        terminal.say(f"nothing to score: {len(runs)} runs are as they were")
        return
    calls = (
        (position, run.folder, name, run.config, run.pending[name].metrics, run.own)
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
        for path in inputs.embedding_files(run.folder):
            path.unlink()
    return bool(run.entries) and not failed
