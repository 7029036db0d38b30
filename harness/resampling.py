"""A test by resampling: sign flips."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.digits import steady
from harness.stats import Array, vector

FEWEST_FOR_SIGN_FLIP = 6
"""With five pairs no sign-flip test can reach p < .05."""

MOST_FOR_EXACT_FLIPS = 12
"""Up to here all sign patterns are counted."""


def sign_flip(differences: ArrayLike) -> float | None:
    """Two-sided sign-flip permutation test that differences are symmetric about zero (Fisher 1935).

    The share of sign patterns whose absolute sum is at least the observed one. All 2^n patterns
    for 6 to 12 differences; beyond, 20,000 random ones of a fixed seed, the observed counted in.
    None below six differences.
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
    flips = 20_000
    signs = 1 - 2 * np.random.default_rng(1935).integers(2, size=(flips, n))
    return steady((1 + _at_least(least, signs, x)) / (1 + flips))


def _at_least(least: float, signs: NDArray[np.int64], x: Array) -> int:
    """How many rows of signs give an absolute sum of at least `least`."""
    # Column by column: a product of matrices adds in an order of the processor's own.
    sums = np.zeros(len(signs))
    for column, value in zip(signs.T, x.tolist(), strict=True):
        sums = sums + column * value
    return int(np.count_nonzero(np.abs(sums) >= least))
