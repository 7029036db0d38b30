"""Power, minimum detectable effect and sample size of the t-test."""

import functools
import math
from collections.abc import Callable

from scipy import optimize, special

from harness.digits import steady
from harness.stats.student import quantile, tail_of

MOST_SEEDS = 1_000_000
"""Where the search for a sample size gives up."""


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
    critical = quantile(1 - tail_of(confidence), n - 1)
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
    high = 2 * (quantile(1 - tail_of(confidence), n - 1) + quantile(power, n - 1)) / math.sqrt(n)
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
    return fewest(2, lambda n: steady(t_power(ratio, 1.0, n, confidence), 1.0) >= power)


def fewest(first: int, enough: Callable[[int], bool]) -> int | None:
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
