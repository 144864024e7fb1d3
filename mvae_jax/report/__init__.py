"""Turn the metrics of run folders into tables, figures and pages; import no jax and no paper."""

from mvae_jax.report.writing import render

__all__ = ["render"]
