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

__all__ = ["decode", "encode", "load", "sample_prior"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("mvae_jax.inference"), name)
    raise AttributeError(f"module 'mvae_jax' has no attribute '{name}'")
