"""Intervals, tests and power for few seeds: pure functions of arrays.

Everything rests on the t distribution, because a percentile bootstrap or a normal interval of
three to ten seeds covers far less than it says. Two rules hold throughout. Too few values give no
bounds (None), never a narrow interval. Values that are all the same have a spread of exactly zero
and a real interval of no width.

What comes out is the same on every processor: sums are correctly rounded (`math.fsum`), elementwise
arithmetic is IEEE's own, and results go through `harness.digits.steady` at the very end, since
quantiles and logarithms may differ in their last bits from one machine to the next. Every
threshold is looked at on such numbers.

Shapes: S seeds, T tasks.
"""

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from harness import digits
from harness.digits import raw_mean, smallest, steady

Array = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]

MOST_SEEDS = 1_000_000
"""Where the search for a sample size gives up."""


class Interval(NamedTuple):
    """A point estimate with its confidence bounds."""

    low: float | None
    """None where the data are too few for an interval."""
    mean: float | None
    """The point estimate (a mean, a difference of means, a log ratio); None without data."""
    high: float | None
    n: int
    """Values, or pairs; of two independent samples the size of the smaller."""
    method: str
    """How it was made, in a few words."""

    def steady(self, size: float = 0.0) -> "Interval":
        """The same without its last bits, so that comparing the bounds depends on no processor."""
        there = [v for v in (self.low, self.mean, self.high) if v is not None and math.isfinite(v)]
        size = max(map(abs, [*there, size]))
        low, mean, high = (None if v is None else steady(v, size) for v in self[:3])
        return self._replace(low=low, mean=mean, high=high)


class SpreadEstimate(NamedTuple):
    """A mean log ratio of spreads."""

    interval: Interval
    p: float | None
    """Two-sided, against equal spreads; None without bounds."""
    unshared_T: tuple[float, ...]
    """Estimate of 1 - ρ² on every task; empty without bounds, or where a spread is exactly zero."""


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """t-interval of a mean: m ± t(n-1) s / √n  (Student 1908).

    Args:
        values: one number per seed, finite.
        confidence: coverage of normal data, 0.95 for 95 %.
    """
    x = vector(values)
    return _t_interval(_mean(x), _standard_error(x), x.size - 1, confidence, n=x.size, method="t")


def paired_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """t-interval of the mean of the differences a - b of pairs that share a seed."""
    return mean_interval(_differences(a, b), confidence)._replace(method="paired t")


def welch_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """t-interval of mean(a) - mean(b), independent samples of unequal variances.

    Error √(va + vb) with v = s² / n; degrees of freedom (va + vb)² / (va²/(na-1) + vb²/(nb-1))
    (Welch 1947).
    """
    one, two = _summary(vector(a)), _summary(vector(b))
    return _welch(one, two, confidence)[0]


def welch_p(a: ArrayLike, b: ArrayLike) -> float | None:
    """Two-sided p-value of Welch's test that two means are equal; None below two values each."""
    return _welch(_summary(vector(a)), _summary(vector(b)), 0.95)[1]


def summary_interval(
    values: ArrayLike,
    mean2: float,
    sd2: float | None = None,
    n2: int | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Interval of mean(values) - mean2, where the second mean is one that somebody printed.

    With a printed standard deviation and n, Welch's interval from the two summaries. Without them
    (or with n2 = 1) the printed mean counts as a constant, and `method` says so.

    Args:
        values: our numbers.
        mean2: the printed mean.
        sd2: the printed standard deviation (not the standard error).
        n2: over how many runs.
    """
    x = vector(values)
    if sd2 is None or n2 is None or n2 < 2:
        interval = mean_interval(x - mean2, confidence)
        return interval._replace(method="t, printed mean as a constant")
    interval, _ = _welch(_summary(x), _Summary(mean2, sd2, n2), confidence)
    return interval._replace(method="Welch t, printed summary")


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
    shift, size = _centre(x) - null, max(abs(_centre(x)), abs(null))
    return _t_p(shift, _standard_error(x), x.size - 1, alternative, flips=x.size, size=size)


def paired_p(a: ArrayLike, b: ArrayLike, alternative: Alternative = "two-sided") -> float | None:
    """p-value of the paired t-test; `greater` asks whether a is above b. None below two pairs."""
    return p_value(_differences(a, b), 0.0, alternative)


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


def t_power(effect: float, sd: float, n: int, confidence: float = 0.95) -> float:
    """Chance that the two-sided (paired) t-test finds an effect.

    P(|T| > t) with T noncentral t, n - 1 degrees of freedom, noncentrality d = effect √n / sd
    (Cohen 1988); computed as P(T² > t²), noncentral F of 1 and n - 1 degrees and noncentrality d²,
    which stays finite for few seeds and large effects.

    Raises:
        ValueError: fewer than two pairs, or a standard deviation that is not positive.
    """
    if n < 2 or not sd > 0:
        raise ValueError(f"power needs n >= 2 and sd > 0, got n = {n} and sd = {sd}")
    return steady(_power(effect / sd, n, confidence), 1.0)


def _power(ratio: float, n: int, confidence: float) -> float:
    critical = _quantile(1 - tail_of(confidence), n - 1)
    return 1 - float(special.ncfdtr(1, n - 1, ratio**2 * n, critical**2))


def minimum_detectable_effect(
    sd: float, n: int, confidence: float = 0.95, power: float = 0.8
) -> float | None:
    """Smallest true mean that the two-sided (paired) t-test finds with the given power.

    Solves `t_power` for the effect; in the unit of `sd`. None below two pairs; 0 for sd = 0.
    """
    if n < 2:
        return None
    if steady(sd) == 0:
        return 0.0
    return steady(_detectable_in_sd(n, confidence, power) * sd)


@functools.lru_cache(maxsize=1024)
def _detectable_in_sd(n: int, confidence: float, power: float) -> float:
    """`minimum_detectable_effect` for sd = 1, to fewer digits than the root search settles."""
    # Twice the sum of the two quantiles is beyond the answer at every n.
    high = 2 * (_quantile(1 - tail_of(confidence), n - 1) + _quantile(power, n - 1)) / math.sqrt(n)
    unit = optimize.brentq(lambda d: _power(d, n, confidence) - power, 0.0, high, xtol=1e-14)
    return float(f"{unit:.9e}")


def sample_size(
    effect: float, sd: float, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Fewest pairs with which the two-sided (paired) t-test finds `effect` with the given power.

    None where a million pairs would not do, in particular for an effect of zero.
    """
    effect, sd = steady(effect), steady(sd)
    if effect == 0:
        return None
    if sd == 0:
        return 2
    ratio = steady(effect / sd)
    return _fewest(2, lambda n: steady(t_power(ratio, 1.0, n, confidence), 1.0) >= power)


def spread_interval(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, paired: bool = True
) -> Interval:
    """Interval of log(sd(a) / sd(b)) for normal data; negative where `a` scatters less.

    Paired (Pitman 1939, Morgan 1939, the test inverted): with L the log ratio and r the
    correlation, sinh(L - λ) √((n-2) / (1-r²)) follows t(n-2) for the true log ratio λ, so the
    bounds are L ± asinh(t √((1-r²) / (n-2))). Unpaired: half the log of the F interval
    of the ratio of variances. Both want near-normal data: heavy tails make them too narrow.

    A spread of exactly zero on one side gives an infinite log ratio, on both sides 0 = 0 = 0.
    No bounds below three pairs, or below two values on either side when unpaired.
    """
    if paired:
        x, y = _pair(a, b)
        return combined_spread(x[:, None], y[:, None], confidence).interval
    x, y = vector(a), vector(b)
    n = min(x.size, y.size)
    ratio = _log_ratio(_sd(x), _sd(y)) if n >= 2 else None
    if ratio is None:
        return Interval(None, None, None, n, "F")
    if not math.isfinite(ratio) or _sd(x) == 0:
        return Interval(ratio, ratio, ratio, n, "F")
    freedom = x.size - 1, y.size - 1
    tail = tail_of(confidence)
    low = ratio - 0.5 * math.log(special.fdtri(*freedom, 1 - tail))
    high = ratio - 0.5 * math.log(special.fdtri(*freedom, tail))
    return Interval(low, ratio, high, n, "F").steady(1.0)


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
    ratios = [_log_ratio(_sd(x), _sd(y)) for x, y in pairs]
    finite = all(math.isfinite(r) for r in ratios)
    mean = raw_mean(ratios) if finite else _infinite_mean(ratios)
    if n < 3:
        return SpreadEstimate(Interval(None, mean, None, n, method).steady(1.0), None, ())
    if mean is None or not finite:
        return SpreadEstimate(Interval(mean, mean, mean, n, method), None, ())
    # Two samples that both do not scatter are equal without any doubt.
    unexplained = [0.0 if _sd(x) == 0 else _unexplained(x, y) for x, y in pairs]
    unshared_T = tuple(u * (n - 1) / (n - 2) for u in unexplained)
    freedom = tasks * (n - 2)
    t = _quantile(1 - tail_of(confidence), freedom)
    if tasks == 1:
        error = math.sqrt(unexplained[0] / (n - 2))
        half, shift = math.asinh(t * error), math.sinh(mean)
    else:
        error = spread_error(n, unshared_T)
        half, shift = t * error, mean
    p = _t_p(shift, error, freedom, "two-sided", flips=n)
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
    quantiles = _quantile(1 - tail_of(confidence), freedom), _quantile(power, freedom)
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

    return _fewest(3, enough)


def standard_deviation(values: ArrayLike) -> float | None:
    """Sample standard deviation, n - 1 in the divisor; exactly 0 for equal values; None for one."""
    x = vector(values)
    return _sd(x) if x.size >= 2 else None


def column_means(rows: ArrayLike) -> Array:
    """The mean of each column, as `harness.digits.mean` takes it: a curve averaged over seeds."""
    columns = np.asarray(rows, dtype=np.float64).T
    return np.array([digits.mean(column.tolist()) for column in columns])


class _Summary(NamedTuple):
    mean: float | None
    sd: float
    n: int


def vector(values: ArrayLike) -> Array:
    """Finite numbers in a row.

    Raises:
        ValueError: they are something else.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError(f"want a list of finite numbers, got {values!r}")
    return x


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    x, y = vector(a), vector(b)
    if x.size != y.size:
        raise ValueError(f"pairs need equal lengths, got {x.size} and {y.size}")
    return x, y


def _differences(a: ArrayLike, b: ArrayLike) -> Array:
    pairs = zip(*(side.tolist() for side in _pair(a, b)), strict=True)
    most = sys.float_info.max
    return np.array([max(-most, min(most, digits.difference(x, y))) for x, y in pairs])


def _centre(x: Array) -> float:
    return raw_mean(x.tolist())


def _mean(x: Array) -> float | None:
    return _centre(x) if x.size else None


def _sd(x: Array) -> float:
    """Sample standard deviation; a scatter below the last steady digit of the values is none."""
    if x.size < 2 or (x == x[0]).all():
        return 0.0
    size = float(np.abs(x).max())
    scale = 2.0 ** (math.frexp(size)[1] - 1)
    scaled = (x / scale).tolist()
    mean = math.fsum(scaled) / x.size
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in scaled) / (x.size - 1)) * scale
    return 0.0 if spread < smallest(size) else spread


def _standard_error(x: Array) -> float:
    return _sd(x) / math.sqrt(x.size) if x.size else 0.0


def _summary(x: Array) -> _Summary:
    return _Summary(_mean(x), _sd(x), x.size)


def tail_of(confidence: float) -> float:
    """What may be missed on either side.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is between 0 and 1, got {confidence}")
    return (1 - confidence) / 2


def _quantile(p: float, freedom: float) -> float:
    return float(special.stdtrit(freedom, p))


def _t_interval(
    mean: float | None, error: float, freedom: float, confidence: float, *, n: int, method: str
) -> Interval:
    tail = tail_of(confidence)
    if mean is None or n < 2:
        return Interval(None, mean, None, n, method).steady()
    half = _quantile(1 - tail, freedom) * error if error else 0.0
    return Interval(mean - half, mean, mean + half, n, method).steady()


def _t_p(
    shift: float,
    error: float,
    freedom: float,
    alternative: Alternative,
    *,
    flips: float,
    size: float = 1.0,
) -> float:
    """p-value of t = shift / error; without scatter, that of `flips` signs that all agree.

    `size` is the magnitude of the numbers that the shift was computed from.
    """
    if steady(error, size) == 0:
        return _unscattered_p(steady(shift, size), alternative, flips)
    t = shift / error
    if alternative == "two-sided":
        return steady(min(1.0, 2 * float(special.stdtr(freedom, -abs(t)))))
    return steady(float(special.stdtr(freedom, -t if alternative == "greater" else t)))


def _unscattered_p(shift: float, alternative: Alternative, flips: float) -> float:
    if shift == 0:
        return 1.0
    if alternative == "two-sided":
        return steady(min(1.0, 2.0 ** (1 - flips)))
    return steady(2.0**-flips) if (shift > 0) == (alternative == "greater") else 1.0


def _welch(one: _Summary, two: _Summary, confidence: float) -> tuple[Interval, float | None]:
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
    interval = _t_interval(shift, error, freedom, confidence, n=n, method="Welch t")
    # Two constant samples: one of the ways to deal all values out to two groups of that size.
    flips = math.log2(math.comb(one.n + two.n, one.n))
    p = _t_p(shift, error, freedom, "two-sided", flips=flips, size=size)
    return interval.steady(0.0 if error else size), p


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


def _fewest(first: int, enough: Callable[[int], bool]) -> int | None:
    """Smallest n from `first` on that is enough, by doubling and bisection; None past a limit."""
    high = first
    while not enough(high):
        if high >= MOST_SEEDS:
            return None
        high = min(2 * high, MOST_SEEDS)
    low = max(first - 1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
