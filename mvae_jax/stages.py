"""The stages of one run beside its training: what comes before it, the scores, the report.

The command line and `mvae_jax.fit` go through these.
"""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax import datasets
from mvae_jax.evaluate.record import Metric
from mvae_jax.runs import environment
from mvae_jax.runs.workdir import Workdir, timed
from mvae_jax.terminal import importing


def prepare(config: ConfigDict) -> FrozenConfigDict:
    """Return the configuration to run, with its source; let JAX divide the cores among its seeds.

    Raises:
      ConfigError, DataError: a field, or the data set, is impossible.
    """
    config = config_lib.validate(config)
    environment.prepare_jax(config.num_seeds)
    return config_lib.replace(config, source=datasets.find_source(config))


def score(path: Path, metrics: Sequence[Metric] = ()) -> bool:
    """Score a trained run folder; return whether every replicate has values."""
    with timed(Workdir(path), "evaluate"):
        with importing():
            from mvae_jax.evaluate import scoring
        return scoring.score([path], own=metrics, each=False)


def report(path: Path, every: bool = False) -> bool:
    """Print a run's table, write its report to <path>/report; return whether nothing is missing.

    every: print every metric, not the main ones alone
    """
    with timed(Workdir(path), "report"):
        with importing():
            from mvae_jax import report
        return report.render([path], path / "report", every=every)
