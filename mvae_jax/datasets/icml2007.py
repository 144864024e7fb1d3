"""The original files of the four MNIST variants (Larochelle et al., ICML 2007).

An .amat file is text: on each line an image's 784 values in [0, 1] and its label. The training
file holds 10,000 training and then 2,000 validation images, the test file 50,000.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mvae_jax.datasets import files
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import File, Inputs
from mvae_jax.datasets.parsed import Parsed

ADDRESS = "http://www.iro.umontreal.ca/~lisa/icml2007data/"
FOLDER = "icml2007"
SIZES = (12_000, 50_000)

# A value is taken to be v/256 or v/255 when no value is further from it than this.
EXACT = 0.01  # grey levels


class Archive(NamedTuple):
    """One variant's archive (SHA-1 is all that is published of it) and the files in it."""

    file: File
    members: tuple[str, str]
    column_major: bool = False


def _archive(stem: str, sha1: str, members: str, column_major: bool = False) -> Archive:
    train, test = members.split()
    file = File(f"{ADDRESS}{stem}.zip", sha1, "sha1")
    return Archive(file, (f"{train}.amat", f"{test}.amat"), column_major)


ARCHIVES = {
    "mnist_basic": _archive(
        "mnist", "14ac2e9135705499b80bf7efac981377940150c8", "mnist_train mnist_test"
    ),
    "mnist_rotated": _archive(
        "mnist_rotation_new",
        "e67f72fa42029f62fd8eb92b0638c1b9761c9a63",
        "mnist_all_rotation_normalized_float_train_valid mnist_all_rotation_normalized_float_test",
    ),
    "mnist_background_images": _archive(
        "mnist_background_images",
        "fb6fce9ed6372e0068ff7cb3e7b9e78dbda7ceae",
        "mnist_background_images_train mnist_background_images_test",
        column_major=True,
    ),
    "mnist_background_random": _archive(
        "mnist_background_random",
        "75e11ec966459c1162979e78ab4e21f9ab7fb5cd",
        "mnist_background_random_train mnist_background_random_test",
        column_major=True,
    ),
}


def make(dataset: str, inputs: Inputs, scratch: Path) -> Parsed:
    """Return 62,000 images of 28 x 28: training, validation, test, in the files' order."""
    file, members, column_major = ARCHIVES[dataset]
    if paths := _unpacked(dataset, inputs):
        origin = [f"{path.name} sha256:{files.digest(path)}" for path in paths]
        tables = [_read_file(path, size) for path, size in zip(paths, SIZES, strict=True)]
    else:
        origin = [file.url]
        archive = files.obtain(file, FOLDER, inputs, scratch)
        tables = [_read_member(archive, m, size) for m, size in zip(members, SIZES, strict=True)]
    table = np.concatenate(tables)
    images, denominator, error = quantise(table[:, :-1])
    images = images.reshape(-1, 28, 28)
    if column_major:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    provenance = {
        "files": origin,
        "pixel_denominator": denominator,
        "largest_quantisation_error": error,  # in units of the value's range [0, 1]
    }
    return Parsed(images[..., None], table[:, -1].astype(np.int32), 1 / denominator, provenance)


def suffix(dataset: str, inputs: Inputs) -> str:
    """Return the digest of unpacked files: none is published, so the cache's key holds it."""
    return files.digest_all(_unpacked(dataset, inputs))


def _unpacked(dataset: str, inputs: Inputs) -> list[Path]:
    """Return the user's two .amat files, or none."""
    paths = [inputs.local(FOLDER, name) for name in ARCHIVES[dataset].members]
    return [path for path in paths if path] if all(paths) else []


def _read_file(path: Path, size: int) -> np.ndarray:
    with path.open("rb") as stream:
        return read_amat(stream, str(path), size)


def _read_member(archive: Path, member: str, size: int) -> np.ndarray:
    """Read one .amat file inside a .zip, by name and without unpacking to disk."""
    try:
        with zipfile.ZipFile(archive) as unzipped, unzipped.open(member) as stream:
            return read_amat(stream, f"{archive}:{member}", size)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{archive}: holds no readable {member} ({error})") from error


def read_amat(lines: Iterable[bytes], name: str, size: int) -> np.ndarray:
    """Return float32 [size, 785]: pixels in [0, 1], and labels 0 to 9 in the last column.

    Raises:
      DataError: the text is no such table; the message begins with `name`.
    """
    try:
        table = np.loadtxt(lines, dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise DataError(f"{name}: not a table of numbers ({error})") from error
    if table.shape != (size, 785):
        raise DataError(f"{name}: a table of {table.shape}; allowed: {(size, 785)}")
    pixels, labels = table[:, :-1], table[:, -1]
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN fails both
        raise DataError(f"{name}: pixels from {pixels.min()} to {pixels.max()}; allowed: [0, 1]")
    if not np.isin(labels, range(10)).all():
        raise DataError(f"{name}: labels from {labels.min()} to {labels.max()}; allowed: 0 to 9")
    return table


def quantise(pixels: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Return uint8 pixels, the denominator (255 or 256) and the largest error, in [0, 1].

    Pixels stored as v/256 or v/255 are recognised exactly. Interpolated ones (rotated digits)
    are neither: then a value above 255/256 tells v/255, and its absence v/256.
    """
    fits = {}
    for denominator in (256, 255):
        levels = np.rint(pixels * np.float32(denominator))
        error = np.abs(pixels - levels / np.float32(denominator)).max()
        if levels.max() <= 255:
            fits[denominator] = (levels.astype(np.uint8), denominator, float(error))
    exact = [fit for fit in fits.values() if fit[2] * fit[1] < EXACT]
    return (exact or list(fits.values()))[0]
