"""Score saved embeddings with numpy and scikit-learn; import no jax and no other stage.

Reads run folders (`config.json`, `embeddings/<replicate>.npz`) and writes `metrics.json` into each,
so that embeddings of any model from any tool can be scored. `mvae_jax.evaluate(...)`, the package
called, scores arrays and writes such a folder: see `mvae_jax.foreign.evaluate`.

The names load lazily, because the report imports the metrics' records and none of what computes
them.
"""

import importlib
from typing import Any

MODULES = {
    "score": "scoring",
    "Metric": "record",
    "Embeddings": "embeddings",
    "Absent": "shared",
}
__all__ = ["Absent", "Embeddings", "Metric", "score"]


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(f"mvae_jax.evaluate.{MODULES[name]}"), name)
    raise AttributeError(f"module 'mvae_jax.evaluate' has no attribute '{name}'")
