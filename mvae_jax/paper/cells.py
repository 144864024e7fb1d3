"""The paper's cells: its data sets and latent sizes, and the regions that its text speaks of."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mvae_jax.paper import reference

BASELINE, MODEL = "vae", "mvae"  # the two models that the paper compares
MODELS = (MODEL, BASELINE)
PaperCell = tuple[str, int]  # data set, latent size


class Unit(NamedTuple):
    """The mean over `cells`, less that over `less` if there are any."""

    name: str
    cells: tuple[PaperCell, ...]
    less: tuple[PaperCell, ...] = ()


MNIST_VARIANTS = ("mnist_rotated", "mnist_background_images", "mnist_background_random")
MNIST = ("mnist_basic", *MNIST_VARIANTS)
CIFAR = ("cifar10", "cifar100")
LATENT_SIZES = tuple(sorted({key.latent_size for key in reference.release()}))
TABLED = tuple(reference.table_numbers())  # the data sets of Tables I to VII
DATA_SETS = (*TABLED, "frey_face")
CELLS = tuple((dataset, z) for dataset in TABLED for z in LATENT_SIZES)
# The paper's own ranges; it does not say whether its MNIST family includes Fashion-MNIST.
MID_RANGE = {**dict.fromkeys(MNIST, (4, 32)), **dict.fromkeys(CIFAR, (16, 256))}


def is_mid(cell: PaperCell) -> bool:
    """Whether a cell lies in the paper's mid range."""
    dataset, z = cell
    low, high = MID_RANGE.get(dataset, (math.inf, -math.inf))
    return low <= z <= high


def is_low(cell: PaperCell) -> bool:
    """Whether a cell lies below the paper's mid range."""
    dataset, z = cell
    return dataset in MID_RANGE and z < MID_RANGE[dataset][0]


def is_high(cell: PaperCell) -> bool:
    """Whether a cell lies above the paper's mid range."""
    dataset, z = cell
    return dataset in MID_RANGE and z > MID_RANGE[dataset][1]


def cells(*datasets: str, sizes: Iterable[int] = LATENT_SIZES) -> list[PaperCell]:
    """Return the cells of these data sets at these latent sizes."""
    return [(dataset, z) for dataset in datasets for z in sizes]


def units(of: Iterable[PaperCell]) -> tuple[Unit, ...]:
    """Return one unit per cell."""
    return tuple(Unit(f"{dataset} z={z}", ((dataset, z),)) for dataset, z in of)


def together(name: str, of: Iterable[PaperCell], less: Iterable[PaperCell] = ()) -> Unit:
    """Return the mean over cells, less that over others, as one unit."""
    return Unit(name, tuple(of), tuple(less))


def steps(datasets: Iterable[str], sizes: Sequence[int] = LATENT_SIZES) -> tuple[Unit, ...]:
    """Return the steps from one latent size to the next."""
    return tuple(
        Unit(f"{dataset} z={z} to {larger}", ((dataset, larger),), ((dataset, z),))
        for dataset in datasets
        for z, larger in itertools.pairwise(sizes)
    )


ALL = units(CELLS)
MID_LESS_REST = tuple(
    together(
        dataset,
        filter(is_mid, cells(dataset)),
        [cell for cell in cells(dataset) if not is_mid(cell)],
    )
    for dataset in MID_RANGE
)
MID_LESS_LOW = tuple(
    together(dataset, filter(is_mid, cells(dataset)), filter(is_low, cells(dataset)))
    for dataset in MID_RANGE
)
VARIANTS_LESS_BASIC = tuple(
    together(f"z={z}", cells(*MNIST_VARIANTS, sizes=[z]), [("mnist_basic", z)])
    for z in LATENT_SIZES
)
FREY_FACE = units([("frey_face", 32)])
