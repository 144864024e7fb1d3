"""The figures to compare with: the paper's tables as printed, and the author's release.

Figures stay the strings of the files, so that they can be shown with the digits that were
printed. README.md beside this file names their source.
"""

import csv
from importlib import resources
from typing import NamedTuple

from mvae_jax.report.metrics import PAPER


class Key(NamedTuple):
    """One figure of the paper."""

    metric: str
    dataset: str
    latent_size: int
    model: str


Figures = dict[Key, str]

# Their pixels are the ones that the paper used, from whatever source; the other MNIST variants
# are where they are read from the files of 2007.
ORIGINAL_SOURCE = "icml2007"
ORIGINAL_PIXELS = ("mnist_basic", "fashion_mnist", "cifar10", "cifar100")

# Figure 3's text: mean pixel MSE over FreyFace's first 48 images, at a sampled z.
FREY_FACE = {
    Key("mse_first_48", "frey_face", 32, "vae"): "4.984e-3",
    Key("mse_first_48", "frey_face", 32, "mvae"): "4.872e-3",
}


# The networks: Section IV.B's layer of 500 units between the pixels and z, the same back, and C.
PIXELS = {"cifar10": 3072, "cifar100": 3072}
USUAL_PIXELS = 784
HIDDEN = 500


def printed(*, corrected: bool) -> Figures:
    """Return Tables I to VII, the rows under their printed or their corrected latent size."""
    column = "latent_matched" if corrected else "latent_printed"
    return _figures("paper_tables.csv", column) | FREY_FACE


def release() -> Figures:
    """Return the author's released figures."""
    return _figures("author_release.csv", "latent")


def pixels(dataset: str) -> int:
    """Return the numbers in one image of a data set of the tables."""
    return PIXELS.get(dataset, USUAL_PIXELS)


def network_sizes(dataset: str, latent_size: int, model: str) -> dict[str, float]:
    """Return num_parameters and multiply_adds of a network as described, counted as for a run."""
    n, z = pixels(dataset), latent_size
    weights = 2 * n * HIDDEN + 3 * z * HIDDEN  # mean, variance and decoder meet z
    biases = 2 * HIDDEN + 2 * z + n
    coupling = z * z if model == "mvae" else 0
    return {
        "num_parameters": float(weights + biases + coupling),
        "multiply_adds": float(weights + 2 * coupling),  # C times the mean, C times the noise
    }


def unconverged() -> set[tuple[str, int, str]]:
    """Return the data set, latent size and model of the released probes that did not converge."""
    return {
        (row["dataset"], int(row["latent"]), row["model"])
        for row in _rows("author_release.csv")
        if row["probe_converged"] == "false"
    }


def table_numbers() -> dict[str, str]:
    """Return the paper's table number of each data set, as a Roman numeral."""
    return {row["dataset"]: row["table"] for row in _rows("paper_tables.csv")}


def row_labels(dataset: str) -> dict[int, int]:
    """Return the latent size printed in each row -> the one whose figures the row holds."""
    rows = [row for row in _rows("paper_tables.csv") if row["dataset"] == dataset]
    return {int(row["latent_printed"]): int(row["latent_matched"]) for row in rows}


def _figures(name: str, latent: str) -> Figures:
    return {
        Key(metric, row["dataset"], int(row[latent]), row["model"]): row[metric]
        for row in _rows(name)
        for metric in PAPER
    }


def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
