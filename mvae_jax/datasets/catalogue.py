"""The data sets by name: where each comes from, how it is made, how the paper splits it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mvae_jax.datasets import (
    cache,
    cifar,
    digits,
    frey_face,
    icml2007,
    mnist,
    photographs,
    regenerated,
    splits,
)
from mvae_jax.datasets.errors import DataError
from mvae_jax.datasets.files import Inputs
from mvae_jax.datasets.parsed import Parsed


class Source(NamedTuple):
    """One origin of a data set.

    make:        reads or generates it, given the user's inputs and a scratch folder
    pixel_scale: a pixel's value in the model is its byte times this; for the reader
    suffix:      ends the cache's key where a user's inputs change the content
    cached:      False where making it is as fast as reading it
    """

    make: Callable[[Inputs, Path], Parsed]
    pixel_scale: str = "1/255"
    suffix: Callable[[Inputs], str] = lambda inputs: ""
    cached: bool = True


class Entry(NamedTuple):
    """One data set: its sources by name (the first is the default), and the paper's split.

    shape:       [N, H, W, C]
    num_classes: 0 where there are no labels
    paper:       labels to splits, in the paper protocol; `paper_split` tells the reader
    """

    sources: dict[str, Source]
    shape: tuple[int, int, int, int]
    num_classes: int
    paper: splits.Rule
    paper_split: str


def _mnist_variant(name: str, regenerate: Source) -> Entry:
    original = Source(
        partial(icml2007.make, name), "1/256 or 1/255", partial(icml2007.suffix, name)
    )
    return Entry(
        sources={"regenerated": regenerate, "icml2007": original},
        shape=(62_000, 28, 28, 1),
        num_classes=10,
        paper=partial(splits.in_order, sizes=(10_000, 2_000, 50_000)),
        paper_split="10,000 / 2,000 / 50,000",
    )


def _cifar(name: str, num_classes: int) -> Entry:
    return Entry(
        sources={"": Source(partial(cifar.make, name))},
        shape=(60_000, 32, 32, 3),
        num_classes=num_classes,
        paper=partial(splits.original_test, sizes=(45_000, 5_000, 10_000)),
        paper_split="45,000 / 5,000 / 10,000",
    )


CATALOGUE = {
    "digits": Entry(
        sources={"": Source(digits.make, cached=False)},
        shape=(1_797, 8, 8, 1),
        num_classes=10,
        paper=splits.fractions,
        paper_split="70 / 10 / 20 %",
    ),
    "mnist_basic": _mnist_variant("mnist_basic", Source(mnist.make_basic, "1/256")),
    "mnist_rotated": _mnist_variant("mnist_rotated", Source(regenerated.make_rotated)),
    "mnist_background_images": _mnist_variant(
        "mnist_background_images",
        Source(regenerated.make_background_images, suffix=photographs.digest),
    ),
    "mnist_background_random": _mnist_variant(
        "mnist_background_random", Source(regenerated.make_background_random)
    ),
    "fashion_mnist": Entry(
        sources={"": Source(partial(mnist.make, "fashion_mnist"))},
        shape=(70_000, 28, 28, 1),
        num_classes=10,
        paper=partial(splits.original_test, sizes=(50_000, 10_000, 10_000)),
        paper_split="50,000 / 10,000 / 10,000",
    ),
    "cifar10": _cifar("cifar10", num_classes=10),
    "cifar100": _cifar("cifar100", num_classes=100),
    "frey_face": Entry(
        sources={"": Source(frey_face.make)},
        shape=(1_965, 28, 20, 1),
        num_classes=0,
        paper=splits.release,
        paper_split="as release",
    ),
}


def find(name: str, source: str) -> tuple[Entry, str]:
    """Return the entry and the source's name ('' asks for the default); raise DataError."""
    if name not in CATALOGUE:
        raise DataError(
            f"dataset: got '{name}'; allowed: {', '.join(CATALOGUE)}, tfds:NAME, or a "
            "path: an .npz, .parquet or .arrow file, or a folder of images, written with a slash, "
            "as ./flowers"
        )
    entry = CATALOGUE[name]
    source = source or next(iter(entry.sources))
    if source not in entry.sources:
        allowed = ", ".join(filter(None, entry.sources)) or f"none: {name} has one origin"
        raise DataError(f"source: got '{source}' for {name}; allowed: {allowed}")
    return entry, source


def key(name: str, source: str, inputs: Inputs) -> str:
    """Return the name of the data set's entry in the cache."""
    suffix = CATALOGUE[name].sources[source].suffix(inputs)
    return "-".join(filter(None, [name, source, suffix]))


def read(name: str, source: str, inputs: Inputs) -> Parsed:
    """Return the data set, from the cache where it is there."""
    origin = CATALOGUE[name].sources[source]
    if not origin.cached:
        return origin.make(inputs, Path())
    return cache.load_or_make(key(name, source, inputs), partial(origin.make, inputs))
