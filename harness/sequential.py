"""Seeds added until a claim is decided, at looks fixed in advance: what each look may spend.

A claim may be judged at a few sizes n of its sample, the looks, and at no others. All K of them
share the chance α of a false decision equally: each look is an ordinary test at the level α / K.
Whatever depends on whatever, the chance that any of them decides wrongly is at most α (Bonferroni):
for every n from 5 on, every statistic (t, Welch, spread, corrected resampled t) and every number of
looks. Boundaries computed from the joint law of the t statistics of all looks (Pocock 1977; Lan and
DeMets 1983) would spend all of α where these spend about four fifths of it, but would hold for that
one statistic, that one schedule and samples of exactly those sizes. `benchmarks/decisions.py`
measures both the error and the power.

Two things follow, and need no further rule:

- A claim's p-value over its looks is K times the smallest of the looks so far. It only ever falls,
  so that what is decided stays decided, whatever seeds are added for the sake of another claim.
- Holm's correction over the claims of a suite is Holm's own, of these p-values: a claim that is
  decided passes its α on to the others, and at later looks (Maurer and Bretz 2013, with all
  earlier looks kept).

The look of size n judges the first n trainings, by seed, and never those that happen to be there:
seeds between two looks wait for the next. Once taken it is kept with its seeds (`harness.looks`).
"""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from harness import stats
from harness.claim import LookSizes
from harness.digits import steady
from harness.settings import Spec
from harness.stats import Interval

_TRIALS = 20_000
"""Suites drawn for a power: its standard error is at most 0.0036, of one claim."""
_AT_ONCE = 2_000
"""Suites drawn at a time, for the memory."""


class Looks(Spec):
    """The sample sizes at which claims are judged, fixed before anything runs."""

    schedule: LookSizes = (5, 10, 20, 40)
    """Distinct trainings (pairs, where two methods are compared) at each look."""

    def taken(self, n: int) -> tuple[int, ...]:
        """The looks that n trainings allow."""
        return tuple(size for size in self.schedule if size <= n)

    def following(self, n: int) -> int | None:
        """The size of the next look after n trainings; None after the last."""
        return next((size for size in self.schedule if size > n), None)


def boundary(looks: Looks, look: int, alpha: float = 0.05) -> float:
    """The nominal two-sided level at a look, counted from 1: the test's p must be below it.

    Args:
        looks: the schedule.
        look: which of its looks.
        alpha: what all looks together may spend; of m claims that are tested together, the one
            that Holm's rule takes first has α / m.

    Raises:
        ValueError: no such look, or a level that is not between 0 and 1.
    """
    if not 1 <= look <= len(looks.schedule):
        raise ValueError(f"there are looks 1 to {len(looks.schedule)}, got {look}")
    if not 0 < alpha < 1:
        raise ValueError(f"a level is between 0 and 1, got {alpha}")
    return steady(alpha / len(looks.schedule))


class Taken(NamedTuple):
    """What the looks so far say of one claim."""

    p: float
    """Two-sided, corrected for all looks of the schedule; at most 1."""
    look: int
    """The look that gave it, counted from 1: a decision rests on that look's interval."""


def over_looks(p_values: Sequence[float], looks: Looks) -> Taken:
    """One p-value of all looks so far.

    Args:
        p_values: two-sided p-values of the looks taken, in their order, one at least.

    Raises:
        ValueError: no look, or more than the schedule has.
    """
    if not 1 <= len(p_values) <= len(looks.schedule):
        raise ValueError(f"{len(p_values)} looks were taken of {len(looks.schedule)}")
    smallest = min(p_values)
    spent = steady(min(1.0, smallest * len(looks.schedule)))
    return Taken(spent, list(p_values).index(smallest) + 1)


class Decision(NamedTuple):
    """Of one claim among those that are tested together."""

    decided: bool
    look: int | None
    """The look of the smallest p, counted from 1; None before the first."""
    p: float
    """Corrected for looks and claims: decided where it is below α. 1 before the first look."""


def decide(
    p_values: Sequence[Sequence[float]], looks: Looks, alpha: float = 0.05
) -> tuple[Decision, ...]:
    """Holm over claims that may each have taken another number of looks.

    The chance of any false decision, at any time, is at most α; of any false `holds`, where the
    sign of the estimate names the direction, at most α / 2.

    Args:
        p_values: of each claim those of its looks so far, two-sided; empty where it has none.
        alpha: of all claims and looks together.
    """
    taken = [over_looks(own, looks) if len(own) else None for own in p_values]
    adjusted = stats.holm([t.p if t else 1.0 for t in taken])
    return tuple(
        Decision(p < alpha, t.look if t else None, p) for t, p in zip(taken, adjusted, strict=True)
    )


def repeated_interval(
    values: ArrayLike,
    looks: Looks,
    confidence: float = 0.95,
    interval: Callable[[ArrayLike, float], Interval] = stats.mean_interval,
) -> Interval:
    """The interval at the last look that so many values allow, of the values of that look.

    Its confidence is 1 - α / K, so that the intervals of all looks cover at once with 1 - α
    (Jennison and Turnbull 1989), and it excludes zero exactly where that look's p is below its
    boundary. Equivalence within ±d and non-inferiority by d are read off the same interval: it lies
    within ±d, or above -d. No bounds before the first look.

    Args:
        values: one number per training, in the order of their seeds.
        looks: the schedule.
        confidence: of all looks together, before any correction over claims.
        interval: of values at a confidence; `stats.resampled_interval` with its shares filled in.
    """
    x = stats.vector(values)
    taken = looks.taken(x.size)
    if not taken:
        return interval(x, confidence)._replace(low=None, high=None)
    level = boundary(looks, len(taken), 1 - confidence)
    found = interval(x[: taken[-1]], 1 - level)
    return found._replace(method=f"{found.method}, look {len(taken)} of {len(looks.schedule)}")


class Power(NamedTuple):
    """What to expect of looks, for an effect of a given size."""

    by_look: tuple[float, ...]
    """Chance that a claim with the effect is decided, in its direction, by each look."""
    expected: float
    """Trainings until such a claim is decided, or the looks are over; on average."""


@functools.lru_cache(maxsize=256)
def power(
    effect_sd: float, looks: Looks, claims: int = 1, alpha: float = 0.05, alone: bool = True
) -> Power:
    """Power and expected sample size of one of several claims, by a simulation of fixed seed.

    Args:
        effect_sd: true mean in standard deviations of the per-seed effect, not negative.
        looks: the schedule; one look gives a fixed design.
        claims: tested together, by Holm.
        alpha: of all claims and looks together.
        alone: the claim gets α / `claims` and no more, so that it has this power whatever the
            others are; else all of them have the effect, and pass their α on.

    Raises:
        ValueError: an effect below zero, or no claim.
    """
    if not (effect_sd >= 0 and claims >= 1):
        raise ValueError(f"want an effect >= 0 and a claim, got {effect_sd} and {claims}")
    generator = np.random.default_rng(20031)
    drawn, level = (1, alpha / claims) if alone else (claims, alpha)
    decided = np.zeros(len(looks.schedule))
    for _ in range(_TRIALS // _AT_ONCE):
        x = generator.standard_normal((_AT_ONCE, drawn, looks.schedule[-1])) + effect_sd
        decided += decisions(x, looks, level).mean((1, 2))
    by_look = (decided * _AT_ONCE / _TRIALS).tolist()
    steps = [b - a for a, b in pairwise((0, *looks.schedule))]
    undecided = [1.0, *(1 - p for p in by_look[:-1])]
    expected = sum(step * share for step, share in zip(steps, undecided, strict=True))
    return Power(tuple(steady(p) for p in by_look), steady(expected))


def decisions(x: NDArray[np.float64], looks: Looks, alpha: float = 0.05) -> NDArray[np.bool_]:
    """`decide` for many suites at once: which claims are decided, above zero, by each look.

    Args:
        x: suites x claims x values, one per training, as many as the last look has.
        looks: the schedule.

    Returns:
        looks x suites x claims.
    """
    best = np.full(x.shape[:2], np.inf)
    above = np.zeros(x.shape[:2], dtype=bool)
    out = []
    for size in looks.schedule:
        part = x[:, :, :size]
        mean, sd = part.mean(-1), part.std(-1, ddof=1)
        t = mean / (sd / np.sqrt(size))
        p = 2 * special.stdtr(size - 1, -np.abs(t)) * len(looks.schedule)
        above = np.where(p < best, mean > 0, above)
        best = np.minimum(best, p)
        order = np.argsort(best, axis=1)
        ranked = np.take_along_axis(best, order, 1) * np.arange(x.shape[1], 0, -1)
        adjusted = np.empty_like(best)
        np.put_along_axis(adjusted, order, np.maximum.accumulate(ranked, 1), 1)
        out.append((adjusted < alpha) & above)
    return np.array(out)
