"""Files: only regular ones are opened, and they are written so that they are whole or absent.

Opening a FIFO would wait for ever, and /dev/zero has no end. A file is written beside its place,
then renamed into it.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

STALE_SECONDS = 3600  # a temporary file not written for so long is what a kill has left
MAX_COPIED = 1 << 28  # bytes of a file that is copied
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


def open_binary(path: Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading; raise OSError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    _check_regular(descriptor, path)
    return os.fdopen(descriptor, "rb")


def _check_regular(descriptor: int, path: Path) -> None:
    """Close a descriptor that is of no regular file, and raise OSError."""
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        said = f"is {KINDS.get(kind, 'a device')}, not a regular file"
        raise OSError(errno.EINVAL, said, str(path))


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file; raise OSError where it has more than `most` bytes."""
    with open_binary(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            said = f"has {size:,} bytes; allowed: at most {most:,}"
            raise OSError(errno.EFBIG, said, str(path))
        return file.read(size)


def write_bytes(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace `path` with what `write` writes, or leaves it as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    # A name of its own and O_EXCL: no other writer's file, and no link of a foreign folder.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            if path.is_file() and not path.is_symlink():  # what is replaced keeps its mode
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_stale(path: Path) -> None:
    """Remove what killed writers of this file have left."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(left).st_mtime > STALE_SECONDS:
                left.unlink()


def open_own(path: Path) -> TextIO:
    """Open a file to read and to append to, created where it is missing.

    Raise OSError where it is a link, which may lead anywhere, or no regular file.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a link, and is not followed; remove it", str(path))
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    _check_regular(descriptor, path)
    return os.fdopen(descriptor, "a+", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Create or replace a text file, in UTF-8; what is no character there becomes its escape."""
    write_bytes(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def copy(source: Path, path: Path) -> None:
    """Create or replace a file with another's bytes."""
    write_bytes(path, lambda file: file.write(read_bytes(source, MAX_COPIED)))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Create or replace an .npz; equal arrays give equal bytes."""
    write_bytes(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes, in hexadecimal; raise OSError."""
    with open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes that hold the folder waiting, from a file's reading to its rewriting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def move_aside(path: Path) -> Path:
    """Rename a file to the first free <name>.old-<n>; return its new path."""
    names = (path.with_name(f"{path.name}.old-{n}") for n in range(1, 1_000_000))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return aside


PathLike = str | os.PathLike[str]


def as_paths(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """Return the paths, of which there may be one alone.

    Raises:
      ValueError: a path is empty, or the root of the file system, which nobody means to search.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = []
    for path in listed:
        if not os.fspath(path):
            raise ValueError("path: got ''; allowed: a run folder, or a folder that holds runs")
        if Path(path).resolve() == Path(Path(path).resolve().anchor):
            raise ValueError(f"path: got '{path}', the file system's root; name a folder below it")
        found.append(Path(path))
    return found


def check_folders(paths: Iterable[Path]) -> None:
    """Raise ValueError where a path is no folder, or as `as_paths` does."""
    for path in as_paths(paths):
        if not path.is_dir():
            raise ValueError(f"path: got '{path}', which is no folder")


def without_any(roots: Iterable[Path], folders: Collection[Path]) -> list[Path]:
    """Return the roots that hold none of the folders, at or below themselves."""
    return [
        root
        for root in roots
        if not any(root == folder or root in folder.parents for folder in folders)
    ]


# A run whose seeds all failed has no embeddings, and an exported one has a manifest alone.
RUN_MARKS = frozenset({"embeddings", "done", "manifest.json"})
ARCHIVE = "runs.jsonl"  # of a folder that holds the scores of many runs, see report/archive.py


def find_runs(
    paths: PathLike | Iterable[PathLike], holding: Collection[str] = RUN_MARKS
) -> list[Path]:
    """Return the run folders at or below the paths: those that hold any of these names.

    Folders whose name begins with a dot (runs moved aside) are not entered. Raise ValueError
    as `as_paths` does.
    """
    runs = set()
    for path in as_paths(paths):
        for folder, subfolders, names in os.walk(path):
            if not {*subfolders, *names}.isdisjoint(holding):
                runs.add(Path(folder))
                subfolders.clear()
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    return sorted(runs)
