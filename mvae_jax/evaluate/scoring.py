"""Scores run folders: every pending replicate in a process, each written as it finishes."""

import math
import time
import warnings
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
from mvae_jax.evaluate import embeddings, metrics, plan, shared
from mvae_jax.evaluate.embeddings import Embeddings, FormatError
from mvae_jax.evaluate.own import check
from mvae_jax.evaluate.plan import Entry, Run
from mvae_jax.evaluate.record import Curve, Metric
from mvae_jax.evaluate.shared import Absent
from mvae_jax.store import files, metrics_file, names
from mvae_jax.store.files import PathLike

VERSIONS = {
    "mvae_jax": mvae_jax.__version__,
    "numpy": np.__version__,
    "scipy": scipy.__version__,
    "scikit-learn": sklearn.__version__,
}
FAILURES = (ValueError, ArithmeticError, RuntimeWarning)  # LAPACK's errors are ValueErrors


def score(
    paths: PathLike | Iterable[PathLike],
    jobs: int | None = None,
    own: Sequence[Metric] = (),
    each: bool = True,
) -> bool:
    """Score every run folder at or below the paths; return whether every replicate has values.

    Scores whose embeddings are gone are kept.

    paths: one path, or several
    jobs: processes, which share the cores' threads between them; by default one per core, and
      never more than there is to score. One alone runs in this process.
    own: metrics of the user's own, which are computed beside the package's
    each: says of every replicate that it is scored, and not of those alone that fail

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
            runs.append(plan.plan(folder, own))
        except (OSError, ValueError) as error:
            terminal.say(f"error: {error}")
    try:
        if runs:
            _score_pending(runs, jobs or joblib.cpu_count(), each)
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

    A metric that fails, because of numbers that double precision or the memory cannot hold or by a
    mistake of its author's, is absent with the reason; it costs no other metric.

    wanted: the package's metrics to compute, by default all of them
    own: more metrics, of the user's own
    """
    try:
        found = embeddings.read(folder, name, config)
    except (FormatError, MemoryError) as error:
        return {"replicate": name, "seed": names.seed_of(name), "failed": str(error)}
    values, absent, curves = [], [], {}
    known = metrics.METRICS if wanted is None else wanted
    for metric in [*(metrics.METRICS[m] for m in known), *own]:
        try:
            values.append({"metric": metric.name, "value": _compute(metric, found)})
            values[-1] |= _origin(metric, found)
        except Exception as error:
            absent.append({"metric": metric.name, "reason": _reason(metric, error)})
    computed = {row["metric"] for row in values}
    for curve in metrics.CURVES:
        if curve.metric in computed:
            axes = {axis: _rounded(values) for axis, values in curve.compute(found).items()}
            curves[curve.name] = _origin(curve, found) | axes
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


def _compute(metric: Metric, found: Embeddings) -> float:
    assert metric.compute is not None, metric.name
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's of an overflow, or of NaN
        value = float(metric.compute(found))
    if not math.isfinite(value):
        raise Absent(f"the value is {value}")
    return value


def _reason(metric: Metric, error: Exception) -> str:
    """Return why a metric is absent; raise an error that is a mistake in this package."""
    if isinstance(error, Absent):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{metrics_file.OUT_OF_MEMORY}: {error}"
    if isinstance(error, FAILURES):
        return f"could not be computed: {error}"
    if metric.name in metrics.METRICS:
        raise error
    return f"could not be computed: {type(error).__name__}: {error}"


def _origin(metric: Metric | Curve, found: Embeddings) -> dict[str, Any]:
    """Return what every number carries; that of C is over its entries, not over examples."""
    match split := getattr(metric, "split", "test"):
        case "model":
            n = found.config["latent_size"] * (found.config["latent_size"] - 1)
        case "run":
            n = 1
        case "pictures":
            n = len(shared.pictures(found)["input"])
        case _:
            n = len(found.mu["test"])
    return {"seed": found.seed, "split": split, "n": n, "settings": list(metric.settings)}


def _rounded(values: np.ndarray) -> list[float | int | None]:
    """Return the numbers as a curve of metrics.json holds them: six digits, null for nan."""
    return [
        None if math.isnan(v) else v if isinstance(v, int) else float(f"{v:.6g}")
        for v in values.tolist()
    ]


def _score_pending(runs: list[Run], jobs: int, each: bool) -> None:
    tasks = [(run, name) for run in runs for name in run.pending]
    if not tasks:
        terminal.say("nothing to score: no run has changed since it was scored")
        return
    if not each:
        terminal.say(f"scoring {len(tasks)} " + ("replicate" if len(tasks) == 1 else "replicates"))
    calls = (
        (position, run.folder, name, run.config, run.pending[name].metrics, run.own)
        for position, (run, name) in enumerate(tasks)
    )
    scored = workers.run(_timed, calls, min(jobs, len(tasks)))
    for number, (position, entry, seconds) in enumerate(scored, 1):
        run, name = tasks[position]
        plan.take(run, name, entry)
        outcome = f"failed: {entry['failed']}" if "failed" in entry else "scored"
        line = f"{run.folder} {name}: {outcome}, {seconds:.1f} s"
        if each or "failed" in entry:
            terminal.say(f"[{number}/{len(tasks)}] {line}")


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
