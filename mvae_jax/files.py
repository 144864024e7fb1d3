"""Files that are whole or absent: written beside their place, then renamed into it."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np


def write_bytes(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Creates or replaces `path` with what `write` writes, or leaves it as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # what a kill leaves, the next write replaces
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Creates or replaces a text file."""
    write_bytes(path, lambda file: file.write(text.encode()))


def copy(source: Path, path: Path) -> None:
    """Creates or replaces a file with another's bytes."""
    write_bytes(path, lambda file: file.write(source.read_bytes()))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Creates or replaces an .npz; equal arrays give equal bytes."""
    write_bytes(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def read_npz(path: Path, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Returns an .npz file's arrays, or those of them that are named.

    Raises ValueError, which names the file, where it is damaged or holds more than plain arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if names is None or name in names}
    except Exception as error:  # foreign bytes make zipfile, zlib and numpy raise a dozen kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable .npz of plain arrays ({reason})") from error


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
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


# A run whose seeds all failed has no embeddings, but a manifest.
RUN_MARKS = frozenset({"embeddings", "manifest.json"})


def find_runs(
    paths: PathLike | Iterable[PathLike], holding: Collection[str] = RUN_MARKS
) -> list[Path]:
    """Return the run folders at or below the paths: those that hold any of these names.

    Folders whose name begins with a dot (runs moved aside) are not entered. Raises ValueError
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
