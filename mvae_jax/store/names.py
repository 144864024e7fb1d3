"""Checks names that come out of a file before they become a part of a path."""

import re
from pathlib import PurePosixPath

# config.Replicate.name: seed_777, or seed_777__learning_rate=0.001__beta=4.0.
REPLICATE = re.compile(r"seed_([0-9]{1,18})(?:__\w+=[A-Za-z0-9.+-]+)*", re.ASCII)
MAX_LENGTH = 200  # file systems allow 255 bytes, with the file's ending


def seed_of(replicate: str) -> int:
    """Return the seed in a replicate's name; raise ValueError where it is no such name."""
    match = REPLICATE.fullmatch(replicate[: MAX_LENGTH + 1])
    if not match or len(replicate) > MAX_LENGTH:
        allowed = "seed_<n> or seed_<n>__<field>=<value>"
        raise ValueError(f"replicate: got {replicate[:MAX_LENGTH]!r}; allowed: {allowed}")
    return int(match[1])


def is_plain(path: str) -> bool:
    """Return whether a path can be shown on one line, but for bytes that are not UTF-8."""
    return all(sign.isprintable() or "\udc80" <= sign <= "\udcff" for sign in path)


def check_below(path: str) -> str:
    """Return a relative path that stays below its folder; raise ValueError for any other."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or not is_plain(path):
        raise ValueError(f"path: got {path[:MAX_LENGTH]!r}; allowed: one below the folder")
    return path
