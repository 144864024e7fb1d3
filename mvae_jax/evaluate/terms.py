"""Means of the test split's per-example terms."""

import numpy as np
from jaxtyping import Float


def mean(values: Float[np.ndarray, " n"]) -> float:
    """Return the mean over examples, summed in double precision."""
    return float(values.mean(dtype=np.float64))


def mean_of_batch_means(values: Float[np.ndarray, " n"], batch_size: int) -> float:
    """Return the unweighted mean of the batches' means, as the release averages its ELBO.

    It differs from the mean where the last batch is smaller, whose examples then weigh more.
    """
    starts = range(0, len(values), batch_size)
    return float(np.mean([mean(values[start : start + batch_size]) for start in starts]))
