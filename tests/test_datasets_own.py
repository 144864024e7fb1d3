"""Your own .npz: what it may hold, and everything that is refused by name."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mvae_jax.datasets import DataError, load


class Marker:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.fixture
def write(tmp_path):
    """Writes arrays to an .npz file and returns its name."""

    def write_arrays(**arrays):
        np.savez_compressed(tmp_path / "mine.npz", **arrays)
        return str(tmp_path / "mine.npz")

    return write_arrays


@pytest.fixture
def write_raw(tmp_path):
    """Writes members as they are to a zip file called .npz, and returns its name."""

    def write_members(method=zipfile.ZIP_DEFLATED, **members):
        with zipfile.ZipFile(tmp_path / "mine.npz", "w", method) as archive:
            for name, data in members.items():
                archive.writestr(f"{name}.npy", data)
        return str(tmp_path / "mine.npz")

    return write_members


def images(num=100, shape=(5, 7)):
    return np.random.default_rng(0).integers(256, size=(num, *shape), dtype=np.uint8)


def npy(array, **header):
    """Returns the bytes of an .npy file whose header says what it is told to."""
    stream = io.BytesIO()
    fields = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, {**fields, **header})
    return stream.getvalue() + array.tobytes()


def test_images_alone_split_as_one_class(write):
    data = load(write(images=images()))
    assert data.images.shape == (100, 5, 7, 1)
    assert (data.labels, data.num_classes, data.pixel_scale) == (None, 0, 1 / 255)
    assert {name: len(indices) for name, indices in data.splits.items()} == {
        "train": 80,
        "test": 20,
    }


def test_colour_images_and_labels_of_any_integer_type(write):
    labels = np.repeat(np.arange(4, dtype=np.uint16), 25)
    data = load(write(images=images(shape=(5, 7, 3)), labels=labels), "paper")
    np.testing.assert_array_equal(data.images, images(shape=(5, 7, 3)))
    assert data.labels.dtype == np.int32
    assert data.num_classes == 4
    sizes = {name: len(indices) for name, indices in data.splits.items()}
    assert sizes == {"train": 72, "valid": 8, "test": 20}  # of each 25: round(2.5) = 2, 5


def test_the_files_own_indices_are_used_and_only_the_paper_protocol_validates(write):
    indices = np.random.default_rng(0).permutation(100)
    name = write(
        images=images(),
        index_train=indices[:60],
        index_valid=indices[60:75],
        index_test=indices[75:90],
    )
    paper, release = load(name, "paper").splits, load(name).splits
    np.testing.assert_array_equal(paper["train"], indices[:60])
    np.testing.assert_array_equal(paper["valid"], indices[60:75])
    np.testing.assert_array_equal(paper["test"], indices[75:90])
    assert list(release) == ["train", "test"]
    np.testing.assert_array_equal(release["train"], indices[:60])


def test_column_major_and_stored_arrays_are_read(tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.asfortranarray(images()))
    data = load(str(tmp_path / "mine.npz"))
    np.testing.assert_array_equal(data.images[..., 0], images())
    assert data.images.flags.c_contiguous


def test_members_whose_names_do_not_end_in_npy_are_read_as_numpy_reads_them(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("images", npy(images()))
        archive.writestr("labels.npy", npy(np.arange(100) // 50))
    with np.load(tmp_path / "mine.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], images())
    data = load(str(tmp_path / "mine.npz"))
    np.testing.assert_array_equal(data.images[..., 0], images())
    assert data.num_classes == 2


def test_the_most_compressible_images_are_read(write):
    data = load(write(images=np.zeros((2000, 64, 64), np.uint8)))
    assert not data.images.any()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.arange(3)}, "no array named images; it holds labels"),
        ({"images": images() / 255}, r"images: got float64 \[100, 5, 7\]; allowed: uint8"),
        ({"images": images() > 9}, r"images: got bool \[100, 5, 7\]; allowed: uint8"),
        ({"images": images()[0]}, r"images: got uint8 \[5, 7\]; allowed: uint8 \[N, H, W\] or"),
        ({"images": images()[None, None]}, r"images: got uint8 \[1, 1, 100, 5, 7\]"),
        ({"images": images()[:, :0]}, r"images: got uint8 \[100, 0, 7\]"),
        ({"images": images(2)}, "images: 2 leave nothing for the test split"),
        ({"labels": np.arange(99)}, r"labels: got int64 \[99\]; allowed: integers \[100\]"),
        ({"labels": np.arange(100.0)}, r"labels: got float64 \[100\]; allowed: integers"),
        ({"labels": np.eye(100, dtype=int)}, r"labels: got int64 \[100, 100\]"),
        ({"labels": np.arange(100) - 1}, "labels: got -1 to 98; allowed: 0 to 2147483647"),
        ({"labels": np.arange(100) + 2**31}, "labels: got 2147483648 to 2147483747"),
        ({"index_train": np.arange(9)}, "index_test: got nothing; allowed: index_train and"),
        ({"index_valid": np.arange(9)}, "index_train: got nothing; allowed: index_train and"),
        ({"index_validation": np.arange(9)}, "index_validation: no such split; allowed: index_t"),
        (
            {"index_train": np.arange(90), "index_test": np.arange(80, 99)},
            "index_test: got an image taken twice; allowed: each image at most once",
        ),
        (
            {"index_train": np.array([1, 1]), "index_test": np.array([2])},
            "index_train: got an image taken twice",
        ),
        (
            {"index_train": np.arange(90), "index_test": np.arange(90, 101)},
            "index_test: got 90 to 100; allowed: 0 to 99",
        ),
        (
            {"index_train": np.arange(-1, 90), "index_test": np.arange(90, 99)},
            "index_train: got -1 to 89; allowed: 0 to 99",
        ),
        (
            {"index_train": np.arange(0), "index_test": np.arange(90, 99)},
            r"index_train: got int64 \[0\]; allowed: int64 \[m\] with m above 0",
        ),
        (
            {"index_train": np.ones(100, bool), "index_test": np.arange(9)},
            r"index_train: got bool \[100\]; allowed: int64",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arrays, message, write):
    if "labels" not in arrays or len(arrays) > 1 or message.startswith("labels"):
        arrays = {"images": images(), **arrays}
    with pytest.raises(DataError, match=rf"mine\.npz: {message}") as error:
        load(write(**arrays))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"PK\x03\x04", pickle.dumps([1, 2]), npy(images())],
    ids=["empty", "html", "zip header", "pickle", "npy"],
)
def test_what_is_no_npz_is_refused(content, tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.npz: not a readable .npz"):
        load(str(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz: not a readable .npz .*No such"):
        load(str(tmp_path / "none.npz"))


def test_a_truncated_file_is_refused(write):
    path = Path(write(images=images()))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"mine\.npz: not a readable .npz"):
        load(str(path))


def test_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, images=images())
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="Bad CRC-32"):
        load(str(path))


@pytest.mark.parametrize("key", ["images", "labels", "index_train"])
def test_pickles_are_not_run(key, tmp_path, write):
    marker = tmp_path / "ran"
    arrays = {"images": images(), key: np.array([Marker(marker)], dtype=object)}
    with pytest.raises(DataError, match=rf"{key}: got an array of Python objects; allowed: num"):
        load(write(**arrays))
    assert not marker.exists()


def test_a_pickle_in_place_of_an_array_is_not_run(tmp_path, write_raw):
    marker = tmp_path / "ran"
    with pytest.raises(DataError, match="images: not readable as an array"):
        load(write_raw(images=pickle.dumps(Marker(marker))))
    assert not marker.exists()


def test_a_header_that_claims_terabytes_is_refused_before_anything_is_allocated(write_raw):
    claim = npy(images(), shape=(10**6, 1000, 1000))
    with pytest.raises(DataError, match=r"images: got uint8 .* 1,000,000,000,000 bytes; allowed"):
        load(write_raw(images=claim))
    beyond = npy(images(), shape=(2**40, 2**40, 2**40))
    with pytest.raises(DataError, match=r"images: got uint8 .* bytes; allowed"):
        load(write_raw(images=beyond))


def test_a_zip_directory_that_claims_terabytes_is_refused(write_raw, tmp_path):
    """The header and the zip directory agree on 3 GB that are not there."""
    claimed = 3 * 10**9
    member = npy(images(), shape=(claimed, 1, 1))
    size = len(member) - images().nbytes + claimed
    path = Path(write_raw(images=member))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"images: got claims .* bytes; allowed: what the file"):
        load(str(path))


@pytest.mark.parametrize(
    "member",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00" + b"x" * 100, npy(images(), descr="|V10000000000")],
    ids=["empty", "cut", "version 9", "huge items"],
)
def test_broken_headers_are_refused(member, write_raw):
    with pytest.raises(DataError, match=r"mine\.npz: .*images: "):
        load(write_raw(images=member))


def test_an_impossible_shape_is_refused(write_raw):
    for shape in ((-1, 5, 7), (100, -5, -7), (True, 5, 7), (0, 2**70), ("x",)):
        with pytest.raises(DataError, match=r"mine\.npz: .*images: "):
            load(write_raw(images=npy(images(1), shape=shape)))


def test_a_source_is_refused(write):
    with pytest.raises(DataError, match="got source 'icml2007'; allowed: none"):
        load(write(images=images()), source="icml2007")
