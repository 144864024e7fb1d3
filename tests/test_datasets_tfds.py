"""tfds:NAME: TFDS's builders of images, without TensorFlow, and the errors of others."""

import io
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from mvae_jax.datasets import DataError, load

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 6, 5, 3), np.uint8)


class _Pictures(tfds.core.GeneratorBasedBuilder):
    """Yields arrays, encoded files, open files and paths in turn, and names of classes."""

    VERSION = tfds.core.Version("1.0.0")
    features: dict = {  # noqa: RUF012
        "image": tfds.features.Image(shape=(6, 5, 3)),
        "label": tfds.features.ClassLabel(names=["ant", "bee"]),
    }
    pixels = PIXELS

    def _info(self):
        features = tfds.features.FeaturesDict(self.features)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        splits = {"train": (0, 12), "extra": (0, 1), "test": (12, 20)}
        return {name: self._generate_examples(*of) for name, of in splits.items()}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            stream = io.BytesIO()
            Image.fromarray(self.pixels[number]).save(stream, "PNG")
            path = self.data_path.parent / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.getvalue())
            stream.seek(0)
            forms = (self.pixels[number], stream.getvalue(), stream, str(path))
            yield number, {"image": forms[number % 4], "label": ("ant", "bee")[number % 2]}


class MvaeTestPictures(_Pictures):
    pass


class MvaeTestSplitless(_Pictures):
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 20)}


class MvaeTestNoImage(_Pictures):
    features: dict = {"label": tfds.features.ClassLabel(names=["ant", "bee"])}  # noqa: RUF012


class MvaeTestDeep(_Pictures):
    def _generate_examples(self, first, last):
        yield 0, {"image": PIXELS[0].astype(np.uint16), "label": 0}


class MvaeTestTensorFlow(_Pictures):
    def _split_generators(self, dl_manager):
        import tensorflow  # noqa: F401


class MvaeTestManual(_Pictures):
    def _split_generators(self, dl_manager):
        raise AssertionError("place the file by hand")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))


def test_a_builders_images_classes_and_splits_are_read_and_kept(monkeypatch):
    data = load("tfds:mvae_test_pictures", "paper")
    np.testing.assert_array_equal(data.images, PIXELS)
    np.testing.assert_array_equal(data.labels, np.arange(20) % 2)
    assert {name: (i[0], len(i)) for name, i in data.splits.items()} == {
        "train": (0, 12),
        "test": (12, 8),
    }
    assert "tensorflow" not in sys.modules
    monkeypatch.setattr(tfds, "builder", None)  # what is in the cache is not read again
    again = load("tfds:mvae_test_pictures", "paper")
    np.testing.assert_array_equal(again.images, data.images)
    np.testing.assert_array_equal(again.splits["test"], data.splits["test"])


def test_without_a_test_split_the_protocol_splits():
    splits = load("tfds:mvae_test_splitless", "paper").splits
    assert {name: len(i) for name, i in splits.items()} == {"train": 14, "valid": 2, "test": 4}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_set", "cannot be read .DatasetNotFoundError"),
        ("mvae_test_no_image", "holds label; allowed: one image, and at most one class"),
        ("mvae_test_deep", "train 0: pixels of uint16; allowed: uint8"),
        ("mvae_test_tensor_flow", "its builder needs TensorFlow.; save it as an .npz or Parquet"),
        ("mvae_test_manual", "AssertionError: place the file by hand"),
        ("../x", "allowed: tfds:NAME or tfds:NAME/CONFIG"),
        ("", "allowed: tfds:NAME or tfds:NAME/CONFIG"),
    ],
)
def test_a_name_that_cannot_be_read_is_answered_in_one_line(name, said):
    with pytest.raises(DataError, match=said) as raised:
        load(f"tfds:{name}")
    assert "\n" not in str(raised.value)


def test_a_source_is_refused():
    with pytest.raises(DataError, match="got source 'icml2007'; allowed: none"):
        load("tfds:mvae_test_pictures", source="icml2007")
