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

import numpy as np

from mvae_jax.store import files

MAX_BYTES = 4 << 30  # of the arrays that are read from one file of a run folder
MAX_COMPRESSION = 1032  # deflate cannot compress further, so a member that claims to is a lie


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
        with files.open_binary(path) as file, zipfile.ZipFile(file) as archive:
            file.seek(0)
            if sha256 and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError("damaged: its SHA-256 is not that of its record")
            size = os.fstat(file.fileno()).st_size
            members = [m for m in archive.infolist() if names is None or _name(m) in names]
            claimed = sum(member.file_size for member in members)
            if most is not None and claimed > most:
                raise ValueError(f"{claimed:,} bytes of arrays; allowed: at most {most:,}")
            return {_name(member): _read_array(archive, member, size) for member in members}
    except MemoryError:
        raise
    except Exception as error:  # foreign bytes make zipfile, zlib and numpy raise a dozen kinds
        raise _unreadable(path, error) from error


def names(path: Path) -> list[str]:
    """Return the names of a file's arrays, sorted; raise ValueError where it is damaged."""
    try:
        with files.open_binary(path) as file, zipfile.ZipFile(file) as archive:
            return sorted(map(_name, archive.infolist()))
    except Exception as error:
        raise _unreadable(path, error) from error


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> np.ndarray:
    """Read one member of a file of `size` bytes, after its claims have been held against them."""
    name = _name(member)
    if member.file_size > MAX_COMPRESSION * min(member.compress_size, size):
        claim = f"{member.file_size:,} bytes"
        raise ValueError(f"{name}: got claims {claim}; allowed: what the file can hold")
    try:
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, _, dtype = header(stream)
            claimed, there = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if not dtype.hasobject and claimed == there:
            with archive.open(member) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name}: not readable as an array ({_reason(error)})") from error
    if dtype.hasobject:
        raise ValueError(f"{name}: got an array of Python objects; allowed: numbers")
    said = f"{dtype} {shape}, {claimed:,} bytes"
    raise ValueError(f"{name}: got {said}; allowed: the {there:,} there")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable .npz of plain arrays ({_reason(error)})")
