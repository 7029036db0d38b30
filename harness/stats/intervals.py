"""Intervals and tests of means, paired or not, and Holm's correction."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.digits import steady
from harness.stats.samples import (
    Array,
    Summary,
    centre,
    differences,
    mean_of,
    sd_of,
    standard_error,
    summary_of,
    vector,
)
from harness.stats.student import Alternative, Interval, t_interval, t_p


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """t-interval of a mean: m ± t(n-1) s / √n  (Student 1908).

    Args:
        values: one number per seed, finite.
        confidence: coverage of normal data, 0.95 for 95 %.
    """
    x = vector(values)
    return t_interval(mean_of(x), standard_error(x), x.size - 1, confidence, n=x.size, method="t")


def paired_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """t-interval of the mean of the differences a - b of pairs that share a seed."""
    return mean_interval(differences(a, b), confidence)._replace(method="paired t")


def welch_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """t-interval of mean(a) - mean(b), independent samples of unequal variances.

    Error √(va + vb) with v = s² / n; degrees of freedom (va + vb)² / (va²/(na-1) + vb²/(nb-1))
    (Welch 1947).
    """
    one, two = summary_of(vector(a)), summary_of(vector(b))
    return _welch(one, two, confidence)[0]


def welch_p(a: ArrayLike, b: ArrayLike) -> float | None:
    """Two-sided p-value of Welch's test that two means are equal; None below two values each."""
    return _welch(summary_of(vector(a)), summary_of(vector(b)), 0.95)[1]


def p_value(
    values: ArrayLike, null: float = 0.0, alternative: Alternative = "two-sided"
) -> float | None:
    """p-value of the one-sample t-test; of differences, the paired test.

    t = (m - null) / (s / √n). None below two values.

    Values that are all the same have no scatter that their mean could be measured against: t would
    be infinite and p zero, however few they are. What n equal values off the null do say is that
    all n lie on one side of it, so p is then the sign-flip test's, 2^(1-n) two-sided and 2^-n on
    the side asked for: .06 for five seeds, .002 for ten. Equal to the null: 1.

    Equivalence within ±d (two one-sided tests, Schuirmann 1987) is the larger of
    `p_value(x, -d, "greater")` and `p_value(x, d, "less")`.
    """
    x = vector(values)
    if x.size < 2:
        return None
    shift, size = centre(x) - null, max(abs(centre(x)), abs(null))
    return t_p(shift, standard_error(x), x.size - 1, alternative, flips=x.size, size=size)


def paired_p(a: ArrayLike, b: ArrayLike, alternative: Alternative = "two-sided") -> float | None:
    """p-value of the paired t-test; `greater` asks whether a is above b. None below two pairs."""
    return p_value(differences(a, b), 0.0, alternative)


def resampled_interval(
    values: ArrayLike, test_share: float, train_share: float, confidence: float = 0.95
) -> Interval:
    """Corrected resampled t-interval of a mean over splits of one dataset that overlap.

    m ± t(n-1) s √(1/n + n_test / n_train)  (Nadeau and Bengio 2003, section 3.1). Trainings on
    splits that share examples are correlated, so that their scatter says too little: 1/n alone
    would shrink to nothing, however small the dataset. With splits that divide the data into
    training and test the correction is that of a correlation of n_test / (n_test + n_train).

    Args:
        values: one number per split, finite.
        test_share: test examples of a split, as a number or as a share of the dataset.
        train_share: training examples of a split, in the same unit.
        confidence: coverage.

    Raises:
        ValueError: a share that is not above zero.
    """
    x = vector(values)
    error = _resampled_error(x, test_share, train_share)
    method = "corrected resampled t"
    return t_interval(mean_of(x), error, x.size - 1, confidence, n=x.size, method=method)


def resampled_p(
    values: ArrayLike, test_share: float, train_share: float, null: float = 0.0
) -> float | None:
    """Two-sided p-value of the corrected resampled t-test; None below two values."""
    x = vector(values)
    error = _resampled_error(x, test_share, train_share)
    if x.size < 2:
        return None
    shift, size = centre(x) - null, max(abs(centre(x)), abs(null))
    return t_p(shift, error, x.size - 1, "two-sided", flips=x.size, size=size)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for m tests by Holm's step-down rule (Holm 1979).

    The i-th smallest times (m - i + 1), made monotone from the smallest up, at most 1. Rejecting
    where the adjusted value is below α keeps the chance of any false rejection below α.
    """
    p = vector(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(steady(v) for v in adjusted.tolist())


def _welch(one: Summary, two: Summary, confidence: float) -> tuple[Interval, float | None]:
    n = min(one.n, two.n)
    if one.mean is None or two.mean is None:
        return Interval(None, None, None, n, "Welch t"), None
    shift, size = one.mean - two.mean, max(abs(one.mean), abs(two.mean))
    if n < 2:
        return Interval(None, steady(shift, size), None, n, "Welch t"), None
    v1, v2 = one.sd**2 / one.n, two.sd**2 / two.n
    spread = v1**2 / (one.n - 1) + v2**2 / (two.n - 1)
    freedom = (v1 + v2) ** 2 / spread if spread else 1.0
    error = math.sqrt(v1 + v2)
    interval = t_interval(shift, error, freedom, confidence, n=n, method="Welch t")
    # Two constant samples: one of the ways to deal all values out to two groups of that size.
    flips = math.log2(math.comb(one.n + two.n, one.n))
    p = t_p(shift, error, freedom, "two-sided", flips=flips, size=size)
    return interval.steady(0.0 if error else size), p


def _resampled_error(x: Array, test_share: float, train_share: float) -> float:
    if not (test_share > 0 and train_share > 0):
        raise ValueError(
            f"shares of test and training examples are above zero, got {test_share} and "
            f"{train_share}"
        )
    return sd_of(x) * math.sqrt(1 / x.size + test_share / train_share) if x.size else 0.0
