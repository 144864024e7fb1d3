"""The digits that ship with scikit-learn: 1,797 real images of 8 x 8 grey pixels."""

from pathlib import Path

import numpy as np

from mvae_jax.datasets.files import Inputs
from mvae_jax.datasets.parsed import Parsed


def make(_inputs: Inputs, _scratch: Path) -> Parsed:
    """Return uint8 images [1797, 8, 8, 1], their values 0 to 16 stretched to 0 to 255."""
    from sklearn.datasets import load_digits  # half a second that the other data sets save

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    provenance = {"files": ["sklearn.datasets.load_digits"]}
    return Parsed(images, data.target.astype(np.int32), 1 / 255, provenance)
