"""Decodes JSON from anybody: bounded in depth and in integers, every text writable as UTF-8."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

from mvae_jax.store import regular

MAX_BYTES = 128 << 20  # of a file
MAX_DEPTH = 32  # objects and lists within each other; ours have 6
MAX_INTEGER = 2**63  # what numpy and TensorBoard hold
ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")  # a surrogate, of a pair or alone
# Alone, U+DC80 to U+DCFF stand for bytes of a path that are not UTF-8; no other means anything.
LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def read(path: Path) -> Any:
    """Read a file that holds one JSON value; raise OSError, or ValueError as `loads` does."""
    return loads(regular.read_bytes(path, MAX_BYTES))


def loads(data: bytes) -> Any:
    """Decode one JSON value from UTF-8.

    A lone surrogate, which no text or path can hold, becomes `?`.

    Raises:
      json.JSONDecodeError or UnicodeDecodeError: the data are no JSON.
      ValueError: they are, but nested deeper than MAX_DEPTH, or with an integer beyond MAX_INTEGER.
    """
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_int=_integer)
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(found)
    if ESCAPED.search(data):
        found = json.loads(LONE.sub("?", json.dumps(found, ensure_ascii=False)))
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -MAX_INTEGER <= int(digits) < MAX_INTEGER:
        shown = digits if len(digits) <= 20 else f"{digits[:20]}... ({len(digits)} digits)"
        raise ValueError(f"an integer is {shown}; allowed: 64 bits")
    return int(digits)


def _check_depth(found: Any) -> None:
    """Raise ValueError where objects and lists are nested deeper than MAX_DEPTH."""
    level = [found]
    for _ in range(MAX_DEPTH + 1):
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return
        inside = (value.values() if isinstance(value, dict) else value for value in level)
        level = list(itertools.chain.from_iterable(inside))
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"objects and lists are nested too deeply; allowed: {MAX_DEPTH} levels")
