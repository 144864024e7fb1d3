"""Turn the metrics of run folders into tables, figures and pages; import no jax and no paper.

`render` loads lazily, because whoever needs a name or a number of this room needs no figures.
"""

from importlib import import_module
from typing import Any

__all__ = ["render"]


def __getattr__(name: str) -> Any:
    if name == "render":
        return import_module("mvae_jax.report.writing").render
    raise AttributeError(f"module 'mvae_jax.report' has no attribute '{name}'")
