"""config.json, read back into the configuration that it holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax.config import validate_sweep
from mvae_jax.escape import shown
from mvae_jax.rules import STORED, ConfigError
from mvae_jax.store import json_file


def read(path: Path, sealed: bool = False) -> FrozenConfigDict:
    """Read config.json; raise ConfigError where it is not one, or was changed.

    sealed: refuse one without a SHA-256 of its own, which this version writes and others do not
    """
    try:
        return from_fields(json_file.read_json(path, sealed))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a config.json of this version ({error}); choose another folder, or pass "
            "--overwrite, which moves this one aside"
        ) from error


def from_fields(fields: Mapping[str, Any]) -> FrozenConfigDict:
    """Return the configuration of what JSON holds; raise ValueError where it is none."""
    try:
        config = ConfigDict({key: _with_tuples(value) for key, value in fields.items()})
        for field in sorted(STORED.keys() & config.keys()):
            if not STORED[field].holds(config[field]):
                allowed = STORED[field].allowed
                raise ValueError(f"{field} is {shown(config[field])}; allowed: {allowed}")
        if "sweep" in config:
            validate_sweep(config)
        return FrozenConfigDict(config)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def _with_tuples(value: Any) -> Any:
    """Return what JSON has made of a field as it was."""
    if isinstance(value, dict):
        return {key: _with_tuples(inside) for key, inside in value.items()}
    return tuple(value) if isinstance(value, list) else value
