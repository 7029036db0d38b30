"""Whether one method scatters less than another: ratios of standard deviations.

Shapes: S seeds, T tasks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from harness.digits import raw_mean, smallest, steady
from harness.stats.power import fewest
from harness.stats.samples import Array, matched, sd_of, vector
from harness.stats.student import Interval, quantile, t_p, tail_of


class SpreadEstimate(NamedTuple):
    """A mean log ratio of spreads."""

    interval: Interval
    p: float | None
    """Two-sided, against equal spreads; None without bounds."""
    unshared_T: tuple[float, ...]
    """Estimate of 1 - ρ² on every task; empty without bounds, or where a spread is exactly zero."""


def spread_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of log(sd(a) / sd(b)) for normal data; negative where `a` scatters less.

    Of pairs (Pitman 1939, Morgan 1939, the test inverted): with L the log ratio and r the
    correlation, sinh(L - λ) √((n-2) / (1-r²)) follows t(n-2) for the true log ratio λ, so the
    bounds are L ± asinh(t √((1-r²) / (n-2))). Heavy tails make them too narrow.

    A spread of exactly zero on one side gives an infinite log ratio, on both sides 0 = 0 = 0.
    No bounds below three pairs.
    """
    x, y = matched(a, b)
    return combined_spread(x[:, None], y[:, None], confidence).interval


def combined_spread(a_ST: ArrayLike, b_ST: ArrayLike, confidence: float = 0.95) -> SpreadEstimate:
    """Mean over tasks of log(sd(a) / sd(b)), from seeds that both methods share.

    One task: the Pitman-Morgan interval of `spread_interval`. Several: the mean of the log ratios
    ± t(T(n-2)) times `spread_error`, taking the tasks as independent given the seed. The variance
    of half the log of a variance ratio is ψ'((n-1)/2) / 2 for uncorrelated normal samples; pairing
    shrinks it by 1 - ρ², estimated without bias at ρ = 0 by (1-r²)(n-1)/(n-2).

    Samples without any scatter between them (r = ±1) leave nothing to measure the ratio against; p
    is then that of n signs, as in `p_value`. An infinite ratio has no p at all.

    Args:
        a_ST: seeds by tasks.
        b_ST: the same seeds and tasks for the other method.
        confidence: coverage for normal data.

    Returns:
        The interval, with n seeds, and what goes with it.
    """
    a_ST, b_ST = np.asarray(a_ST, np.float64), np.asarray(b_ST, np.float64)
    if a_ST.shape != b_ST.shape or a_ST.ndim != 2 or a_ST.shape[1] == 0:
        raise ValueError(f"want two equal seed x task arrays, got {a_ST.shape}, {b_ST.shape}")
    n, tasks = a_ST.shape
    method = "Pitman-Morgan" if tasks == 1 else f"mean log ratio over {tasks} tasks"
    if n < 2:
        return SpreadEstimate(Interval(None, None, None, n, method), None, ())
    pairs = [(vector(a_ST[:, k]), vector(b_ST[:, k])) for k in range(tasks)]
    ratios = [_log_ratio(sd_of(x), sd_of(y)) for x, y in pairs]
    finite = all(math.isfinite(r) for r in ratios)
    mean = raw_mean(ratios) if finite else _infinite_mean(ratios)
    if n < 3:
        return SpreadEstimate(Interval(None, mean, None, n, method).steady(1.0), None, ())
    if mean is None or not finite:
        return SpreadEstimate(Interval(mean, mean, mean, n, method), None, ())
    # Two samples that both do not scatter are equal without any doubt.
    unexplained = [0.0 if sd_of(x) == 0 else _unexplained(x, y) for x, y in pairs]
    unshared_T = tuple(u * (n - 1) / (n - 2) for u in unexplained)
    freedom = tasks * (n - 2)
    t = quantile(1 - tail_of(confidence), freedom)
    if tasks == 1:
        error = math.sqrt(unexplained[0] / (n - 2))
        half, shift = math.asinh(t * error), math.sinh(mean)
    else:
        error = spread_error(n, unshared_T)
        half, shift = t * error, mean
    p = t_p(shift, error, freedom, "two-sided", flips=n)
    interval = Interval(mean - half, mean, mean + half, n, method).steady(1.0)
    return SpreadEstimate(interval, p, unshared_T)


def spread_error(n: int, unshared_T: Sequence[float]) -> float:
    """Standard error of the mean over tasks of log(sd(a) / sd(b)) with n seeds.

    √(Σ u ψ'((n-1)/2) / 2) / T, with u = 1 - ρ² for each of T tasks (1 where nothing is known of
    the correlation) and ψ' the trigamma function (Bartlett and Kendall 1946).
    """
    variance = 0.5 * float(special.polygamma(1, (n - 1) / 2))
    return math.sqrt(math.fsum(unshared_T) * variance) / len(unshared_T)


def minimum_detectable_spread(
    n: int, unshared_T: Sequence[float], confidence: float = 0.95, power: float = 0.8
) -> float | None:
    """Smallest mean log ratio of spreads that `combined_spread` finds with the given power.

    Approximate. Several tasks: the sum of the two t quantiles times `spread_error`. One task: the
    sum of asinh(t √(u / (n-1))) over the two quantiles t, with u = 1 - ρ². None below three seeds.
    """
    if n < 3:
        return None
    freedom = len(unshared_T) * (n - 2)
    quantiles = quantile(1 - tail_of(confidence), freedom), quantile(power, freedom)
    if len(unshared_T) == 1:
        error = math.sqrt(unshared_T[0] / (n - 1))
        return steady(math.fsum(math.asinh(t * error) for t in quantiles))
    return steady(math.fsum(quantiles) * spread_error(n, unshared_T))


def spread_sample_size(
    effect: float, unshared_T: Sequence[float], confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Fewest seeds with which `combined_spread` finds the log ratio `effect`; None past 10^6."""

    def enough(n: int) -> bool:
        least = minimum_detectable_spread(n, unshared_T, confidence, power)
        return least is not None and steady(least) <= steady(abs(effect))

    return fewest(3, enough)


def _log_ratio(sd_a: float, sd_b: float) -> float:
    if sd_a == sd_b:
        return 0.0
    if sd_b == 0:
        return math.inf
    ratio = math.log(sd_a / sd_b) if sd_a else -math.inf
    return 0.0 if abs(ratio) < smallest(1.0) else ratio


def _infinite_mean(ratios: Sequence[float]) -> float | None:
    """The mean of log ratios some of which are infinite; None where both infinities meet."""
    total = sum(ratios)
    return None if math.isnan(total) else total


def _unexplained(x: Array, y: Array) -> float:
    """1 - r², r the correlation of two samples that both scatter."""
    u, v = (_deviations(sample / np.abs(sample).max()) for sample in (x, y))
    squares = math.fsum(a * a for a in u) * math.fsum(b * b for b in v)
    r2 = math.fsum(a * b for a, b in zip(u, v, strict=True)) ** 2 / squares
    return 0.0 if 1 - r2 < smallest(1.0) else 1 - r2


def _deviations(x: Array) -> list[float]:
    centre = math.fsum(x) / x.size
    return [value - centre for value in x.tolist()]
