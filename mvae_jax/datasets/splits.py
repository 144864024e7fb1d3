"""Which images train, which select, which test: the two protocols' splits.

Every function returns int64 indices into the images, the same on every machine: the generator is
`numpy.random.default_rng(777)` whatever the model's seed.
"""

import numpy as np
from jaxtyping import Int

SPLIT_SEED = 777

Splits = dict[str, Int[np.ndarray, " _"]]


def stratified(labels: Int[np.ndarray, " n"], test: float = 0.2, valid: float = 0.0) -> Splits:
    """Splits every class by the given fractions; a split of fraction 0 is left out.

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
    splits = {name: np.concatenate(part) for name, part in parts.items()}
    if valid == 0:
        del splits["valid"]
    for indices in splits.values():
        rng.shuffle(indices)
    return splits
