"""Reads .npz files from anybody: nothing is unpickled, and no claim is believed.

A zip directory and an .npy header each say how much is there. Both are held against the bytes of
the file before any array is read, so that a small file cannot ask for terabytes.
"""

import hashlib
import math
import os
import zipfile
from collections.abc import Container
from pathlib import Path
from typing import NoReturn

import numpy as np

from mvae_jax.store import regular

MAX_BYTES = 4 << 30  # of the arrays that are read from one file of a run folder
# Deflate cannot compress further, so a member that claims to is a lie.
MAX_COMPRESSION = 1032
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArrayError(ValueError):
    """An array that is not what it claims to be; the message names it, and what is allowed."""


def read(
    path: Path,
    names: Container[str] | None = None,
    most: int | None = MAX_BYTES,
    sha256: str | None = None,
) -> dict[str, np.ndarray]:
    """Read a file's arrays, or those of them that are named, of at most so many bytes together.

    As in np.load, a member's name may end in .npy or not.

    sha256: of the file's bytes, where it is known; those of another file are refused

    Raise ValueError, which names the file, where it is damaged or holds more than plain arrays.
    """
    try:
        with regular.open_binary(path) as file, zipfile.ZipFile(file) as archive:
            size = os.fstat(file.fileno()).st_size
            if sha256 is not None:
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise ValueError("damaged: its SHA-256 is not that of its record")
            members = _members(archive)
            wanted = {k: info for k, info in members.items() if names is None or k in names}
            for name, info in wanted.items():
                _check_directory(name, info, size)
            claimed = sum(info.file_size for info in wanted.values())
            if most is not None and claimed > most:
                raise ValueError(f"{claimed:,} bytes of arrays; allowed: at most {most:,}")
            return {name: _read_array(archive, name, info) for name, info in wanted.items()}
    except ArrayError as error:
        raise ValueError(f"{path}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # foreign bytes make zipfile, zlib and numpy raise a dozen kinds
        raise _unreadable(path, error) from error


def names(path: Path) -> list[str]:
    """Return the names of a file's arrays, sorted; raise ValueError where it is damaged."""
    try:
        with regular.open_binary(path) as file, zipfile.ZipFile(file) as archive:
            return sorted(_members(archive))
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path}: not a readable .npz of plain arrays ({reason})")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the name of their array; raise ValueError where two have one name."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"two arrays are named {name}")
        found[name] = info
    return found


def _check_directory(name: str, info: zipfile.ZipInfo, size: int) -> None:
    """Raise ArrayError where a member claims more than a file of `size` bytes can hold."""
    if info.compress_type not in COMPRESSIONS:
        _refuse(name, f"compression {info.compress_type}", "stored or deflated")
    if info.file_size > MAX_COMPRESSION * min(info.compress_size, size):
        _refuse(name, f"claims {info.file_size:,} bytes", "what the file can hold")


def _read_array(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one member, after its header has been held against its size."""
    try:
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                _refuse(name, f".npy version {version}", "1.0 or 2.0")
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, _, dtype = header(stream)
            claimed, there = math.prod(shape) * dtype.itemsize, info.file_size - stream.tell()
        if dtype.hasobject:
            _refuse(name, "an array of Python objects", "numbers; it is not unpickled")
        if claimed != there or not dtype.itemsize:
            _refuse(name, f"{dtype} {shape}, {claimed:,} bytes", f"the {there:,} there")
        with archive.open(info) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except ArrayError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # zipfile and numpy raise whatever the bytes lead them to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArrayError(f"{name}: not readable as an array ({reason})") from error


def _refuse(name: str, found: str, allowed: str) -> NoReturn:
    raise ArrayError(f"{name}: got {found}; allowed: {allowed}")
