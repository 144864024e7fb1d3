"""Natural photographs, and the textured patches that are cut from them as backgrounds.

By default the two photographs that ship with scikit-learn, a dependency anyway; scikit-image has
a dozen, but only four of them natural scenes, and weighs 13 MB with its own dependencies. A folder
of the user's own (BSDS500, say) gives more variety.
"""

from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import Inputs, digest_all

SIZE = 28

# The ICML 2007 page says only that patches of low pixel variance were ignored; grey levels.
MIN_DEVIATION = 20

Photograph = UInt8[np.ndarray, "height width"]


def read(inputs: Inputs) -> list[Photograph]:
    """Returns grey photographs, in the order of their names.

    Raises:
      DataError: the folder holds no .jpg or .png file, or one that cannot be used.
    """
    return [_grey(path) for path in _listed(inputs.photographs)]


def digest(inputs: Inputs) -> str:
    """Returns 12 hexadecimal digits that change with any photograph's bytes."""
    return digest_all(_listed(inputs.photographs))


def patch(photographs: list[Photograph], rng: np.random.Generator) -> UInt8[np.ndarray, "28 28"]:
    """Returns a random square of a random photograph, drawn again while it has little texture."""
    for _ in range(10_000):
        photograph = photographs[rng.integers(len(photographs))]
        top, left = rng.integers(np.array(photograph.shape) - SIZE + 1)
        square = photograph[top : top + SIZE, left : left + SIZE]
        if _textured(square):
            return square
    raise DataError(
        f"photographs: 10,000 patches in a row have a deviation below {MIN_DEVIATION} grey "
        "levels; use others"
    )


def _textured(square: Photograph) -> bool:
    """Compares the standard deviation, in integers: the same answer on every machine."""
    values = square.ravel().astype(np.int64)
    n = values.size
    return n * int(values @ values) - int(values.sum()) ** 2 >= (n * MIN_DEVIATION) ** 2


def _listed(folder: Path | None) -> list[Path]:
    if folder is None:
        shipped = package_files("sklearn.datasets.images")
        return [Path(str(shipped / name)) for name in ("china.jpg", "flower.jpg")]
    if not folder.is_dir():
        raise DataError(f"photographs: got '{folder}', which is no folder")
    paths = [path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not paths:
        raise DataError(f"photographs: {folder} holds no .jpg, .jpeg or .png file")
    return sorted(paths, key=lambda path: path.name)


def _grey(path: Path) -> Photograph:
    from PIL import Image

    try:
        with Image.open(path) as image:
            # A JPEG's own luminance plane: colour conversion differs between decoders.
            image.draft("L", image.size)
            photograph = np.asarray(image.convert("L"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"photographs: {path} is not readable as an image ({error})") from error
    if min(photograph.shape) < SIZE:
        raise DataError(
            f"photographs: {path} has {photograph.shape[1]} x {photograph.shape[0]} pixels; "
            f"allowed: at least {SIZE} x {SIZE}"
        )
    return photograph
