"""Downloads, archives and caches that are damaged or hostile, and processes at once."""

import gzip
import hashlib
import io
import pickle
import pwd
import struct
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy.io import savemat

from mvae_jax.datasets import DataError, cache, cifar, files, frey_face, load, mnist
from mvae_jax.datasets.files import File
from tests.published_files import add_member, idx
from tests.test_datasets_own import Marker

FREY_FACE = "/frey_face/frey_rawface.mat"


def left_in_cache():
    """Returns the names of all files below the cache's folder."""
    folder = cache.path("").parent
    return sorted(path.name for path in folder.rglob("*") if path.is_file() or path.is_dir())


def is_one_line(error):
    return "\n" not in str(error.value)


# --- downloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:1000],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: b"<!DOCTYPE html><title>Not here any more</title>",
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    ],
    ids=["truncated", "too long", "empty", "html", "one bit"],
)
def test_a_wrong_download_is_refused_leaves_nothing_and_a_retry_works(spoil, server):
    server.spoil[FREY_FACE] = spoil
    with pytest.raises(DataError) as error:
        load("frey_face")
    message = str(error.value)
    spoilt = spoil((server.folder / FREY_FACE[1:]).read_bytes())
    got = hashlib.sha256(spoilt).hexdigest()
    assert f"{server.address}{FREY_FACE}: download failed: " in message
    assert f"sha256 expected {frey_face.MAT.digest}, got {got} ({len(spoilt):,} bytes)" in message
    assert "DIR/frey_face/frey_rawface.mat and pass --data_dir=DIR" in message
    assert is_one_line(error)
    assert left_in_cache() == []
    server.spoil.clear()
    assert len(load("frey_face").images) == 1965
    assert left_in_cache() == ["frey_face.npz"]


def test_a_connection_that_breaks_off_is_a_wrong_download(server):
    server.claim[FREY_FACE] = 2_000_000
    with pytest.raises(DataError, match=r"sha256 expected \w+, got \w+ \([\d,]+ bytes\)"):
        load("frey_face")
    assert left_in_cache() == []


def test_a_download_that_tfds_itself_refuses_is_reported_alike(server, monkeypatch):
    """TFDS checks the addresses that it has registered, as it has those of MNIST and CIFAR."""
    checksums = sys.modules[tfds.download.add_checksums_dir.__module__]
    info = checksums.UrlInfo(size=1, checksum="0" * 64, filename="frey_rawface.mat")
    monkeypatch.setattr(checksums, "get_all_url_infos", lambda: {frey_face.MAT.url: info})
    monkeypatch.setattr(frey_face, "MAT", frey_face.MAT._replace(digest="0" * 64))
    with pytest.raises(DataError, match=rf"sha256 expected {'0' * 64}, got \w{{64}} \(") as error:
        load("frey_face")
    assert type(error.value.__cause__).__name__ == "NonMatchingChecksumError"
    assert left_in_cache() == []


def test_a_page_that_is_gone_is_reported_with_its_status(server, monkeypatch):
    gone = frey_face.MAT._replace(url=f"{server.address}/gone/frey_rawface.mat")
    monkeypatch.setattr(frey_face, "MAT", gone)
    with pytest.raises(DataError, match=r"download failed: .*HTTP code: 404") as error:
        load("frey_face")
    assert is_one_line(error)
    assert left_in_cache() == []


def test_no_network_gives_one_line_with_the_manual_path(server, monkeypatch):
    """The reserved domain .invalid never resolves."""
    unreachable = File("https://host.invalid/cifar-10-binary.tar.gz", "0" * 64)
    monkeypatch.setattr(files, "registered", lambda name: {unreachable.name: unreachable})
    with pytest.raises(DataError) as error:
        load("cifar10")
    assert str(error.value) == (
        "https://host.invalid/cifar-10-binary.tar.gz: download failed: no connection; try again, "
        "or place the file at DIR/cifar10/cifar-10-binary.tar.gz and pass --data_dir=DIR "
        "(or set MVAE_JAX_DATA_DIR=DIR)"
    )
    assert left_in_cache() == []


def test_a_failing_download_prints_its_address_and_no_more(server, capfd):
    server.spoil[FREY_FACE] = lambda data: b""
    with pytest.raises(DataError):
        load("frey_face")
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"downloading {server.address}{FREY_FACE}\n")


# --- the user's folder -------------------------------------------------------------------------


def test_a_users_file_that_is_not_the_published_one_is_refused(server, tmp_path):
    path = tmp_path / FREY_FACE[1:]
    path.parent.mkdir()
    path.write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"frey_rawface\.mat: not the published file: sha256") as e:
        load("frey_face", data_dir=tmp_path)
    assert is_one_line(e)
    assert server.requests == []


def test_unpacked_cifar_files_are_checked(server, published, tmp_path):
    folder = tmp_path / "cifar100"
    folder.mkdir()
    (folder / "train.bin").symlink_to(published.folder / "cifar100" / "train.bin")
    (folder / "test.bin").write_bytes(b"x" * 3074)
    with pytest.raises(DataError, match=r"cifar100/test\.bin: not the published file"):
        load("cifar100", data_dir=tmp_path)


def test_a_data_folder_that_is_none_is_refused(server, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"--data_dir: got '.*none', which is no folder"):
        load("digits", data_dir=tmp_path / "none")
    monkeypatch.setenv("MVAE_JAX_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"MVAE_JAX_DATA_DIR: got '.*none', which is no folder"):
        load("digits")


def test_an_unknown_name_is_refused():
    with pytest.raises(DataError, match=r"dataset: got 'mnist'; allowed: digits, mnist_basic.*npz"):
        load("mnist")


# --- archives and formats ----------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path):
    """An archive whose members would write outside, with the wanted files among them."""
    path = tmp_path / "inside" / "archive.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        add_member(tar, "../escaped.bin", b"no")
        add_member(tar, str(tmp_path / "absolute.bin"), b"no")
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        add_member(tar, "link/through.bin", b"no")
        device = tarfile.TarInfo("device")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
        add_member(tar, "any/train.bin", b"train")
        add_member(tar, "any/test.bin", b"test")
    return path


def test_a_hostile_archive_writes_nothing_anywhere(hostile, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert cifar.read_members(hostile, ["train.bin", "test.bin"]) == b"traintest"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_link_in_place_of_a_file_is_not_followed(kind, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("train.bin")
        link.type, link.linkname = kind, str(secret)
        tar.addfile(link)
    with pytest.raises(DataError, match=r"holds no regular file named train\.bin"):
        cifar.read_members(tmp_path / "a.tar.gz", ["train.bin"])


@pytest.mark.parametrize("content", [b"", b"<html>", gzip.compress(b"no tar")])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar\.gz: (not readable as|holds no regular file)"):
        cifar.read_members(tmp_path / "a.tar.gz", ["train.bin"])


def test_a_truncated_archive_is_refused(hostile):
    hostile.write_bytes(hostile.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"archive\.tar\.gz: (not readable as|holds no regular)"):
        cifar.read_members(hostile, ["train.bin", "test.bin"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\x08\x03" + b"\xff" * 12, "0 bytes of values where its header says 4294967295 x"),
        (b"\0\0\x08", "not an idx file"),
        (b"\0\0\x0d\x01" + b"\0" * 4, "not an idx file"),
        (b"<html>", "not an idx file"),
        (idx(np.zeros((3, 2), np.uint8))[:-1], "5 bytes of values where its header says 3 x 2"),
    ],
)
def test_damaged_idx_files_are_refused(data, message, tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(data))
    with pytest.raises(DataError, match=f"x.gz: {message}"):
        mnist.read_idx(tmp_path / "x.gz")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", gzip.compress(b"x" * 999)[:-9], b"html"])
def test_damaged_gzip_files_are_refused(content, tmp_path):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.gz: not (readable as a gzip|an idx) file"):
        mnist.read_idx(tmp_path / "x.gz")


def mat(**variables):
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        mat(ff=np.zeros((560, 3), np.uint8))[:-200],
        mat(other=np.zeros(3)),
        mat(ff=np.zeros((560, 3))),
        mat(ff=np.zeros((28, 20, 3), np.uint8)),
        mat(ff=np.array([{"a": 1}], dtype=object)),
    ],
    ids=["empty", "html", "truncated", "other", "float64", "rank 3", "cell"],
)
def test_damaged_mat_files_are_refused(content, tmp_path):
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.mat: (not a MATLAB 5 file|ff is)") as error:
        frey_face.read_mat(tmp_path / "x.mat")
    assert is_one_line(error)


def test_a_pickle_in_place_of_a_mat_file_is_not_run(tmp_path):
    (tmp_path / "x.mat").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    with pytest.raises(DataError, match="not a MATLAB 5 file"):
        frey_face.read_mat(tmp_path / "x.mat")
    assert not (tmp_path / "ran").exists()


def test_a_mat_file_that_claims_gigabytes_is_refused(tmp_path):
    content = bytearray(mat(ff=np.zeros((560, 3), np.uint8)))
    values = content.index(struct.pack("<II", 2, 560 * 3))  # unsigned bytes, and how many
    content[values : values + 8] = struct.pack("<II", 2, 2**32 - 8)
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.mat: (not a MATLAB 5 file|ff is)"):
        frey_face.read_mat(tmp_path / "x.mat")


# --- the cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0.01, 0.5, 0.99, None])
def test_a_damaged_entry_is_made_anew(position, server, caplog):
    expected = load("frey_face").images
    entry = cache.path("frey_face")
    data = bytearray(entry.read_bytes())
    if position is None:
        del data[len(data) // 2 :]
    else:
        data[int(position * len(data))] ^= 1
    entry.write_bytes(data)
    assert np.array_equal(load("frey_face").images, expected)
    assert len(server.requests) == 2
    assert "frey_face.npz: damaged" in caplog.text
    assert np.array_equal(load("frey_face").images, expected)
    assert len(server.requests) == 2


def test_a_pickle_in_the_cache_is_not_run(server, tmp_path):
    load("frey_face")
    cache.path("frey_face").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    assert len(load("frey_face").images) == 1965
    assert not (tmp_path / "ran").exists()


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"cache .*: cannot be written \(Not a directory\); set MV"):
        load("frey_face")


def test_the_cache_is_where_it_should_be(monkeypatch, tmp_path):
    monkeypatch.delenv("MVAE_JAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.path("x") == tmp_path / "mvae_jax" / "datasets-1" / "x.npz"
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "mine"))
    assert cache.path("x") == tmp_path / "mine" / "datasets-1" / "x.npz"
    monkeypatch.delenv("MVAE_JAX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.path("x") == tmp_path / ".cache" / "mvae_jax" / "datasets-1" / "x.npz"
    monkeypatch.setenv("MVAE_JAX_CACHE", "~/mine")
    assert cache.path("x") == tmp_path / "mine" / "datasets-1" / "x.npz"


def test_a_user_without_a_home_folder_is_told_so(monkeypatch):
    def unknown(_uid):
        raise KeyError

    for variable in ("HOME", "XDG_CACHE_HOME", "MVAE_JAX_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(DataError, match="HOME is not set; set it, or MVAE_JAX_CACHE"):
        cache.path("x")
    monkeypatch.setenv("MVAE_JAX_DATA_DIR", "~/data")
    with pytest.raises(DataError, match=r"MVAE_JAX_DATA_DIR: got '~/data', of an unknown home"):
        load("frey_face")


PREPARE = """
import sys
from mvae_jax.datasets import files, frey_face, load
frey_face.MAT = files.File(*sys.argv[1:])
print(load("frey_face").images.sum())
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
"""


def test_processes_that_prepare_the_same_data_set_at_once_all_succeed(server):
    command = [sys.executable, "-c", PREPARE, frey_face.MAT.url, frey_face.MAT.digest]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)
    ]
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    sums = {int(out) for out, _ in outputs}
    assert sums == {int(load("frey_face").images.sum())}
    assert left_in_cache() == ["frey_face.npz"]


def test_a_matlab_file_of_anything_else_is_refused(tmp_path):
    path = tmp_path / "frey_rawface.mat"
    pixels = np.arange(560 * 3).reshape(560, 3).astype(np.uint8)
    savemat(path, {"ff": pixels})
    np.testing.assert_array_equal(frey_face.read_mat(path), pixels)
    good = path.read_bytes()
    for place in (126, 128, 136, 144, 152, 160, 164, 168, 170, 172, 176, 180):
        changed = bytearray(good)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"rawface\.mat: "):
            frey_face.read_mat(path)
    for other in ({"ff": pixels.T}, {"ff": pixels * 1.0}, {"gg": pixels}):
        savemat(path, other)
        with pytest.raises(DataError, match=r"rawface\.mat: "):
            frey_face.read_mat(path)
    for cut in (0, 100, 190, len(good) - 9):
        path.write_bytes(good[:cut])
        with pytest.raises(DataError, match=r"rawface\.mat: "):
            frey_face.read_mat(path)
