"""Natural photographs, and the textured patches that are cut from them as backgrounds.

By default the two photographs that ship with scikit-learn, a dependency anyway. scikit-image ships
a few more (a cat, a coffee cup, a rocket), but is a wheel of 14 MB and four dependencies for them.
A folder of the user's own (BSDS500, say) gives more variety.
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

Photograph = UInt8[np.ndarray, "_ _"]  # of a list, each of its own size


def read(inputs: Inputs) -> list[Photograph]:
    """Return grey photographs, in the order of their names.

    Raises:
      DataError: the folder holds no .jpg or .png file, or one that cannot be used.
    """
    return [_grey(path) for path in _listed(inputs.photographs)]


def digest(inputs: Inputs) -> str:
    """Return 12 hexadecimal digits that change with any photograph's bytes."""
    return digest_all(_listed(inputs.photographs))


def patches(
    photographs: list[Photograph], num: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "{num} 28 28"]:
    """Return random squares of random photographs, drawn again while they have little texture.

    Raises:
      DataError: as many squares as asked for were drawn, and none has texture.
    """
    kept = np.empty((0, SIZE, SIZE), np.uint8)
    while len(kept) < num:
        which = rng.integers(len(photographs), size=num)
        corners = rng.random((num, 2))
        squares = np.stack(
            [_square(photographs[k], corner) for k, corner in zip(which, corners, strict=True)]
        )
        textured = squares[_is_textured(squares)]
        if len(textured) == 0:
            raise DataError(
                f"photographs: {num:,} squares were drawn from them, all with a deviation below "
                f"{MIN_DEVIATION} grey levels; use others"
            )
        kept = np.concatenate([kept, textured])
    return kept[:num]


def _square(photograph: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Cut a square whose corner is given as a share, in [0, 1), of where it may lie."""
    top, left = (corner * (np.array(photograph.shape) - SIZE + 1)).astype(int)
    return photograph[top : top + SIZE, left : left + SIZE]


def _is_textured(squares: np.ndarray) -> np.ndarray:
    """Compare the standard deviations in integers: the same answer on every machine."""
    n = SIZE * SIZE
    sums = squares.sum((1, 2), dtype=np.int64)
    sums_of_squares = np.einsum("nij,nij->n", squares, squares, dtype=np.int64)
    return n * sums_of_squares - sums**2 >= (n * MIN_DEVIATION) ** 2


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
