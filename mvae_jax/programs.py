"""Compiled functions, which are compiled again when the code that decides numbers has changed.

JAX keys a compiled program by its function and arguments, not by the functions that it calls: a
patched or reloaded posterior family would go on with the program of before. Here the key also has
everything that the modules of `mvae_jax.sources` hold.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax

from mvae_jax import sources


def jit(function: Callable[..., Any], modules: tuple[str, ...], **options: Any) -> Any:
    """Return `jax.jit(function, **options)`, the same one as long as the code is the same.

    modules: dotted names of those that hold the configuration's family and likelihood
    """
    return _jit(function, tuple(_held(modules)), **options)


class _Same:
    """A key that equals another only if both are of the same object, which it keeps alive."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


_modules = functools.cache(sources.modules)


def _held(extra: tuple[str, ...]) -> Iterator[tuple[str, _Same]]:
    """Yield what the modules hold, by name, and what is in the classes that they define."""
    for module in (sys.modules[name] for name in _modules(extra) if name in sys.modules):
        for name, value in vars(module).items():
            yield name, _Same(value)
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield from ((attribute, _Same(v)) for attribute, v in vars(value).items())


@functools.lru_cache(maxsize=64)
def _jit(function: Callable[..., Any], held: tuple[tuple[str, _Same], ...], **options: Any) -> Any:
    @functools.wraps(function)  # of the same function, jax.jit would use one cache
    def fresh(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return jax.jit(fresh, **options)
