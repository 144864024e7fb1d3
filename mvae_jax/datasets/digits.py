"""The digits that ship with scikit-learn (1,797 real images of 8 x 8 pixels, values 0 to 16)."""

from pathlib import Path

import numpy as np


def read(_data_dir: Path | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns uint8 images [1797, 8, 8, 1], int32 labels [1797] and the pixel scale."""
    from sklearn.datasets import load_digits  # half a second that the other data sets save

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, data.target.astype(np.int32), 1 / 255
