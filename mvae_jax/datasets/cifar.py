"""CIFAR-10 and CIFAR-100 in their binary form: 60,000 images of 32 x 32 RGB pixels each.

A record is the label bytes (CIFAR-100: the coarse label, then the fine one, which is used) and
3,072 pixels, plane by plane.
"""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from mvae_jax.datasets import files
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import Inputs
from mvae_jax.datasets.parsed import Parsed
from mvae_jax.store.files import open_binary

PIXELS = 3 * 32 * 32
MAX_BYTES = 1 << 28  # of an unpacked file; the largest has 154 MB

# SHA-256 of the archives' members, for those who unpacked them; training images first.
MEMBERS = {
    "cifar10": {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    "cifar100": {
        "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
    },
}


def make(dataset: str, inputs: Inputs, scratch: Path) -> Parsed:
    """Return `cifar10` or `cifar100`: 60,000 images, training images first."""
    (archive,) = files.registered(dataset).values()
    members = MEMBERS[dataset]
    unpacked = [path for name in members if (path := inputs.local(dataset, name))]
    if len(unpacked) == len(members):
        for path in unpacked:
            files.verify(path, members[path.name])
        data = b"".join(path.read_bytes() for path in unpacked)
    else:
        data = read_members(files.obtain(archive, dataset, inputs, scratch), list(members))
    images, labels = read_records(data, label_bytes=1 if dataset == "cifar10" else 2)
    return Parsed(images, labels, pixel_scale=1 / 255, provenance={"files": [archive.url]})


def read_records(data: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images [N, 32, 32, 3] and int32 labels [N]; raise DataError."""
    size = label_bytes + PIXELS
    if not data or len(data) % size:
        raise DataError(f"CIFAR: {len(data):,} bytes; allowed: records of {size:,} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, label_bytes - 1].astype(np.int32)


def read_members(archive: Path, names: list[str]) -> bytes:
    """Return the bytes of the named regular files of a .tar.gz, one after the other.

    Nothing is unpacked to disk, so whatever else an archive holds (`../`, absolute paths, links)
    writes nothing anywhere.

    Raises:
      DataError: the archive is damaged, or lacks one of them.
    """
    found = {}
    try:
        with (
            open_binary(archive) as file,
            tarfile.open(fileobj=file, mode="r:gz") as tar,
        ):
            for member in tar:
                name = member.name.rpartition("/")[2]
                if name in names and member.isreg() and (stream := tar.extractfile(member)):
                    found[name] = stream.read(MAX_BYTES + 1)
                    if len(found[name]) > MAX_BYTES:
                        raise DataError(f"{archive}: {name} has more than {MAX_BYTES:,} bytes")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: not readable as a .tar.gz archive ({error})") from error
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{archive}: holds no regular file named {', '.join(missing)}")
    return b"".join(found[name] for name in names)
