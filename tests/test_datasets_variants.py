"""The MNIST variants: made again from MNIST, and read from files in the original format."""

import hashlib
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import affine_transform

from mvae_jax.datasets import DataError, catalogue, files, icml2007, load, photographs, regenerated
from mvae_jax.datasets.files import Inputs
from mvae_jax.paper import reference
from mvae_jax.report import scores
from tests.conftest import ROOT, SHARED_DATA

VARIANTS = tuple(icml2007.ARCHIVES)

# SHA-256 of the bytes of all 62,000 images, made from the real MNIST.
MADE = {
    "mnist_basic": "ab494d8e8f4fed7de08c2e958a8841fb6cd0914137307877003bbe6d903424ce",
    "mnist_rotated": "7d66f27537303b4de368e804ab78f96ee75dd28e496813bd43a2413bcf4862ce",
    "mnist_background_images": "40dc4f8ebcbae33fbf844630d16fef50287e7ad322a374a3f9db7cac393c3bbf",
    "mnist_background_random": "d9722884ead6d8515cf4ff9cce9714426f500bbb8d79614a9cfb6a198640059f",
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- made again --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_the_regenerated_pixels_are_pinned(name, ready, published):
    if not published.is_real:
        pytest.skip("pinned for the real MNIST")
    data = load(name)
    assert data.source == "regenerated"
    assert hashlib.sha256(data.images.tobytes()).hexdigest() == MADE[name]


def test_labels_and_splits_are_those_of_mnist_basic(ready):
    basic = load("mnist_basic")
    for name in VARIANTS[1:]:
        variant = load(name)
        np.testing.assert_array_equal(variant.labels, basic.labels)
        np.testing.assert_array_equal(variant.splits["test"], basic.splits["test"])


def test_the_digit_is_on_top_of_the_background(ready):
    digits = load("mnist_basic").images
    for name in ("mnist_background_random", "mnist_background_images"):
        images = load(name).images
        assert np.all(images >= digits)
        np.testing.assert_array_equal(images[digits == 255], 255)


def test_the_noise_is_uniform_over_the_grey_levels(ready):
    noise = load("mnist_background_random").images[:, :2]  # MNIST's first two rows are empty
    counts = np.bincount(noise.ravel(), minlength=256)
    expected = noise.size / 256
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def smooth_digit():
    """Returns a lopsided blot that, as MNIST's digits, is dark at the border."""
    y, x = np.mgrid[:28, :28] - 13.5
    return np.round(200 * np.exp(-((x - 3) ** 2 + (2 * y - 1) ** 2) / 25)).astype(np.uint8)


class Angle(np.random.Generator):
    """A generator that draws the angle it was given."""

    def __init__(self, radians):
        super().__init__(np.random.PCG64())
        self.radians = radians

    def uniform(self, low, high, size):
        assert (low, high) == (0, 2 * np.pi)
        return np.full(size, self.radians)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_quarter_turn_moves_pixels_without_changing_them(quarters, rng):
    digit = rng.integers(256, size=(1, 28, 28), dtype=np.uint8)
    (turned,) = regenerated.rotate(digit, Angle(quarters * np.pi / 2))
    inner = (slice(1, -1),) * 2  # a corner's source lies outside by a rounding error
    np.testing.assert_array_equal(turned[inner], np.rot90(digit[0], quarters)[inner])


@pytest.mark.parametrize("degrees", [17, 45, 133, 290])
def test_rotation_agrees_with_pillows(degrees):
    digit = smooth_digit()
    (ours,) = regenerated.rotate(digit[None], Angle(np.radians(degrees)))
    theirs = Image.fromarray(digit).rotate(degrees, Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 2


def test_cubic_splines_would_be_about_as_hard_as_the_releases_rotations(tmp_path, monkeypatch):
    """What principal components leave of digits so turned, over what they leave of ours, is what
    the released errors are over ours; without interpolation they would leave far more."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data in {SHARED_DATA}")
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path))
    digits = load("mnist_basic", data_dir=SHARED_DATA).images[:2000, ..., 0]

    def left_over(order):
        def turn(digit, *arguments, **options):
            return affine_transform(digit, *arguments, **options | {"order": order}).clip(0, 255)

        with monkeypatch.context() as patch:
            patch.setattr("scipy.ndimage.affine_transform", turn)
            turned = regenerated.rotate(digits, np.random.default_rng(0)).reshape(len(digits), -1)
        variances = np.linalg.eigvalsh(np.cov(turned.T))[::-1]
        return np.array([variances[z:].sum() for z in sizes])

    sizes = (2, 4, 16, 32)
    found = scores.read(ROOT / "launch/results")
    errors = {
        cell.latent_size: found.summary(cell, "mse").mean
        for cell in found.cells
        if (cell.setting.dataset, cell.model) == ("mnist_rotated", "vae")
    }
    released = [float(reference.release()["mse", "mnist_rotated", z, "vae"]) for z in sizes]
    harder = np.array(released) / [errors[z] for z in sizes]
    nearest, bilinear, cubic = map(left_over, (0, 1, 3))
    np.testing.assert_allclose(cubic / bilinear, harder, atol=0.07)
    assert (nearest / bilinear > harder + 0.07).all()


def test_the_angles_are_uniform_over_a_full_turn(monkeypatch):
    """A bar's direction is found again from the second moments of the turned images."""
    bar = np.zeros((28, 28), np.uint8)
    bar[13:15, 14:24] = 255  # from the centre to the right, so that a half turn shows
    images = regenerated.rotate(np.repeat(bar[None], 2000, 0), np.random.default_rng(3))
    y, x = np.mgrid[:28, :28] - 13.5
    mass = images.sum((1, 2))
    angles = np.arctan2((images * y).sum((1, 2)) / mass, (images * x).sum((1, 2)) / mass)
    counts, _ = np.histogram(angles, bins=8, range=(-np.pi, np.pi))
    assert np.abs(counts - 250).max() < 5 * np.sqrt(250)


def test_patches_have_texture_and_come_from_the_photographs(rng):
    flat = np.full((100, 100), 90, np.uint8)
    textured = rng.integers(256, size=(60, 80), dtype=np.uint8)
    patches = photographs.patches([flat, textured], 40, rng)
    assert patches.shape == (40, 28, 28)
    windows = np.lib.stride_tricks.sliding_window_view(textured, (28, 28))
    found = [np.argwhere(np.all(windows == patch, axis=(2, 3))) for patch in patches]
    assert {len(places) for places in found} == {1}
    top, left = np.concatenate(found).T
    assert top.max() > 25 > 7 > top.min()  # of 0 to 32
    assert left.max() > 45 > 7 > left.min()  # of 0 to 52


def test_texture_is_a_deviation_of_20_grey_levels():
    for deviation, is_kept in ((19, False), (20, True), (21, True)):
        half = np.full((28, 14), 100 - deviation, np.uint8)
        photograph = np.hstack([half, half + 2 * deviation])
        assert photograph.std() == deviation
        if is_kept:
            np.testing.assert_array_equal(
                photographs.patches([photograph], 1, np.random.default_rng(0))[0], photograph
            )
        else:
            with pytest.raises(DataError, match="deviation below 20 grey levels"):
                photographs.patches([photograph], 1, np.random.default_rng(0))


def test_photographs_without_texture_are_refused(rng):
    with pytest.raises(DataError, match="photographs: 100 squares were drawn from them, all"):
        photographs.patches([np.full((100, 100), 90, np.uint8)], 100, rng)


def test_the_users_photographs_are_used_and_named(ready, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("mvae_jax.datasets.mnist.BASIC_SIZE", 100)
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(rng.integers(256, size=(90, 70), dtype=np.uint8)).save(folder / "a.png")
    first = load("mnist_background_images", photographs=folder)
    assert first.provenance["photographs"] == 1
    Image.fromarray(rng.integers(256, size=(90, 70, 3), dtype=np.uint8)).save(folder / "b.jpg")
    second = load("mnist_background_images", photographs=folder)
    assert second.provenance["photographs"] == 2
    assert second.provenance["photographs_digest"] != first.provenance["photographs_digest"]
    assert not np.array_equal(first.images, second.images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "which is no folder"),
        ({}, "holds no .jpg, .jpeg or .png file"),
        ({"a.jpg": b"<html>not found</html>"}, "not readable as an image"),
        ({"a.png": (20, 40)}, "40 x 20 pixels; allowed: at least 28 x 28"),
    ],
)
def test_unusable_photographs_are_refused(content, message, tmp_path):
    folder = tmp_path / "photographs"
    if content is not None:
        folder.mkdir()
        for name, what in content.items():
            if isinstance(what, bytes):
                (folder / name).write_bytes(what)
            else:
                Image.new("L", what[::-1]).save(folder / name)
    with pytest.raises(DataError, match=message):
        photographs.read(Inputs(photographs=folder))


def test_photographs_for_another_data_set_are_refused(ready, tmp_path):
    for name, source in (("digits", ""), ("mnist_background_images", "icml2007")):
        with pytest.raises(DataError, match=r"photographs: got .*only for mnist_background_images"):
            load(name, source=source, photographs=tmp_path)


# --- the original format -----------------------------------------------------------------------

SIZES = (120, 500)


def amat(images, labels, column_major=False):
    """Returns the text of an .amat file, as the ICML 2007 files are written."""
    rows = (images.transpose(0, 2, 1) if column_major else images).reshape(-1, 784)
    lines = (
        "   ".join(f"{value:.8g}" for value in row) + f"   {label:.1f}\n"
        for row, label in zip(rows, labels, strict=True)
    )
    return "".join(lines).encode()


@pytest.fixture
def originals(ready, tmp_path, monkeypatch):
    """Digits and a function that writes them in the original format, 120 and 500 images."""
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(icml2007, "SIZES", SIZES)
    basic = load("mnist_basic")
    images, labels = basic.images[: sum(SIZES), ..., 0], basic.labels[: sum(SIZES)]
    folder = tmp_path / "data" / "icml2007"
    folder.mkdir(parents=True)

    def write(name, values, archive=False):
        _, members, column_major = icml2007.ARCHIVES[name]
        texts = [
            amat(values[:120], labels[:120], column_major),
            amat(values[120:], labels[120:], column_major),
        ]
        if not archive:
            for member, text in zip(members, texts, strict=True):
                (folder / member).write_bytes(text)
            return folder.parent
        path = folder / icml2007.ARCHIVES[name].file.name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as unzipped:
            for member, text in zip(members, texts, strict=True):
                unzipped.writestr(member, text)
            unzipped.writestr("../escaped.txt", "no")
        file = icml2007.ARCHIVES[name].file._replace(digest=files.digest(path, "sha1"))
        patched = icml2007.ARCHIVES[name]._replace(file=file)
        monkeypatch.setitem(icml2007.ARCHIVES, name, patched)
        return folder.parent

    return images, labels, write


@pytest.mark.parametrize("archive", [False, True], ids=["unpacked", "zip"])
@pytest.mark.parametrize("denominator", [255, 256])
@pytest.mark.parametrize("name", VARIANTS)
def test_amat_files_come_back_byte_for_byte(name, denominator, archive, originals, tmp_path):
    images, labels, write = originals
    data_dir = write(name, images / denominator, archive)
    data = load(name, source="icml2007", data_dir=data_dir)
    assert data.source == "icml2007"
    np.testing.assert_array_equal(data.images[..., 0], images)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.pixel_scale == 1 / denominator
    assert data.provenance["pixel_denominator"] == denominator
    assert data.provenance["largest_quantisation_error"] < 1e-6
    assert not list(tmp_path.rglob("escaped.txt"))
    again = load(name, source="icml2007", data_dir=data_dir)
    np.testing.assert_array_equal(again.images, data.images)


def test_interpolated_pixels_are_quantised_once_and_the_error_is_recorded(originals, rng):
    images, _, write = originals
    values = np.clip(images / 255 + rng.uniform(0, 1 / 255, images.shape), 0, 1)
    data = load("mnist_rotated", source="icml2007", data_dir=write("mnist_rotated", values))
    assert data.pixel_scale == 1 / 255  # 1.0 occurs, which is no v/256
    error = np.abs(data.images[..., 0] * data.pixel_scale - values).max()
    assert data.provenance["largest_quantisation_error"] == pytest.approx(error, abs=1e-6)
    assert 0.4 / 255 < error <= 0.5 / 255 + 1e-6


def test_changed_amat_files_are_read_anew(originals):
    images, _, write = originals
    load("mnist_basic", source="icml2007", data_dir=write("mnist_basic", images / 256))
    changed = load("mnist_basic", source="icml2007", data_dir=write("mnist_basic", images / 512))
    assert changed.images.max() <= 128


def test_sources_are_not_mixed(originals):
    images, _, write = originals
    data_dir = write("mnist_rotated", images / 255)
    original = load("mnist_rotated", source="icml2007", data_dir=data_dir)
    assert len(original.images) == sum(SIZES)
    assert catalogue.key("mnist_rotated", "icml2007", Inputs(data_dir)) != catalogue.key(
        "mnist_rotated", "regenerated", Inputs(data_dir)
    )
    with pytest.raises(DataError, match="source: got 'icml' for mnist_rotated; allowed: regen"):
        load("mnist_rotated", source="icml")
    with pytest.raises(DataError, match="source: got 'icml2007' for cifar10; allowed: none"):
        load("cifar10", source="icml2007")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a table of numbers|a table of"),
        (lambda text: b"<html>404</html>\n", "not a table of numbers"),
        (lambda text: b"\xff\xfe" + text, "not a table of numbers"),
        (lambda text: b"nan" + text[1:], r"pixels from nan to nan; allowed: \[0, 1\]"),
        (lambda text: b"-1" + text[1:], r"pixels from -1.0 to .*; allowed: \[0, 1\]"),
        (lambda text: text[: text.rindex(b" ")] + b" 10.0\n", "labels from 0.0 to 10.0"),
        (lambda text: text[: text.rindex(b" ")] + b" 1.5\n", "labels from 0.0 to 9.0"),
        (lambda text: text + text, r"a table of \(240, 785\); allowed: \(120, 785\)"),
    ],
)
def test_damaged_amat_files_are_refused(spoil, message, originals):
    images, _, write = originals
    path = write("mnist_basic", images / 256) / "icml2007" / "mnist_train.amat"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=f"mnist_train.amat: ({message})"):
        load("mnist_basic", source="icml2007", data_dir=path.parents[1])
