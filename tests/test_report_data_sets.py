"""The paper's Figure 1 from the samples file."""

import numpy as np
import pytest

from mvae_jax.datasets import samples
from mvae_jax.report import figures


def test_figure_1_shows_the_pixels_of_every_data_set(tmp_path, monkeypatch):
    """Digits are real; the others cannot be had here, and are left out by name."""
    monkeypatch.setenv("MVAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(samples, "CATALOGUE", {"digits": samples.CATALOGUE["digits"]})
    assert samples.write(tmp_path / "samples.npz") == {}
    figure = figures.pictures.data_sets(tmp_path / "samples.npz")
    (axes,) = figure.axes
    assert axes.get_ylabel() == "digits"
    (image,) = axes.get_images()
    with np.load(tmp_path / "samples.npz") as arrays:
        first = arrays["images_digits"][0, :, :, 0] / 255
    np.testing.assert_allclose(image.get_array()[:8, :8], first)
    drawn = figures.draw_data_sets(tmp_path / "samples.npz", tmp_path)
    assert drawn.path.is_file()


def test_a_damaged_samples_file_is_named(tmp_path):
    (tmp_path / "samples.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"samples\.npz"):
        figures.draw_data_sets(tmp_path / "samples.npz", tmp_path)
