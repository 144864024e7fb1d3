"""Every data set through the real code: downloaded from loopback, parsed, cached, loaded again."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mvae_jax.datasets import cache, catalogue, cifar, files, frey_face, load
from mvae_jax.datasets.catalogue import CATALOGUE
from tests.conftest import SHARED_DATA
from tests.published_files import ARCHIVES, IDX

DOWNLOADED = ("mnist_basic", "fashion_mnist", "cifar10", "cifar100", "frey_face")
NUM_FILES = {"mnist_basic": 4, "fashion_mnist": 4, "cifar10": 1, "cifar100": 1, "frey_face": 1}


@pytest.fixture
def real(published):
    """Skips where the files are generated."""
    if not published.is_real:
        pytest.skip(f"no real files in {SHARED_DATA}")


def moments(images):
    """Returns mean and standard deviation of pixels in [0, 1], with no float copy of them."""
    values = np.arange(256) / 255
    counts = sum(np.bincount(rows.ravel(), minlength=256) for rows in np.array_split(images, 50))
    shares = counts / images.size
    mean = shares @ values
    return mean, np.sqrt(shares @ (values - mean) ** 2)


@pytest.mark.thorough
@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_data_set_downloads_once_and_is_the_same_from_cache_and_from_the_users_folder(
    name, ready, server, tmp_path, monkeypatch
):
    local = load(name)
    assert server.requests == []
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MVAE_JAX_DATA_DIR")
    first = load(name)
    assert len(server.requests) == NUM_FILES[name]
    assert not list(cache.path("").parent.glob(".*"))
    again = load(name)
    assert len(server.requests) == NUM_FILES[name]
    for other in (again, local):
        assert np.array_equal(first.images, other.images)
        assert np.array_equal(first.labels, other.labels)
        assert (first.pixel_scale, first.provenance) == (other.pixel_scale, other.provenance)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_data_set_is_what_the_catalogue_says(name, ready):
    entry = CATALOGUE[name]
    data = load(name)
    assert data.source == next(iter(entry.sources))
    assert data.images.shape == entry.shape
    assert data.images.dtype == np.uint8
    assert data.images.flags.c_contiguous
    assert data.num_classes == entry.num_classes
    assert f"1/{round(1 / data.pixel_scale)}" == entry.sources[data.source].pixel_scale
    if entry.num_classes:
        assert data.labels.dtype == np.int32
        assert data.labels.shape == entry.shape[:1]
        assert set(np.unique(data.labels)) == set(range(entry.num_classes))
    else:
        assert data.labels is None
    json.dumps(data.provenance)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"])
def test_classes_are_equally_frequent(name, ready):
    counts = np.bincount(load(name).labels)
    assert set(counts) == {CATALOGUE[name].shape[0] // CATALOGUE[name].num_classes}


def test_mnist_is_mnist(ready, real):
    data = load("mnist_basic")
    np.testing.assert_allclose(moments(data.images[:60_000]), (0.1306604, 0.3081078), atol=1e-7)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.labels[:60_000]).tolist() == counts


def test_fashion_mnist_is_fashion_mnist(ready, real):
    train = load("fashion_mnist").images[:60_000]
    np.testing.assert_allclose(moments(train), (0.2860, 0.3530), atol=5e-5)


@pytest.mark.parametrize(
    ("name", "means"),
    [("cifar10", (0.4914, 0.4822, 0.4465)), ("cifar100", (0.5071, 0.4865, 0.4409))],
)
def test_cifar_is_cifar(name, means, ready, real):
    data = load(name)
    channels = data.images[:50_000].mean((0, 1, 2)) / 255
    np.testing.assert_allclose(channels, means, atol=5e-5)
    assert np.bincount(data.labels[50_000:]).min() == 10_000 // data.num_classes


@pytest.mark.parametrize(("name", "sheet"), [("cifar10", "data_batch_1"), ("cifar100", "train_1")])
def test_a_cifar_image_is_the_right_way_round(name, sheet, ready, real):
    picture = np.asarray(Image.open(SHARED_DATA / name / f"{sheet}.webp"))
    np.testing.assert_array_equal(load(name).images[101], picture[32:64, 32:64])


def test_cifar_pixels_are_planes_of_rows(ready, published):
    if published.is_real:
        pytest.skip("a generated record has its one red pixel in row 1, column 1")
    for name in ARCHIVES:
        expected = np.zeros((32, 32, 3), np.uint8)
        expected[1, 1, 0] = 7
        np.testing.assert_array_equal(load(name).images[-1], expected)


def test_frey_face_frames_follow_each_other_and_are_the_right_way_round(ready, real):
    frames = load("frey_face").images[..., 0].astype(float)
    step = np.abs(np.diff(frames, axis=0)).mean()
    assert step < 0.5 * np.abs(frames - frames[::-1]).mean()
    other_way = frames.reshape(-1, 20, 28)
    assert np.abs(np.diff(frames, axis=1)).mean() < 0.5 * np.abs(np.diff(other_way, axis=1)).mean()


def test_pinned_digests_are_those_of_the_real_files(published, real):
    for name in ("mnist", "fashion_mnist"):
        registered = files.registered(name)
        assert sorted(registered) == sorted(IDX)
        for file in registered.values():
            files.verify(published.folder / name / file.name, file.digest)
    for name, members in cifar.MEMBERS.items():
        for member, digest in members.items():
            assert published.sha256[name, member] == digest
    files.verify(published.folder / "frey_face" / frey_face.MAT.name, frey_face.MAT.digest)


def test_the_cifar_archives_are_registered():
    for name, archive in ARCHIVES.items():
        (file,) = files.registered(name).values()
        assert (file.name, len(file.digest)) == (archive, 64)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_states_the_papers_split(name, ready):
    sizes = [len(indices) for indices in load(name, "paper").splits.values()]
    stated = CATALOGUE[name].paper_split
    if stated == "as release":
        np.testing.assert_array_equal(
            load(name, "paper").splits["test"], load(name, "release").splits["test"]
        )
    elif stated.endswith("%"):
        shares = [int(share) for share in stated.removesuffix("%").split("/")]
        np.testing.assert_allclose(np.array(sizes) / sum(sizes), np.array(shares) / 100, atol=0.01)
    else:
        assert stated == " / ".join(f"{size:,}" for size in sizes)


MEASURE = """
import resource, sys, time
import numpy
from mvae_jax import datasets
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.perf_counter()
images = datasets.load("cifar100").images
print(time.perf_counter() - start, (peak() - before) / images.nbytes)
"""


def test_cifar100_comes_from_the_cache_quickly_and_in_little_memory(ready):
    load("cifar100")
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    seconds, copies = map(float, run.stdout.split())
    assert seconds < 2
    assert copies < 2.5


def test_the_room_imports_neither_jax_nor_tensorflow_nor_what_only_a_download_needs():
    code = "import sys, mvae_jax.datasets as d; d.load('digits'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "flax", "tensorflow", "tensorflow_datasets", "PIL"}
    assert not heavy & set(run.stdout.split())


def test_keys_of_the_cache_are_distinct(ready):
    inputs = files.Inputs()
    keys = [catalogue.key(n, source, inputs) for n, e in CATALOGUE.items() for source in e.sources]
    assert len(set(keys)) == len(keys)
