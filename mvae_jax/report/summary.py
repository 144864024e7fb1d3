"""Means over seeds, with the t-interval of the mean."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

CONFIDENCE = 0.95


class Summary(NamedTuple):
    """One metric over seeds; sd and interval are None below two seeds."""

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None


def summarise(values: Sequence[float]) -> Summary:
    """Returns mean, sample standard deviation (n - 1) and 95% t-interval of the mean."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Summary(n, mean, None, None)
    sd = float(np.std(values, ddof=1))
    if sd == 0:
        return Summary(n, mean, sd, (mean, mean))
    low, high = scipy.stats.t.interval(CONFIDENCE, n - 1, loc=mean, scale=sd / np.sqrt(n))
    return Summary(n, mean, sd, (float(low), float(high)))
