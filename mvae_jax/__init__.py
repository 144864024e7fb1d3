"""mvae_jax: the Multivariate VAE in JAX.

The Python functions load lazily, so that `import mvae_jax`, `mvae_jax.evaluate` and
`mvae_jax.report` import no jax.
"""

from mvae_jax import terminal

if terminal.is_starting():  # before the imports of the command, which take seconds
    terminal.prepare()

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_OF_A_MODEL = ("decode", "encode", "load", "load_published", "sample_prior")
_ROOMS = {
    **dict.fromkeys(_OF_A_MODEL, "mvae_jax.inference"),
    "fit": "mvae_jax.fitting",
    **dict.fromkeys(("Run", "load_run"), "mvae_jax.trained"),
    "compare": "mvae_jax.report.compare",
    "scores": "mvae_jax.report.scores",
}
__all__ = [
    *("Run", "compare", "decode", "encode", "fit", "load", "load_published", "load_run"),
    *("sample_prior", "scores"),
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'mvae_jax' has no attribute '{name}'")
