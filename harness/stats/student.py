"""The t distribution: an estimate and its standard error -> interval and p-value."""

import math
from typing import Literal, NamedTuple

from scipy import special

from harness.digits import steady

Alternative = Literal["two-sided", "greater", "less"]


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


def tail_of(confidence: float) -> float:
    """What may be missed on either side.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is between 0 and 1, got {confidence}")
    return (1 - confidence) / 2


def quantile(p: float, freedom: float) -> float:
    """Of the t distribution."""
    return float(special.stdtrit(freedom, p))


def t_interval(
    mean: float | None, error: float, freedom: float, confidence: float, *, n: int, method: str
) -> Interval:
    """mean ± t × error; no bounds below two values, no width without error."""
    tail = tail_of(confidence)
    if mean is None or n < 2:
        return Interval(None, mean, None, n, method).steady()
    half = quantile(1 - tail, freedom) * error if error else 0.0
    return Interval(mean - half, mean, mean + half, n, method).steady()


def t_p(
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
