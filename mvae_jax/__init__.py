"""mvae_jax: the Multivariate VAE in JAX.

The Python functions load lazily, so that `import mvae_jax`, `mvae_jax.evaluate` and
`mvae_jax.report` import no jax.
"""

from mvae_jax import terminal

if terminal.is_starting():  # before the imports of the command, which take seconds
    terminal.prepare()

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # to which `evaluate` is the function, not the package of that name
    from mvae_jax.estimator import MVAE
    from mvae_jax.fitting import fit
    from mvae_jax.foreign import evaluate
    from mvae_jax.inference import decode, encode, load, load_published, sample_prior
    from mvae_jax.report.compare import compare
    from mvae_jax.report.scores import scores
    from mvae_jax.trained import Run, load_run

__version__ = "0.1.0"

_OF_A_MODEL = ("decode", "encode", "load", "load_published", "sample_prior")
_ROOMS = {
    **dict.fromkeys(_OF_A_MODEL, "mvae_jax.inference"),
    "MVAE": "mvae_jax.estimator",
    "fit": "mvae_jax.fitting",
    **dict.fromkeys(("Run", "load_run"), "mvae_jax.trained"),
    "compare": "mvae_jax.report.compare",
    "scores": "mvae_jax.report.scores",
}
__all__ = [
    "MVAE",
    "Run",
    "compare",
    "decode",
    "encode",
    "evaluate",
    "fit",
    "load",
    "load_published",
    "load_run",
    "sample_prior",
    "scores",
]


class _Evaluate(ModuleType):
    """The package `mvae_jax.evaluate`, which is a function too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Score embeddings from anywhere: `help(mvae_jax.foreign.evaluate)` has the arguments."""
        return import_module("mvae_jax.foreign").evaluate(*args, **kwargs)


import_module("mvae_jax.evaluate").__class__ = _Evaluate


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'mvae_jax' has no attribute '{name}'")
