"""The paper's claims, each as data; audit.py judges them.

A claim names metrics and *units*: sets of cells over which MVAE's gain on VAE is averaged, less
the gain on other cells where the claim compares two regions. The wording is paraphrased.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from mvae_jax.paper import reference
from mvae_jax.report.metrics import CALIBRATION, PAPER, STRUCTURE

Place = tuple[str, int]  # data set, latent size


class Unit(NamedTuple):
    """The gain over `cells`, less that over `less` where there are any."""

    name: str
    cells: tuple[Place, ...]
    less: tuple[Place, ...] = ()


class Claim(NamedTuple):
    """One claim of the paper and the quantity that tests it.

    The abstracts of the paper's two versions differ and are told apart by (v1) and (v2).

    each:   whether the claim is of every unit, or of their average; an average is one of gains
            relative to VAE's value, so that data sets of another scale weigh the same
    margin: how much worse than VAE, as a share of its value, still counts as no worse
    limit:  what MVAE's own value may not be worse than, in a claim on every unit of one cell
    """

    where: str
    says: str
    tested_by: str
    metrics: tuple[str, ...]
    units: tuple[Unit, ...]
    each: bool = False
    margin: float = 0.0
    limit: float | None = None


MNIST_VARIANTS = ("mnist_rotated", "mnist_background_images", "mnist_background_random")
MNIST = ("mnist_basic", *MNIST_VARIANTS)
CIFAR = ("cifar10", "cifar100")
LATENT_SIZES = tuple(sorted({key.latent_size for key in reference.release()}))
DATA_SETS = (*reference.table_numbers(), "frey_face")
CELLS = tuple((dataset, z) for dataset in reference.table_numbers() for z in LATENT_SIZES)
# The paper's own ranges; whether its MNIST family holds Fashion-MNIST it does not say.
MID_RANGE = {**dict.fromkeys(MNIST, (4, 32)), **dict.fromkeys(CIFAR, (16, 256))}


def _mid_range(place: Place) -> bool:
    dataset, z = place
    low, high = MID_RANGE.get(dataset, (math.inf, -math.inf))
    return low <= z <= high


def _low(place: Place) -> bool:
    dataset, z = place
    return dataset in MID_RANGE and z < MID_RANGE[dataset][0]


def _high(place: Place) -> bool:
    dataset, z = place
    return dataset in MID_RANGE and z > MID_RANGE[dataset][1]


def _cells(places: Iterable[Place]) -> tuple[Unit, ...]:
    """Returns one unit per cell."""
    return tuple(Unit(f"{dataset} z={z}", ((dataset, z),)) for dataset, z in places)


def _of(*datasets: str) -> list[Place]:
    return [place for place in CELLS if place[0] in datasets]


ALL = _cells(CELLS)
MID_RANGE_LESS_REST = tuple(
    Unit(
        dataset,
        tuple(place for place in _of(dataset) if _mid_range(place)),
        tuple(place for place in _of(dataset) if not _mid_range(place)),
    )
    for dataset in MID_RANGE
)
VARIANTS_LESS_BASIC = tuple(
    Unit(f"z={z}", tuple((d, z) for d in MNIST_VARIANTS), (("mnist_basic", z),))
    for z in LATENT_SIZES
)
FREY_FACE = _cells([("frey_face", 32)])
LABELLED = PAPER[1:]  # all but the reconstruction

CLAIMS = (
    Claim(
        "Abstract (v1)",
        "MVAE consistently matches or improves reconstruction.",
        "MSE in every cell; within 1% counts as a match, in print an equal figure",
        ("mse",),
        ALL,
        each=True,
        margin=0.01,
    ),
    Claim(
        "Abstract (v1), V.B",
        "MVAE gives robust gains in calibration.",
        "NLL, Brier and ECE, each averaged over all cells",
        CALIBRATION,
        ALL,
    ),
    Claim(
        "Abstract (v1), V.B",
        "MVAE gives robust gains in unsupervised structure.",
        "NMI and ARI, each averaged over all cells",
        STRUCTURE,
        ALL,
    ),
    Claim(
        "Abstract (v1), VI",
        "The gains are largest at mid-range latent sizes.",
        "the gain at mid-range z less that at the other z, averaged over data sets",
        (*CALIBRATION, *STRUCTURE),
        MID_RANGE_LESS_REST,
    ),
    Claim(
        "Abstract (v2)",
        "The gains are notable at low latent sizes.",
        "NLL, Brier, ECE, NMI and ARI, each averaged over the cells below the mid-range",
        (*CALIBRATION, *STRUCTURE),
        _cells(filter(_low, CELLS)),
    ),
    Claim(
        "Abstract (v2)",
        "The gains are notable at high latent sizes.",
        "NLL, Brier, ECE, NMI and ARI, each averaged over the cells above the mid-range",
        (*CALIBRATION, *STRUCTURE),
        _cells(filter(_high, CELLS)),
    ),
    Claim(
        "Abstract (v2)",
        "MVAE matches or outperforms VAE as a representation.",
        "probe accuracy, averaged over all cells; within 1% counts as a match, in print more wins",
        ("probe_accuracy",),
        ALL,
        margin=0.01,
    ),
    Claim(
        "Abstract (v2), I",
        "MVAE's latent dimensions are less entangled and less redundant.",
        "mean |correlation| and Gaussian total correlation of mu, averaged over all cells; both "
        "are of all coordinates, and weigh unused ones like the others",
        ("off_diagonal_correlation", "total_correlation"),
        ALL,
    ),
    Claim(
        "V.B",
        "MVAE gains at mid-range z (4 to 32 on the MNIST family, 16 to 256 on CIFAR).",
        "the six metrics of labels, each averaged over the mid-range cells",
        LABELLED,
        _cells(filter(_mid_range, CELLS)),
    ),
    Claim(
        "V.B.a",
        "MVAE gains on Rotated at z=16.",
        "all seven metrics in that cell",
        PAPER,
        _cells([("mnist_rotated", 16)]),
        each=True,
    ),
    Claim(
        "V.B.c",
        "MVAE is better calibrated on CIFAR-10 at z = 16, 256 and 512.",
        "NLL, Brier and ECE in each of the three cells",
        CALIBRATION,
        _cells([("cifar10", 16), ("cifar10", 256), ("cifar10", 512)]),
        each=True,
    ),
    Claim(
        "V.B.c",
        "MVAE shows steady gains across z on CIFAR-100.",
        "the six metrics of labels at every z",
        LABELLED,
        _cells(_of("cifar100")),
        each=True,
    ),
    Claim(
        "V.C",
        "MVAE improves the test ELBO.",
        "ELBO, averaged over z on every data set (likelihoods may differ between them); the "
        "paper prints none",
        ("elbo",),
        tuple(Unit(dataset, tuple(_of(dataset))) for dataset in reference.table_numbers()),
        each=True,
    ),
    Claim(
        "V.D",
        "MVAE reconstructs FreyFace with a smaller error (Fig. 3).",
        "MSE of the first 48 images at z=32, from a sampled z",
        ("mse_first_48",),
        FREY_FACE,
        each=True,
    ),
    Claim(
        "Abstract, V.D",
        "MVAE's latent sweeps are smoother and more monotone (Fig. 4).",
        "FreyFace z=32, the sweep of z_0 and z_1: second over first differences of pixels, and net "
        "over total change",
        ("sweep_roughness", "sweep_monotonicity"),
        FREY_FACE,
        each=True,
    ),
    Claim(
        "V.D",
        "VAE's sweeps have flat regions that MVAE's have not.",
        "FreyFace z=32: the share of steps that change the mean pixel by less than 0.01, less than "
        "VAE's and of MVAE no more than 5%",
        ("sweep_flatness",),
        FREY_FACE,
        each=True,
        limit=0.05,
    ),
    Claim(
        "Abstract (v2), V.D",
        "MVAE's reconstructions are sharper.",
        "energy above half the highest frequency, over the input's, averaged over all cells",
        ("high_frequency_energy",),
        (*ALL, *FREY_FACE),
    ),
    Claim(
        "I, VI",
        "MVAE avoids collapse: more latent dimensions are used.",
        "eigenvalues of Cov(mu) above 0.01, averaged over all cells; not active units, which "
        "C's mixing alone raises",
        ("active_directions",),
        ALL,
    ),
    Claim(
        "I",
        "MVAE is more robust: its gain is larger on corrupted digits.",
        "the gain on Rotated and Background less that on Basic, averaged over z",
        LABELLED,
        VARIANTS_LESS_BASIC,
    ),
    Claim(
        "Abstract (v1: matched, v2: comparable), IV.B",
        "The models have matched capacity.",
        "learned numbers in every cell; within 1% counts as matched",
        ("num_parameters",),
        ALL,
        each=True,
        margin=0.01,
    ),
    Claim(
        "VI",
        "MVAE's overhead is modest.",
        "median time of an epoch's steps in every cell, of the same code on the same devices with "
        "as many seeds at once; up to 25% more counts as modest; a timing each, without interval",
        ("epoch_seconds",),
        ALL,
        each=True,
        margin=0.25,
    ),
)


class Growth(NamedTuple):
    """A claim on how a cost that MVAE adds grows with z: its exponent, fitted over a data set."""

    where: str
    says: str
    tested_by: str
    metrics: tuple[str, ...]


COST = Growth(
    "II.c, IV.F",
    "MVAE's per-sample cost is linear in z.",
    "exponent of z in what MVAE adds to VAE: counted multiply-adds of one example, and epoch "
    "time; above 1.1 is not linear",
    ("multiply_adds", "epoch_seconds"),
)
LINEAR = 1.1
