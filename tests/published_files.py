"""The published files of every data set, real where they are at hand and generated where not,
a server on loopback that hands them out, whole or spoilt, and the fixtures of both."""

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mvae_jax.datasets import catalogue, cifar, files, frey_face
from mvae_jax.datasets.files import File, Inputs
from mvae_jax.datasets.parsed import Parsed

ARCHIVES = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}
LABEL_BYTES = {"cifar10": 1, "cifar100": 2}
IDX = [f"{p}-{k}-ubyte.gz" for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]
NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "frey_face")


class Published(NamedTuple):
    """Files as DIR/<data set>/<name>, their SHA-256, and whether their bytes are the real ones.

    CIFAR-10 is an archive, whose members' digests are known; CIFAR-100 is unpacked as well.
    """

    folder: Path
    sha256: dict[tuple[str, str], str]
    is_real: bool


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The published files, real or generated."""
    from tests.conftest import SHARED_DATA

    return build(tmp_path_factory.mktemp("published"), SHARED_DATA)


@pytest.fixture
def server(published, monkeypatch, tmp_path):
    """A server of the published files that the package downloads from, and an empty cache."""
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MVAE_JAX_DATA_DIR", raising=False)
    with serving(published, monkeypatch) as server:
        yield server


@pytest.fixture(scope="session")
def memory():
    """What `ready` has read so far, by name and source."""
    return {}


@pytest.fixture
def ready(published, server, memory, monkeypatch, tmp_path_factory):
    """Every data set loads from the published files, and is read only once in all tests."""
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path_factory.getbasetemp() / "shared_cache"))
    monkeypatch.setenv("MVAE_JAX_DATA_DIR", str(published.folder))
    read, usual = catalogue.read, Inputs(published.folder)

    def read_once(name: str, source: str, inputs: Inputs) -> Parsed:
        if inputs != usual:
            return read(name, source, inputs)
        if (name, source) not in memory:
            memory[name, source] = read(name, source, inputs)
        return memory[name, source]

    monkeypatch.setattr(catalogue, "read", read_once)


def build(folder: Path, shared: Path) -> Published:
    """Fills the folder with the five data sets' files."""
    is_real = shared.is_dir()
    for name in NAMES:
        (folder / name).mkdir()
    if is_real:
        for name in ("mnist", "fashion_mnist", "frey_face"):
            for path in (shared / name).iterdir():
                (folder / name / path.name).symlink_to(path)
    else:
        for name in ("mnist", "fashion_mnist"):
            _generate_idx(folder / name)
        frames = np.arange(560 * 1965, dtype=np.uint32).reshape(560, 1965) % 251
        savemat(folder / "frey_face" / "frey_rawface.mat", {"ff": frames.astype(np.uint8)})
    digests = {}
    for name, archive in ARCHIVES.items():
        records = _restore(name, shared) if is_real else _generate_records(name)
        with tarfile.open(folder / name / archive, "w:gz", compresslevel=0) as tar:
            for member, data in records.items():
                digests[name, member] = hashlib.sha256(data).hexdigest()
                add_member(tar, f"{name}-batches-bin/{member}", data)
                if name == "cifar100":
                    (folder / name / member).write_bytes(data)
    for path in folder.glob("*/*"):
        digests[path.parent.name, path.name] = files.digest(path)
    return Published(folder, digests, is_real)


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def labels_like(num_classes: int, *parts: int) -> np.ndarray:
    """Returns uint8 labels of parts of these sizes, each with every class equally often."""
    rng = np.random.default_rng(1)
    labels = [rng.permutation(np.arange(num) % num_classes) for num in parts]
    return np.concatenate(labels).astype(np.uint8)


def _generate_idx(folder: Path) -> None:
    labels = labels_like(10, 60_000, 10_000)
    images = np.zeros((70_000, 28, 28), np.uint8)
    images[:, 5:20, 10] = 255
    images[:, 14, 12] = np.arange(70_000) % 251
    images[np.arange(70_000), labels + 8, 14] = 200
    for part, rows in (("train", slice(0, 60_000)), ("t10k", slice(60_000, None))):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(values[rows])
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(data, 1))


def idx(values: np.ndarray) -> bytes:
    header = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.tobytes()


def _generate_records(name: str) -> dict[str, bytes]:
    num_classes = {"cifar10": 10, "cifar100": 100}[name]
    records = np.zeros((60_000, LABEL_BYTES[name] + 3072), np.uint8)
    records[:, LABEL_BYTES[name] - 1] = labels_like(num_classes, 50_000, 10_000)
    records[:, LABEL_BYTES[name] + 33] = 7  # red, row 1, column 1
    return _cut(name, records)


def _restore(name: str, shared: Path) -> dict[str, bytes]:
    """Returns the record files from the lossless sheets of 100 x 100 images."""
    sheets = sorted((shared / name).glob("*.webp"))
    sheets.sort(key=lambda path: path.stem.startswith("test"))
    with ThreadPoolExecutor(2) as pool:
        tables = list(pool.map(lambda sheet: _records(sheet, LABEL_BYTES[name]), sheets))
    return _cut(name, np.concatenate(tables))


def _records(sheet: Path, label_bytes: int) -> np.ndarray:
    pixels = np.asarray(Image.open(sheet)).reshape(100, 32, 100, 32, 3)
    pixels = pixels.transpose(0, 2, 4, 1, 3).reshape(10_000, 3072)
    labels = np.fromfile(sheet.with_suffix(".labels"), np.uint8).reshape(10_000, label_bytes)
    return np.hstack([labels, pixels])


def _cut(name: str, records: np.ndarray) -> dict[str, bytes]:
    members = list(cifar.MEMBERS[name])
    sizes = [50_000, 10_000] if name == "cifar100" else [10_000] * 6
    parts = np.split(records, np.cumsum(sizes)[:-1])
    return {member: part.tobytes() for member, part in zip(members, parts, strict=True)}


class Server:
    """Serves the folder on loopback; `spoil[path]` turns a file's bytes into others."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.requests: list[str] = []
        self.spoil: dict[str, Callable[[bytes], bytes]] = {}
        self.claim: dict[str, int] = {}  # Content-Length, where it is not the body's
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                if not (folder / self.path[1:]).is_file():
                    self.send_error(404)
                    return
                data = (folder / self.path[1:]).read_bytes()
                data = server.spoil.get(self.path, bytes)(data)
                self.send_response(200)
                self.send_header("Content-Length", str(server.claim.get(self.path, len(data))))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        serve = partial(self._http.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(published: Published, patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the files and points the package at the server, with the digests that they have."""
    server = Server(published.folder)

    def file(dataset: str, name: str) -> File:
        return File(f"{server.address}/{dataset}/{name}", published.sha256[dataset, name])

    names = {name: [archive] for name, archive in ARCHIVES.items()}
    names |= {name: list(IDX) for name in ("mnist", "fashion_mnist")}
    registered = {name: {f: file(name, f) for f in names[name]} for name in names}
    members = {
        name: {m: published.sha256[name, m] for m in cifar.MEMBERS[name]} for name in ARCHIVES
    }
    patch.setattr(files, "registered", registered.__getitem__)
    patch.setattr(cifar, "MEMBERS", members)
    patch.setattr(frey_face, "MAT", file("frey_face", "frey_rawface.mat"))
    yield server
    server.close()
