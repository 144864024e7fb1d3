"""Reads JSON files and JSON lines from anybody: regular files, bounded in size, types checked."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mvae_jax.escape import shown
from mvae_jax.store import json_text, regular, seal

MAX_LOG_BYTES = 1 << 30
MAX_LINE_BYTES = 1 << 20


class RunFolderError(ValueError):
    """A file that is not what its format says; the message names file, field and way out."""


def read_lines(
    path: Path,
    types: Mapping[str, type] = MappingProxyType({}),
    last_bytes: int | None = None,
    torn: bool = True,
) -> Iterator[dict[str, Any]]:
    """Yield the objects of a .jsonl log.

    types:      of the fields that are there
    last_bytes: reads only so much of the end
    torn:       skips lines that are no objects, such as one that a kill tore; else they raise

    Raise RunFolderError where the log is no regular file, is too large, or a field is of another
    type.
    """
    try:
        file = regular.open_binary(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.lexists(path):
            raise RunFolderError(f"{path}: is a link to what does not exist") from None
        return
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if last_bytes is not None:
            file.seek(max(0, size - last_bytes))
        elif size > MAX_LOG_BYTES:
            raise RunFolderError(f"{path}: has {size:,} bytes; allowed: at most {MAX_LOG_BYTES:,}")
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise RunFolderError(f"{path}: a line has more than {MAX_LINE_BYTES:,} bytes")
            try:
                found = json_text.loads(line)
            except ValueError as error:
                if torn and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                    continue
                raise unreadable(path, error) from error
            if isinstance(found, dict):
                check_types(path, found, types)
                yield found
            elif not torn:
                raise RunFolderError(f"{path}: holds {shown(found)}; write an object there")


def read_json(path: Path, sealed: bool = False) -> dict[str, Any]:
    """Read a file that holds one JSON object; raise RunFolderError.

    sealed: refuse one without a SHA-256 of its own; one that has it must match it in any case
    """
    found = read_value(path, sealed)
    if not isinstance(found, dict):
        raise RunFolderError(f"{path}: holds no object but {type(found).__name__}")
    found.pop(seal.FIELD, None)
    return found


def read_value(path: Path, sealed: bool = False) -> Any:
    """Read a file that holds one JSON value; raise RunFolderError as `read_json` does."""
    try:
        data = regular.read_bytes(path, json_text.MAX_BYTES)
        if not seal.check(data) and sealed:
            raise ValueError("it has no SHA-256 of its own, so it was changed or is damaged")
        return json_text.loads(data)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: does not exist") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def check_types(path: Path, found: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raise RunFolderError at the first field that is there, not null and of another type."""
    for field, kind in types.items():
        value = found.get(field)
        if value is not None and not has_type(value, kind):
            raise wrong(path, field, shown(value), kind)


def typed(path: Path, found: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """Return an object after `check_types`, without those of its fields that are null."""
    check_types(path, found, types)
    return {k: value for k, value in found.items() if value is not None or k not in types}


def has_type(value: Any, kind: type) -> bool:
    """Return whether a JSON value is of a type; a whole number is a float too, true is neither."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def is_finite(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return has_type(value, float) and math.isfinite(value)


def wrong(path: Path, field: str, found: str, kind: type) -> RunFolderError:
    """Return the error of a field that is of another type, or missing."""
    return RunFolderError(f"{path}: '{field}' is {found}; write {kind.__name__} there")


def unreadable(path: Path, error: Exception) -> RunFolderError:
    """Return the error of a file that cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return RunFolderError(f"{path}: not readable ({reason})")
