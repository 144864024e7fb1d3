"""A user's own metrics, named by their dotted paths."""

from collections.abc import Iterable
from typing import Any

from mvae_jax import records
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.evaluate.record import FOLDERS, Metric
from mvae_jax.rules import ConfigError
from mvae_jax.store import metrics_file


def load(paths: Iterable[str]) -> list[Metric]:
    """Return the metrics at these paths; each text may hold several, comma separated.

    Raise ValueError, which names the path and the way out, where there is no usable metric.
    """
    named = [path.strip() for text in paths for path in text.split(",") if path.strip()]
    found: dict[str, Metric] = {}
    for path in dict.fromkeys(named):
        try:
            metric = records.load("--metric", path)
            check(metric)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        except ValueError as error:
            raise ValueError(f"--metric: got '{path}', but {error}") from error
        if metric.name in found:
            raise ValueError(f"--metric: got '{path}', a second metric named '{metric.name}'")
        found[metric.name] = metric
    return list(found.values())


def check(metric: Any) -> None:
    """Raise ValueError where a metric of a user's own cannot be computed or shown."""
    if not isinstance(metric, Metric):
        raise ValueError(f"it is of type {type(metric).__name__}, not mvae_jax.evaluate.Metric")
    if not isinstance(metric.name, str) or not metric.name.isidentifier():
        raise ValueError(f"its name is {metric.name!r}; write an identifier, such as 'my_metric'")
    if metric.name in METRICS:
        raise ValueError(f"its name is '{metric.name}', which this package has; choose another")
    metrics_file.check_shown({field: getattr(metric, field) for field in metrics_file.SHOWN})
    if not callable(metric.compute):
        raise ValueError(f"its compute is {metric.compute!r}; write a function of Embeddings")
    if metric.split not in FOLDERS:
        raise ValueError(f"its split is {metric.split!r}; allowed: {', '.join(FOLDERS)}")
    if tuple(metric.settings):
        raise ValueError("it names settings, which only this package's metrics have; leave it out")
