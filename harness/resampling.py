"""Tests and intervals by resampling: sign flips, the bootstrap, the inter-quartile mean."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness import digits
from harness.digits import steady
from harness.stats import Array, Interval, tail_of, vector

FEWEST_FOR_BOOTSTRAP = 10
"""Below this a bootstrap interval covers several points less than it says."""

FEWEST_FOR_SIGN_FLIP = 6
"""With five pairs no sign-flip test can reach p < .05."""

MOST_FOR_EXACT_FLIPS = 12
"""Up to here all sign patterns are counted."""


def sign_flip(differences: ArrayLike, generator: np.random.Generator | None = None) -> float | None:
    """Two-sided sign-flip permutation test that differences are symmetric about zero (Fisher 1935).

    The share of sign patterns whose absolute sum is at least the observed one. All 2^n patterns
    for 6 to 12 differences; beyond, 20,000 random ones from `generator`, the observed counted in.

    Returns:
        None below six differences, and above twelve without a generator.
    """
    x = vector(differences)
    n = x.size
    if n < FEWEST_FOR_SIGN_FLIP:
        return None
    # Sums that differ by rounding alone count as ties.
    least = abs(math.fsum(x)) - 1e-11 * math.fsum(np.abs(x))
    if n <= MOST_FOR_EXACT_FLIPS:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return steady(_at_least(least, 1 - 2 * patterns, x) / 2**n)
    if generator is None:
        return None
    flips = 20_000
    signs = 1 - 2 * generator.integers(2, size=(flips, n))
    return steady((1 + _at_least(least, signs, x)) / (1 + flips))


def iqm(values: ArrayLike) -> float | None:
    """Inter-quartile mean: the mean without the lowest and highest quarter (Agarwal et al. 2021).

    ⌊n/4⌋ values go at either end. None below ten values.
    """
    x = vector(values)
    return _middle(x[None])[0] if x.size >= FEWEST_FOR_BOOTSTRAP else None


def bootstrap_interval(
    values: ArrayLike,
    generator: np.random.Generator,
    statistic: Literal["mean", "iqm"] = "mean",
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Percentile bootstrap interval (Efron 1979), ten values or more; no bounds below.

    Args:
        values: one number per seed.
        generator: where the resampling takes its chance from.
        statistic: the mean, or the inter-quartile mean.
    """
    x = vector(values)
    method = f"bootstrap of {statistic}"
    mean = (digits.mean(x.tolist()) if x.size else None) if statistic == "mean" else iqm(x)
    if x.size < FEWEST_FOR_BOOTSTRAP:
        return Interval(None, mean, None, x.size, method)
    drawn = x[generator.integers(x.size, size=(resamples, x.size))]
    estimates = _row_means(drawn) if statistic == "mean" else _middle(drawn)
    tail = tail_of(confidence)
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(float(low), mean, float(high), x.size, method).steady()


def _middle(rows: Array) -> list[float]:
    """Mean of each row without its lowest and highest quarter."""
    n = rows.shape[1]
    cut = n // 4
    return _row_means(np.sort(rows, axis=1)[:, cut : n - cut])


def _row_means(rows: Array) -> list[float]:
    return [digits.mean(row) for row in rows.tolist()]


def _at_least(least: float, signs: NDArray[np.int64], x: Array) -> int:
    """How many rows of signs give an absolute sum of at least `least`."""
    # Column by column: a product of matrices adds in an order of the processor's own.
    sums = np.zeros(len(signs))
    for column, value in zip(signs.T, x.tolist(), strict=True):
        sums = sums + column * value
    return int(np.count_nonzero(np.abs(sums) >= least))
