"""Published files: found in the user's folder or downloaded, and in either case the right bytes.

TFDS is the catalogue of addresses and checksums, and the downloader. It needs no TensorFlow for
that, but without it cannot unpack an archive: the readers do so, in memory.
"""

import hashlib
import logging
import sys
from pathlib import Path
from typing import NamedTuple

from mvae_jax.datasets.errors import DataError
from mvae_jax.store.files import open_binary

# TFDS tries 10 times, doubling its pause: without a network that is 200 s of silence.
RETRIES = 3


class File(NamedTuple):
    """A published file, and the digest by which its bytes are known."""

    url: str
    digest: str
    algorithm: str = "sha256"

    @property
    def name(self) -> str:
        """The file's name, which ends its address."""
        return self.url.rpartition("/")[2]


class Inputs(NamedTuple):
    """What the user brings: both folders are only read.

    data_dir:    published files, as `data_dir/<folder>/<file>`
    photographs: natural photographs, for the backgrounds of mnist_background_images
    """

    data_dir: Path | None = None
    photographs: Path | None = None

    def local(self, folder: str, name: str) -> Path | None:
        """Return the user's own file of that name, or None."""
        path = self.data_dir / folder / name if self.data_dir else None
        return path if path and path.is_file() else None


def registered(dataset: str) -> dict[str, File]:
    """Return TFDS's registered files of a data set, by name."""
    import tensorflow_datasets as tfds  # most of a second, which a cached data set saves

    infos = tfds.builder_cls(dataset).url_infos
    return {file.name: file for file in (File(url, info.checksum) for url, info in infos.items())}


def obtain(file: File, folder: str, inputs: Inputs, scratch: Path) -> Path:
    """Return the path of a verified copy: the user's, or one downloaded into `scratch`.

    Raises:
      DataError: the user's copy is not the published file, or the download failed.
    """
    path = inputs.local(folder, file.name)
    if path is None:
        return _download(file, folder, scratch)
    verify(path, file.digest, file.algorithm)
    return path


def verify(path: Path, expected: str, algorithm: str = "sha256") -> None:
    """Raise DataError where a file of the user's is another than the published one."""
    actual = digest(path, algorithm)
    if actual != expected:
        raise DataError(
            f"{path}: not the published file: {algorithm} expected {expected}, got {actual} "
            f"({path.stat().st_size:,} bytes); replace it, or remove it to have it downloaded"
        )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes; raise DataError where unreadable."""
    try:
        with open_binary(path) as stream:
            return hashlib.file_digest(stream, algorithm).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror})") from error


def digest_all(paths: list[Path]) -> str:
    """Return 12 hexadecimal digits that change with any file's bytes; '' for no files."""
    digests = "".join(digest(path) for path in paths)
    return hashlib.sha256(digests.encode()).hexdigest()[:12] if digests else ""


def _download(file: File, folder: str, scratch: Path) -> Path:
    """Download into `scratch`; raise DataError with the address, both digests and a way out."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = RETRIES
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for each retry
    if sys.stderr.isatty():
        tfds.enable_progress_bar()
    else:
        tfds.disable_progress_bar()
        print(f"downloading {file.url}", file=sys.stderr, flush=True)
    try:
        manager = tfds.download.DownloadManager(download_dir=scratch)
        path = Path(manager.download(file.url))
    except Exception as error:  # whatever TFDS, requests, urllib3 or the system raise
        arrived = next(scratch.rglob(file.name), None)
        raise DataError(_failure(file, folder, arrived, error)) from error
    if digest(path, file.algorithm) != file.digest:
        raise DataError(_failure(file, folder, path))
    return path


def _failure(file: File, folder: str, arrived: Path | None, error: Exception | None = None) -> str:
    """Return the line that says what came instead of the file, and what to do."""
    if arrived:
        problem = (
            f"{file.algorithm} expected {file.digest}, got {digest(arrived, file.algorithm)} "
            f"({arrived.stat().st_size:,} bytes)"
        )
    elif type(error).__name__ in ("ConnectionError", "ConnectTimeout"):
        problem = "no connection"
    else:
        problem = " ".join(str(error).split())
    return (
        f"{file.url}: download failed: {problem}; try again, or place the file at "
        f"DIR/{folder}/{file.name} and pass --data_dir=DIR (or set MVAE_JAX_DATA_DIR=DIR)"
    )
