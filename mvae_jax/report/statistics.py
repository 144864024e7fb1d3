"""Statistics over seeds: intervals of one model, and paired comparisons of two.

Seeds are the unit. Two models' runs of one seed share data order, initial weights and noise, so
that their difference is taken seed by seed. All tests are scipy's; Holm's step-down, which scipy
does not have, is the one rule written out here.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
ROUNDING = 1e-12  # of the values: a spread below this is float64's
RESAMPLES = 9999  # sign flips drawn at random where there are more than these to list


class Summary(NamedTuple):
    """One metric over seeds; sd and interval are None below two seeds."""

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None


def summarise(values: Sequence[float], confidence: float = CONFIDENCE) -> Summary:
    """Returns mean, sample standard deviation (n - 1) and t-interval of the mean."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Summary(n, mean, None, None)
    sd = float(np.std(values, ddof=1))
    return Summary(n, mean, sd, _t_interval(n, mean, sd / np.sqrt(n), confidence))


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95% interval for the value of one new seed, None below two seeds.

    mean +- t_{n-1} sd sqrt(1 + 1/n): the seeds' spread and the error of their mean.
    """
    summary = summarise(values)
    if summary.sd is None:
        return None
    return _t_interval(summary.n, summary.mean, summary.sd * np.sqrt(1 + 1 / summary.n), CONFIDENCE)


class Comparison(NamedTuple):
    """The paired difference of a metric between two models, `other - baseline`, over n seeds.

    difference:  mean and 95% t-interval; its sd is that of the differences
    effect_size: mean over sd of the differences (Cohen's d_z)
    p_t:         paired t-test, two-sided; the primary test
    p_flip:      sign-flip permutation test of the mean, two-sided
    smallest_p:  the least p_flip that n seeds can give
    All but the mean are None below two seeds. Where every difference is the same, effect_size is
    None, and p_t too unless it is zero: without a spread there is nothing to test by.
    """

    difference: Summary
    effect_size: float | None
    p_t: float | None
    p_flip: float | None
    smallest_p: float | None


def compare(baseline: Mapping[int, float], other: Mapping[int, float]) -> Comparison:
    """Compares two models on the seeds of both; raises ValueError where their seeds differ."""
    if baseline.keys() != other.keys() or not baseline:
        raise ValueError(f"seeds: {sorted(baseline)} against {sorted(other)}; a pair needs both")
    seeds = sorted(baseline)
    x = np.array([other[seed] for seed in seeds])
    y = np.array([baseline[seed] for seed in seeds])
    d = x - y
    if np.ptp(d) <= ROUNDING * np.abs([x, y]).max():  # equal, but for the last bit
        d = np.full_like(d, d.mean())
    difference = summarise(d.tolist())
    if difference.sd is None:
        return Comparison(difference, None, None, None, None)
    if difference.sd == 0:  # the t-test divides by it
        p_t = 1.0 if difference.mean == 0 else None
    else:
        p_t = float(scipy.stats.ttest_rel(x, y).pvalue)
    flips = scipy.stats.permutation_test(
        (x, y),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    listed = 2 ** len(seeds)
    return Comparison(
        difference,
        difference.mean / difference.sd if difference.sd else None,
        p_t,
        float(flips.pvalue),
        2 / listed if listed <= RESAMPLES else 2 / (RESAMPLES + 1),
    )


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Returns Holm's adjusted p-values, in the order given (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1, then made monotone and capped at 1.
    """
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


class SignTest(NamedTuple):
    """Wins, ties and losses over cells, and the two-sided sign test that leaves ties out."""

    wins: int
    ties: int
    losses: int
    p: float


def sign_test(gains: Float[np.ndarray, " n"]) -> SignTest:
    """Counts the gains above, at and below zero; the unit is whatever one gain stands for."""
    signs = np.sign(gains)
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    p = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    return SignTest(wins, len(signs) - wins - losses, losses, float(p))


def _t_interval(n: int, mean: float, scale: float, confidence: float) -> tuple[float, float]:
    """Returns mean +- t_{n-1} scale."""
    half = _t_quantile(n - 1, confidence) * float(scale)
    return mean - half, mean + half


@functools.cache  # a report asks for a few of them, tens of thousands of times
def _t_quantile(degrees: int, confidence: float) -> float:
    """Returns what Student's t exceeds in absolute value with probability 1 - confidence."""
    return float(scipy.stats.t.isf((1 - confidence) / 2, degrees))
