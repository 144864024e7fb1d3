"""The paper's cells: its data sets and latent sizes, and the regions that its text speaks of."""

import itertools
from collections.abc import Callable, Iterable
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

    @property
    def all(self) -> tuple[PaperCell, ...]:
        """The cells of both."""
        return self.cells + self.less


BACKGROUND = "mnist_background_images"
MNIST_VARIANTS = ("mnist_rotated", BACKGROUND, "mnist_background_random")
MNIST = ("mnist_basic", *MNIST_VARIANTS)
CIFAR = ("cifar10", "cifar100")
LATENT_SIZES = tuple(sorted({key.latent_size for key in reference.release()}))
TABLED = tuple(reference.table_numbers())  # the data sets of Tables I to VII
DATA_SETS = (*TABLED, "frey_face")
CELLS = tuple((dataset, z) for dataset in TABLED for z in LATENT_SIZES)
# The paper's own ranges; it does not say whether its MNIST family includes Fashion-MNIST.
MID_RANGE = {**dict.fromkeys(MNIST, (4, 32)), **dict.fromkeys(CIFAR, (16, 256))}


def cells(*datasets: str, sizes: Iterable[int] = LATENT_SIZES) -> tuple[PaperCell, ...]:
    """Return the cells of these data sets at these latent sizes."""
    return tuple(itertools.product(datasets, sizes))


def beside_mid(chosen: Callable[[int, int, int], bool]) -> dict[str, tuple[PaperCell, ...]]:
    """Return data set -> its cells that are chosen by z and the ends of the paper's mid range."""
    return {
        dataset: cells(dataset, sizes=[z for z in LATENT_SIZES if chosen(z, low, high)])
        for dataset, (low, high) in MID_RANGE.items()
    }


def units(of: Iterable[PaperCell]) -> tuple[Unit, ...]:
    """Return one unit per cell."""
    return tuple(Unit(f"{dataset} z={z}", ((dataset, z),)) for dataset, z in of)


def steps(by_dataset: Iterable[Iterable[PaperCell]]) -> tuple[Unit, ...]:
    """Return the steps from one latent size of a data set to the next."""
    return tuple(
        Unit(f"{dataset} z={z} to {larger}", ((dataset, larger),), ((dataset, z),))
        for of in by_dataset
        for (dataset, z), (_, larger) in itertools.pairwise(of)
    )


BELOW_MID = beside_mid(lambda z, low, _: z < low)
IN_MID = beside_mid(lambda z, low, high: low <= z <= high)
ABOVE_MID = beside_mid(lambda z, _, high: z > high)
REGIMES = {"digits": MNIST, "fashion": ("fashion_mnist",), "CIFAR": CIFAR}
REGIONS = {
    "below mid": units(cell for cell in CELLS if cell in BELOW_MID.get(cell[0], ())),
    "above mid": units(cell for cell in CELLS if cell in ABOVE_MID.get(cell[0], ())),
    "mid less rest": tuple(
        Unit(of, mid, BELOW_MID[of] + ABOVE_MID[of]) for of, mid in IN_MID.items()
    ),
    "mid less below": tuple(Unit(of, mid, BELOW_MID[of]) for of, mid in IN_MID.items()),
    "data sets": tuple(Unit(of, cells(of)) for of in TABLED),
    "regimes": tuple(Unit(name, cells(*of)) for name, of in REGIMES.items()),
    **{
        f"{name} less basic": tuple(
            Unit(title.format(z), cells(*of, sizes=[z]), (("mnist_basic", z),))
            for z in LATENT_SIZES
        )
        for name, title, of in (
            ("variants", "z={}", MNIST_VARIANTS),
            *((of, f"{of} z={{}}", (of,)) for of in MNIST_VARIANTS),
        )
    },
    "steps": steps(map(cells, TABLED)),
    "steps to 256": steps(cells(of, sizes=LATENT_SIZES[:-1]) for of in TABLED),
    "steps to 512": steps(cells(of, sizes=LATENT_SIZES[-2:]) for of in TABLED),
    "steps from mid": steps(IN_MID[of] + ABOVE_MID[of] for of in MID_RANGE),
    # The rows that the paper calls atypical, each against every other row of the table.
    "atypical": tuple(
        Unit(f"z={z} and {other}", cells(BACKGROUND, sizes=[z]), cells(BACKGROUND, sizes=[other]))
        for z in (16, 256)
        for other in (2, 4, 32, 512)
    ),
}
GROUPS = {"tables": TABLED, "digit variants": MNIST_VARIANTS}


def find(name: str) -> tuple[Unit, ...]:
    """Return the units of a region, or the cells of data sets: `tables`, `cifar10 at 256, 512`."""
    of, _, sizes = name.partition(" at ")
    chosen = map(int, sizes.split(",")) if sizes else LATENT_SIZES
    return REGIONS.get(name) or units(cells(*GROUPS.get(of, (of,)), sizes=chosen))
