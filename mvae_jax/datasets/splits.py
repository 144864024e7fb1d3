"""Which images train, which select, which test: the two protocols' splits.

Every function returns int64 indices into the images, the same on every machine: the generator is
`numpy.random.default_rng(777)` whatever the model's seed.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

SPLIT_SEED = 777

Labels = Int[np.ndarray, " n"]
Splits = dict[str, Int[np.ndarray, " _"]]
Rule = Callable[[Labels], Splits]


def release(labels: Labels) -> Splits:
    """Split every class 80/20 into train and test: the author's released code."""
    return stratified(labels, test=0.2)


def fractions(labels: Labels) -> Splits:
    """Split every class 70/10/20: the paper protocol of data that the paper does not use."""
    return stratified(labels, test=0.2, valid=0.1)


def in_order(labels: Labels, sizes: Sequence[int]) -> Splits:
    """Cut the images, in their original order, into train, valid and test of the given sizes."""
    cuts = np.split(np.arange(len(labels), dtype=np.int64), np.cumsum(sizes)[:-1])
    return dict(zip(("train", "valid", "test"), cuts, strict=True))


def original_test(labels: Labels, sizes: Sequence[int]) -> Splits:
    """Keep the last sizes[2] images as the test split, and validates on sizes[1] of the rest.

    The validation images are drawn class by class.
    """
    num_rest = sizes[0] + sizes[1]
    splits = stratified(labels[:num_rest], valid=sizes[1] / num_rest)
    return {**splits, "test": np.arange(num_rest, len(labels), dtype=np.int64)}


def stratified(labels: Labels, test: float = 0.0, valid: float = 0.0) -> Splits:
    """Split every class by the given fractions; a split of fraction 0 is left out.

    The release's order: for each class in sorted order shuffle its indices; the first
    round(test x n) are test, the next round(valid x n) validation; then shuffle each split.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    parts: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for label in np.unique(labels):
        indices = np.flatnonzero(labels == label).astype(np.int64)
        rng.shuffle(indices)
        first, second = np.cumsum([round(test * len(indices)), round(valid * len(indices))])
        parts["test"].append(indices[:first])
        parts["valid"].append(indices[first:second])
        parts["train"].append(indices[second:])
    absent = {"test": test == 0, "valid": valid == 0, "train": False}
    splits = {name: np.concatenate(part) for name, part in parts.items() if not absent[name]}
    for indices in splits.values():
        rng.shuffle(indices)
    return splits
