"""Opens regular files only: opening a FIFO would wait for ever, and /dev/zero has no end."""

import errno
import io
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_binary(path: Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading; raise OSError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    check(descriptor, path)
    return os.fdopen(descriptor, "rb")


def check(descriptor: int, path: Path) -> None:
    """Close a descriptor that is of no regular file, and raise OSError."""
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        said = f"is {KINDS.get(kind, 'something else')}, not a regular file"
        raise OSError(errno.EINVAL, said, str(path))


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file; raise OSError where it has more than `most` bytes."""
    with open_binary(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            said = f"has {size:,} bytes; allowed: at most {most:,}"
            raise OSError(errno.EFBIG, said, str(path))
        return file.read(size)
