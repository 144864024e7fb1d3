"""Statistics over seeds: intervals of one model, and paired comparisons of two.

Seeds are the unit. Two models' runs of one seed share data order, initial weights and noise, so
that their difference is taken seed by seed. All tests are scipy's; Holm's step-down, which scipy
does not have, is the one rule written out here.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from jaxtyping import Float
from pandas.core.groupby import SeriesGroupBy

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
ROUNDING = 1e-12  # of the values: a spread below this is float64's
RESAMPLES = 9999  # sign flips drawn at random where there are more than these to list
MOST_NUMBERS = 1 << 22  # that the sign-flip test holds at a time


class Summary(NamedTuple):
    """One metric over seeds; sd and interval are None below two seeds."""

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None


def summarise(values: Sequence[float], confidence: float = CONFIDENCE) -> Summary:
    """Return mean, sample standard deviation (n - 1) and t-interval of the mean."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Summary(n, mean, None, None)
    sd = float(np.std(values, ddof=1))
    half = _t_quantile(n - 1, confidence) * float(sd / np.sqrt(n))
    return Summary(n, mean, sd, (mean - half, mean + half))


def prediction_interval(summary: Summary) -> tuple[float, float] | None:
    """Return the 95% interval for the value of one new seed, None below two seeds.

    mean +- t_{n-1} sd sqrt(1 + 1/n): the seeds' spread and the error of their mean.
    """
    n, mean, sd, _ = summary
    if sd is None:
        return None
    half = _t_quantile(n - 1, CONFIDENCE) * float(sd * np.sqrt(1 + 1 / n))
    return mean - half, mean + half


COLUMNS = (
    *("seeds", "difference", "low95", "high95", "sd", "effect_size"),
    *("p_t", "p_flip", "smallest_p"),
)


def compare(baseline: Mapping[int, float], other: Mapping[int, float]) -> Any:
    """Compare two models on the seeds of both: the one row of `compare_rows`, as a named tuple.

    Raise ValueError where their seeds differ.
    """
    if baseline.keys() != other.keys() or not baseline:
        raise ValueError(f"seeds: {sorted(baseline)} against {sorted(other)}; a pair needs both")
    x, y = (np.array([[of[seed] for seed in sorted(baseline)]]) for of in (baseline, other))
    (row,) = compare_rows(x, y).itertuples(index=False)
    return row


def compare_rows(
    baseline: Float[np.ndarray, "m n"], other: Float[np.ndarray, "m n"]
) -> pd.DataFrame:
    """Compare m pairs of models on n seeds each: a row of COLUMNS for each pair.

    difference, low95, high95, sd: of `other - baseline`, its mean, 95% t-interval and spread
    effect_size: mean over sd of the differences (Cohen's d_z)
    p_t:         paired t-test, two-sided; the primary test
    p_flip:      sign-flip permutation test of the mean, two-sided
    smallest_p:  the least p_flip that n seeds can give

    All but the mean are NaN below two seeds. Where every difference is the same, effect_size is
    NaN, and p_t too unless it is zero, because without a spread there is nothing to test by.
    """
    m, n = other.shape
    d = other - baseline
    scale = np.maximum(np.abs(baseline), np.abs(other)).max(axis=1)
    is_constant = np.ptp(d, axis=1) <= ROUNDING * scale  # equal, but for the last bit
    mean = d.mean(axis=1)
    d[is_constant] = mean[is_constant, None]
    found = pd.DataFrame(np.nan, index=range(m), columns=COLUMNS)
    found["seeds"], found["difference"] = n, d.mean(axis=1)
    if n < 2:
        return found
    sd = np.where(is_constant, 0.0, d.std(axis=1, ddof=1))
    half = _t_quantile(n - 1, CONFIDENCE) * sd / np.sqrt(n)
    found["sd"] = sd
    found["low95"], found["high95"] = found.difference - half, found.difference + half
    varies = sd > 0
    found.loc[varies, "effect_size"] = found.difference[varies] / sd[varies]
    found.loc[~varies & (found.difference == 0), "p_t"] = 1.0
    if varies.any():  # the t-test divides by the spread
        test = scipy.stats.ttest_rel(other[varies], baseline[varies], axis=1)
        found.loc[varies, "p_t"] = test.pvalue
    found["p_flip"] = _flip_signs(baseline, other)
    listed = 2**n
    found["smallest_p"] = 2 / listed if listed <= RESAMPLES else 2 / (RESAMPLES + 1)
    return found


def _flip_signs(
    baseline: Float[np.ndarray, "m n"], other: Float[np.ndarray, "m n"]
) -> Float[np.ndarray, " m"]:
    """Return the p-values of the sign-flip test, of as many rows at a time as the memory takes."""
    m, n = other.shape
    at_once = max(1, MOST_NUMBERS // (min(2**n, RESAMPLES) * n))
    pieces = [
        scipy.stats.permutation_test(
            (other[i : i + at_once], baseline[i : i + at_once]),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            n_resamples=RESAMPLES,
            vectorized=True,
            axis=1,
            rng=np.random.default_rng(0),
        ).pvalue
        for i in range(0, m, at_once)
    ]
    return np.concatenate(pieces) if pieces else np.empty(0)


def summarise_groups(groups: SeriesGroupBy) -> pd.DataFrame:
    """Return n, mean, sd and the 95% t-interval of the mean, low and high, of every group.

    What needs two values is NaN where there is one.
    """
    found = groups.agg(n="count", mean="mean", sd="std")
    quantiles = {n: _t_quantile(n - 1, CONFIDENCE) for n in found.n.unique().tolist() if n > 1}
    half = found.n.map(quantiles) * found.sd / np.sqrt(found.n)
    return found.assign(low=found["mean"] - half, high=found["mean"] + half)


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Return Holm's adjusted p-values, in the order given (Holm 1979).

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
    """Count the gains above, at and below zero; the unit is whatever one gain stands for."""
    signs = np.sign(gains)
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    p = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    return SignTest(wins, len(signs) - wins - losses, losses, float(p))


@functools.cache  # a report asks for a few of them, tens of thousands of times
def _t_quantile(degrees: int, confidence: float) -> float:
    """Return what Student's t exceeds in absolute value with probability 1 - confidence."""
    return float(scipy.stats.t.isf((1 - confidence) / 2, degrees))
