"""Paths: as people type them, and as libraries take them."""

import argparse
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, of the common file systems and of Linux
DATA_FILES = (".npz", ".parquet", ".arrow")
SHOWN = 100  # characters of a path in a message


class PathError(argparse.ArgumentTypeError):
    """A text that can be no path; the message says why. As argparse prints it for a `type`."""


def is_data(dataset: str) -> bool:
    """Return whether a data set is a file or folder of the user's, and not one that has a name.

    A folder is written with a slash, as ./flowers, flowers/ or /data/flowers.
    """
    begins = dataset.startswith(("/", "./", "../", "~"))
    return begins or dataset.endswith(("/", *DATA_FILES))


def from_user(text: str) -> Path:
    """Return the path that a text means, `~` and `~name` expanded.

    A shell expands `~` in `--out ~/x`, but not in `--out=~/x`. Write `./~` for a file of that name.

    Raises:
      PathError: the text is empty, too long for any file system, or names an unknown home folder.
    """
    shown = repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}... ({len(text):,} characters)"
    if not text:
        raise PathError("got ''; allowed: a path")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise PathError(f"got {shown}; allowed: characters of {error.encoding}") from error
    if b"\0" in encoded:
        raise PathError(f"got {shown}; allowed: a path without NUL characters")
    if len(encoded) > LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_NAME:
        allowed = f"{LONGEST_NAME} bytes for each name, {LONGEST_PATH} for the whole path"
        raise PathError(f"got {shown}; allowed: at most {allowed}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise PathError(f"got {shown}, of an unknown home folder; write the whole path") from error


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[Path]:
    """Yield an absolute path of a folder that every library takes as it is written.

    Orbax and TensorStore read `[1]` as a pattern, `\\` as a separator and `gs:/` as a scheme; they
    and JAX cannot encode a name that is not UTF-8. Such a folder gets a symbolic link with a plain
    name.
    """
    folder = folder.absolute()
    if re.fullmatch(r"[\w/. +=,@-]*", str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mvae_jax-") as links:
        link = Path(links) / "folder"
        link.symlink_to(folder)
        yield link
