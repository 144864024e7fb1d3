"""The two protocols' splits: equal on every machine, and what the paper and the release say."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvae_jax.datasets import DataError, load, splits
from mvae_jax.datasets.catalogue import CATALOGUE

IN_ORDER = "12dd2171c48d4a4e720dc8d4f892a55e3f8899ebcdc17fd084033af42e98c138"
FREY_FACE = "32aaf1cdd1f0fcac7e4e4a96e2f1bc719edd44c562180cb6b85fe8e918f0641b"

# SHA-256 of the indices (int64, little-endian, train then valid then test). The labels decide the
# split, so generated files have pins of their own.
REAL = {
    ("digits", "release"): "11b505669ffd1286a6463269bc6b2b97e81a4c03d5eb6d4e96eb94a10b24a6bb",
    ("digits", "paper"): "d21359861c6816438409d0b80101b1d5fdd06ffcf927e4a4fb9712a182c69cd0",
    ("mnist", "release"): "109576f085cfdc0fd0f63a9242cbd9f7fa84fa49bc9adbc9daf96f5557a7032f",
    ("mnist", "paper"): IN_ORDER,
    ("fashion", "release"): "33f58ed55e3190d3e853e561b5b1a1e6d5ba30d21e551997c3a554255ac9ef43",
    ("fashion", "paper"): "d3297a5f646c4128f1307325c14c2693e3fe9139f0c1513b0020496cd221a5a3",
    ("cifar10", "release"): "b709711418121577c4f4fbc7937e2f06601b07d1433cd001e213c7251133e621",
    ("cifar10", "paper"): "975aa04160edf15341a0083883233f4acf74eb9533e4deb5b34558077406381d",
    ("cifar100", "release"): "45b4c928c34818c27a73992b60bcd718d61a615a70005ab4175df737fa4ea6a5",
    ("cifar100", "paper"): "911edd736d40bcb6be81c908ea97db5c21f303cf336a1944fb51c37404187822",
    ("frey", "release"): FREY_FACE,
    ("frey", "paper"): FREY_FACE,
}
GENERATED = {
    **REAL,
    ("mnist", "release"): "0b7bb964e002f49a3ed78a1816ad13f9307c41d978153a9c6f4e5f48cca28538",
    ("fashion", "release"): "e4b8216c83b79fd438992b8bbf35e5706208547a34163a95b2fcffdc1fabfd4f",
    ("fashion", "paper"): "32a0173c36affa70eda941e5e9feb07a240ddd14400666cf79be61b0d74cca6a",
    ("cifar10", "release"): "63960f0b77bfb0f23a0e7e4c2eb2f61af83e4cdd1815a2030b9edde64f7f28e8",
    ("cifar10", "paper"): "b0451cf7ea56d0b86fc64d5e3c3750b155f527f54f592662881fc2bd98850e06",
    ("cifar100", "release"): "3bed4caef42d7a7358911ad98a2451e096aacf84974368132f5d2437124a1528",
    ("cifar100", "paper"): "0ad5edc205a04434c309434f6ffb8c8e8e5984d6803c0ee8ed87414fca2a01fa",
}


def sha256(result):
    parts = [result[name] for name in ("train", "valid", "test") if name in result]
    assert len(parts) == len(result)
    assert all(part.dtype == np.int64 for part in parts)
    return hashlib.sha256(np.concatenate(parts).astype("<i8").tobytes()).hexdigest()


@pytest.mark.parametrize("protocol", ["release", "paper"])
@pytest.mark.parametrize(
    ("name", "source"), [(name, source) for name in CATALOGUE for source in CATALOGUE[name].sources]
)
def test_the_indices_are_pinned(name, source, protocol, ready, published):
    if source == "icml2007":
        # The original files are not to be had: their labels are taken to be Basic's, which fixes
        # the rule, and the paper's split whatever the labels.
        labels = load("mnist_basic").labels
        result = (splits.release if protocol == "release" else CATALOGUE[name].paper)(labels)
    else:
        result = load(name, protocol, source).splits
    family = name.split("_")[0]
    pins = REAL if published.is_real else GENERATED
    assert sha256(result) == pins[family, protocol]


def test_the_release_of_mnist_basic_is_the_authors(ready, published):
    if not published.is_real:
        pytest.skip("needs MNIST's real labels")
    data = load("mnist_basic")
    train = data.splits["train"].astype("<i8").tobytes()
    assert hashlib.sha256(train).hexdigest().startswith("a42ab9003b5f")
    assert len(data.splits["test"]) == 12_401  # the released accuracies are multiples of 1/12,401


def test_frey_face_splits_as_one_class(ready):
    sizes = {name: len(indices) for name, indices in load("frey_face").splits.items()}
    assert sizes == {"train": 1572, "test": 393}


@given(st.lists(st.integers(0, 5), min_size=30, max_size=200), st.sampled_from([0.0, 0.1, 0.25]))
def test_stratified_splits_are_a_partition_with_every_class_in_proportion(labels, valid):
    labels = np.array(labels)
    result = splits.stratified(labels, test=0.2, valid=valid)
    assert ("valid" in result) == (valid > 0)
    everything = np.sort(np.concatenate(list(result.values())))
    np.testing.assert_array_equal(everything, np.arange(len(labels)))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert np.sum(labels[result["test"]] == label) == round(0.2 * count)
        assert np.sum(labels[result.get("valid", [])] == label) == round(valid * count)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"])
def test_the_papers_test_images_are_the_published_ones_and_validation_is_stratified(name, ready):
    data = load(name, "paper")
    np.testing.assert_array_equal(
        data.splits["test"], np.arange(len(data.images) - 10_000, len(data.images))
    )
    everything = np.sort(np.concatenate(list(data.splits.values())))
    np.testing.assert_array_equal(everything, np.arange(len(data.images)))
    counts = np.bincount(data.labels[data.splits["valid"]], minlength=data.num_classes)
    # The classes of generated files are not as equally frequent in the training images.
    assert np.ptp(counts) <= 40
    assert counts.sum() == len(data.splits["valid"])


def test_an_unknown_protocol_is_refused():
    with pytest.raises(DataError, match=r"protocol: got 'thesis'; allowed: release, paper"):
        load("digits", "thesis")
