"""Reads JSON and JSON lines from anybody: regular files, bounded in size, depth and integers.

Every text in them can be written as UTF-8. A file of this package carries the SHA-256 of its own
text, so that a flipped bit is noticed: the last field of such a *sealed* object is `file_sha256`,
the digest of the file's text with that field's value left out.
"""

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from mvae_jax.escape import shown
from mvae_jax.store import files

MAX_BYTES = 128 << 20  # of a file
MAX_LOG_BYTES = 1 << 30
MAX_DEPTH = 32  # objects and lists within each other; ours have 6
MAX_INTEGER = 2**63  # what numpy and TensorBoard hold
ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")  # a surrogate, of a pair or alone
# Alone, U+DC80 to U+DCFF stand for bytes of a path that are not UTF-8; no other means anything.
LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
FIELD = "file_sha256"
OPENED = f'"{FIELD}": "'


class RunFolderError(ValueError):
    """A file that is not what its format says; the message names file, field and way out."""


class SealError(ValueError):
    """A text that is not the one that was sealed."""


# --- text --------------------------------------------------------------------------------------


def loads(data: bytes) -> Any:
    """Decode one JSON value from UTF-8.

    A lone surrogate, which no text or path can hold, becomes `?`.

    Raises:
      json.JSONDecodeError or UnicodeDecodeError: the data are no JSON.
      ValueError: they are, but nested deeper than MAX_DEPTH, or with an integer beyond MAX_INTEGER.
    """
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_int=_integer)
        _check_depth(found)
    except RecursionError as error:
        said = f"objects and lists are nested too deeply; allowed: {MAX_DEPTH} levels"
        raise ValueError(said) from error
    if ESCAPED.search(data):
        found = json.loads(LONE.sub("?", json.dumps(found, ensure_ascii=False)))
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -MAX_INTEGER <= int(digits) < MAX_INTEGER:
        said = digits if len(digits) <= 20 else f"{digits[:20]}... ({len(digits)} digits)"
        raise ValueError(f"an integer is {said}; allowed: 64 bits")
    return int(digits)


def _check_depth(found: Any) -> None:
    level = [found]
    for _ in range(MAX_DEPTH + 1):
        level = [value for value in level if isinstance(value, dict | list)]
        inside = (value.values() if isinstance(value, dict) else value for value in level)
        level = list(itertools.chain.from_iterable(inside))
        if not level:
            return
    raise RecursionError


def seal(text: str) -> str:
    """Return the text of a JSON object with its digest as the last field."""
    body = text.rstrip().removesuffix("}").rstrip()
    opened = f"{body}{'' if body == '{' else ','}\n{OPENED}"
    return f'{opened}{hashlib.sha256(opened.encode()).hexdigest()}"\n}}\n'


def dumps(value: dict[str, Any]) -> str:
    """Return a JSON object's sealed text."""
    return seal(json.dumps(value, indent=1))


def _is_sealed(data: bytes) -> bool:
    """Return whether a file's bytes are sealed; raise SealError where they were changed since."""
    body, opened, end = data.rpartition(OPENED.encode())
    if not opened:
        return False
    if end != f'{hashlib.sha256(body + opened).hexdigest()}"\n}}\n'.encode():
        raise SealError("its text does not match its SHA-256, so it was changed or is damaged")
    return True


# --- files -------------------------------------------------------------------------------------


def write(path: Path, value: dict[str, Any]) -> None:
    """Create or replace a file that holds one JSON object, sealed."""
    files.write_text(path, dumps(value))


def read_json(path: Path, sealed: bool = False) -> dict[str, Any]:
    """Read a file that holds one JSON object; raise RunFolderError.

    sealed: refuse one without a SHA-256 of its own; one that has it must match it in any case
    """
    found = read_value(path, sealed)
    if not isinstance(found, dict):
        raise RunFolderError(f"{path}: holds no object but {type(found).__name__}")
    found.pop(FIELD, None)
    return found


def read_value(path: Path, sealed: bool = False) -> Any:
    """Read a file that holds one JSON value; raise RunFolderError as `read_json` does."""
    try:
        data = files.read_bytes(path, MAX_BYTES)
        if not _is_sealed(data) and sealed:
            raise ValueError("it has no SHA-256 of its own, so it was changed or is damaged")
        return loads(data)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: does not exist") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def read_lines(
    path: Path,
    types: dict[str, Any] | None = None,
    last_bytes: int | None = None,
    torn: bool = True,
) -> Iterator[dict[str, Any]]:
    """Yield the objects of a .jsonl log; nothing where there is none.

    types:      of the fields that are there
    last_bytes: reads only so much of the end
    torn:       skips lines that are no objects, such as one that a kill tore; else they raise

    Raise RunFolderError where the log is no regular file, is too large, or a field is of another
    type.
    """
    if not os.path.lexists(path):
        return
    try:
        file = files.open_binary(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if last_bytes is not None:
            file.seek(max(0, size - last_bytes))
        elif size > MAX_LOG_BYTES:
            raise RunFolderError(f"{path}: has {size:,} bytes; allowed: at most {MAX_LOG_BYTES:,}")
        for number, line in enumerate(file, 1):
            where = path if torn else Path(f"{path}, line {number}")
            try:
                found = loads(line)
            except ValueError as error:
                if torn and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                    continue
                raise unreadable(where, error) from error
            if isinstance(found, dict):
                check_types(where, found, types or {})
                yield found
            elif not torn:
                raise RunFolderError(f"{where}: holds {shown(found)}; write an object there")


# --- types -------------------------------------------------------------------------------------


def check_types(path: Path, found: Any, schema: dict[str, Any], optional: bool = True) -> None:
    """Raise RunFolderError at the first field that is not as the schema has it, see `find_fault`.

    optional: fields may be null or missing
    """
    if fault := find_fault(found, schema, optional):
        raise RunFolderError(f"{path}: {fault}")


def typed(path: Path, found: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object after `check_types`, without those of its fields that are null."""
    check_types(path, found, schema)
    return {k: value for k, value in found.items() if value is not None or k not in schema}


def find_fault(found: Any, schema: Any, optional: bool = False) -> str:
    """Return which field is not as the schema has it; empty if all are.

    schema: a type; [what each element is]; {field: what it is}; or {...: what each field is}
    """
    fault = _find_fault(found, schema, optional)
    return "" if fault is None else "'{}' is {}; write {} there".format(*fault).replace("'.", "'")


def _find_fault(found: Any, schema: Any, optional: bool) -> tuple[str, str, str] | None:
    """Return the field's path, what is there and what must be."""
    if isinstance(schema, dict) and isinstance(found, dict):
        fields = dict.fromkeys(found, schema[...]) if ... in schema else schema
        for field, inside in fields.items():
            value = found.get(field)
            if (optional and value is None) or (inside is not float and type(value) is inside):
                continue  # as most are, which saves a call
            if fault := _find_fault(value, inside, optional):
                said = fault[1] if field in found else "missing"
                return f".{field}{fault[0]}", said, fault[2]
        return None
    if isinstance(schema, list) and isinstance(found, list):
        for position, value in enumerate(found):
            if fault := _find_fault(value, schema[0], optional):
                return f"[{position}]{fault[0]}", *fault[1:]
        return None
    kind = schema if isinstance(schema, type | UnionType) else type(schema)
    if has_type(found, kind) and (kind is not float or math.isfinite(found)):
        return None
    return "", shown(found), getattr(kind, "__name__", str(kind))


def has_type(value: Any, kind: type | UnionType) -> bool:
    """Return whether a JSON value is of a type; a whole number is a float too, true is neither."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def is_finite(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return has_type(value, float) and math.isfinite(value)


def unreadable(path: Path, error: Exception) -> RunFolderError:
    """Return the error of a file that cannot be read."""
    return RunFolderError(f"{path}: not readable ({getattr(error, 'strerror', None) or error})")
