"""One replicate's embeddings, scored: every metric by name, or the reason why it is absent."""

import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mvae_jax.evaluate import metrics
from mvae_jax.evaluate.embeddings import Embeddings
from mvae_jax.evaluate.record import Curve, Metric
from mvae_jax.evaluate.shared import Absent
from mvae_jax.store import metrics_file

FAILURES = (ValueError, ArithmeticError, RuntimeWarning)  # LAPACK's errors are ValueErrors


class Scores(NamedTuple):
    """The values, absent and curves of one entry in metrics.json, see `metrics_file`."""

    values: list[dict[str, Any]]
    absent: list[dict[str, str]]
    curves: dict[str, dict[str, Any]]


def score(found: Embeddings, wanted: Iterable[Metric]) -> Scores:
    """Compute these metrics, and the curves that go with them.

    A metric that fails, because of numbers that double precision or the memory cannot hold or by a
    mistake of its author's, is absent with the reason; it costs no other metric.
    """
    scores = Scores([], [], {})
    for metric in wanted:
        try:
            value = _compute(metric, found)
        except Exception as error:
            reason = _reason(metric, error)
            scores.absent.append({"metric": metric.name, "reason": reason})
            continue
        if math.isfinite(value):
            row = {"metric": metric.name, "value": value} | _origin(metric, found)
            scores.values.append(row)
        else:
            scores.absent.append({"metric": metric.name, "reason": f"the value is {value}"})
    computed = {row["metric"] for row in scores.values}
    for curve in metrics.CURVES:
        if curve.metric in computed:
            axes = {axis: _rounded(values) for axis, values in curve.compute(found).items()}
            scores.curves[curve.name] = _origin(curve, found) | axes
    return scores


def _compute(metric: Metric, found: Embeddings) -> float:
    assert metric.compute is not None, metric.name
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's of an overflow, or of NaN
        return float(metric.compute(found))


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
    return {
        "seed": found.seed,
        "split": getattr(metric, "split", "test"),
        "n": metrics.num_examples(metric, found),
        "settings": list(metric.settings),
    }


def _rounded(values: np.ndarray) -> list[float | int | None]:
    """Return the numbers as a curve of metrics.json holds them: six digits, null for nan."""
    return [
        None if math.isnan(v) else v if isinstance(v, int) else float(f"{v:.6g}")
        for v in values.tolist()
    ]
