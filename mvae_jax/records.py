"""What a configuration names by dotted path, of this package or of a user's module.

A posterior family and a likelihood are records, NamedTuples of functions; an encoder and a decoder
are classes, an optimiser and a schedule functions. The module of a user's, `my_module`, may lie in
the current folder. Nothing here imports jax, but the modules themselves do.
"""

import os
import re
import sys
import traceback
from importlib import import_module
from typing import Any

from mvae_jax.escape import shown
from mvae_jax.rules import LIKELIHOODS, MODELS, SCHEDULES, ConfigError

LIBRARIES = ("jax", "flax", "optax")  # whose versions are recorded, in place of their sources

LONGEST = 300  # characters of the message of an exception


def posterior_path(config: Any) -> str:
    """Return the dotted path of the configuration's family; raise ValueError where it has none."""
    if config.posterior:
        return str(config.posterior)
    if config.model not in MODELS:
        raise ValueError(f"config.model: got {config.model!r}; allowed: {', '.join(MODELS)}")
    return f"{module_of(config.model)}.{config.model}"


def module_of(model: str) -> str:
    """Return the module of one of MODELS: `householder` holds householder_1, say."""
    return f"mvae_jax.posteriors.{re.sub(r'_[0-9]+$', '', model)}"


def likelihood_path(config: Any) -> str:
    """Return the dotted path of the configuration's likelihood."""
    is_ours = config.likelihood in LIKELIHOODS
    return f"mvae_jax.likelihoods.{config.likelihood}" if is_ours else str(config.likelihood)


def schedule_path(config: Any) -> str:
    """Return the dotted path of the configuration's schedule; empty where it has none."""
    is_ours = config.schedule in SCHEDULES
    return f"mvae_jax.optimizers.{config.schedule}" if is_ours else str(config.schedule)


def modules(config: Any) -> tuple[str, ...]:
    """Return the modules that hold what the configuration names, but for those of LIBRARIES."""
    paths = (
        *(posterior_path(config), likelihood_path(config)),
        *(config.encoder, config.decoder, config.optimizer, schedule_path(config)),
    )
    found = dict.fromkeys(path.rpartition(".")[0] for path in paths if path)
    return tuple(name for name in found if name.partition(".")[0] not in LIBRARIES)


def load(name: str, path: str, kind: type | None = None) -> Any:
    """Return what stands under a dotted path.

    name: of the field or flag that gave the path, for the message
    kind: the class that it must be of

    Raises:
      ConfigError: it cannot be imported, or is of another class.
    """
    module, _, attribute = path.rpartition(".")
    got = f"{name}: got {shown(path)}"
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # a user's module may raise any
        where = traceback.extract_tb(error.__traceback__)[-1]
        ours = where.filename in (__file__, import_module.__code__.co_filename)
        line = "" if ours or "<frozen" in where.filename else f", {where.filename}:{where.lineno}"
        raise ConfigError(
            f"{got}, which does not import ({said(error)}{line}); write my_module.my_name, with "
            "my_module importable from the current folder"
        ) from error
    if kind is not None and not isinstance(found, kind):
        allowed = f"a record of the class {kind.__module__}.{kind.__name__}"
        raise ConfigError(f"{got}, of the class {type(found).__name__}; allowed: {allowed}")
    return found


def said(error: Exception) -> str:
    """Return in one line, not too long, what a user's own code has raised."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
