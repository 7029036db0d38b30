"""One effect, one interval and one margin: what the numbers of a claim say before any correction.

- One number per seed: tasks are averaged (or put on a line) within each seed, and the t-interval is
  taken over seeds. Only seeds count for which every judged task has a number from both methods.
- Differences are turned round where the metric is better lower, so that positive speaks for `a`.
- Where splits of one data set overlap, the interval is that of the corrected resampled t.
- Whatever is compared with a threshold is looked at through `harness.digits.steady`.

Shapes: S seeds, T tasks, P parts that must agree in sign.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness import stats
from harness.analysis import distinct
from harness.claim import (
    Claim,
    Competitive,
    Equivalent,
    Exact,
    Inexact,
    LowerSpread,
    Trend,
)
from harness.digits import mean, raw_mean, steady
from harness.evidence import Evidence, listed, sample, steadied
from harness.resampling import sign_flip
from harness.stats import Array, Interval
from harness.suite import Suite
from harness.wording import Outcome

CONFIDENCE = 0.95
POWER = 0.8


class TaskEstimate(NamedTuple):
    """What one task contributes."""

    task: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int | None
    """Distinct trainings; None for an exact quantity."""


class Agreement(NamedTuple):
    """How far the tasks (of a trend the lines) say the same."""

    on: int
    """How many are on the claim's side of the null."""
    against: int
    of: int
    low: float
    """The smallest effect."""
    high: float
    i2: float | None
    """Share of the scatter between them that is not chance (Higgins and Thompson 2002), from
    Cochran's Q; None where one of them does not scatter."""


def effect(
    suite: Suite, claim: Inexact, evidence: Evidence, confidence: float = CONFIDENCE
) -> dict[str, Any]:
    """Fields of the verdict on a claim about means or scatter.

    Args:
        suite: whose claim.
        claim: any but an exact one.
        evidence: with one seed for each combination of trainings, one at least.
        confidence: of the interval, which decides.
    """
    if isinstance(claim, LowerSpread):
        return _spread(claim, evidence, confidence)
    x_S, x_ST, parts_SP = sample(suite, claim, evidence)
    wide_S = widened(x_S, evidence.overlap)
    interval = stats.mean_interval(wide_S, confidence).steady()
    centre, sd = float(interval.mean or 0.0), stats.standard_deviation(wide_S) or 0.0
    null = null_of(claim, centre)
    beyond = steady(abs(centre - null), max(abs(centre), abs(null)))
    size = beyond or claim.margin if null else max(abs(centre), claim.margin)
    found = {
        "outcome": verdict_of(claim, interval),
        "per_task": _per_task(evidence, _own_means(evidence, x_ST, confidence)),
        "agreement": _agreement(claim, parts_SP),
        "p": stats.p_value(wide_S, null),
        "p_sign_flip": sign_flip(x_S - null) if not evidence.overlap else None,
        "method": "corrected resampled t" if evidence.overlap else "",
        **_bounds(interval),
    }
    if steady(sd) > 0:
        found["mde"] = stats.minimum_detectable_effect(sd, x_S.size, confidence, POWER)
        # More splits of the same data do not help beyond what their overlap leaves.
        found["n_needed"] = None if evidence.overlap else needed(claim, size, sd)
    elif x_S.size > 1:
        # An interval of no width would say that nothing could have come out differently.
        found |= {"low": None, "high": None}
        found["reason"] = f"all {x_S.size} effects are equal: p is that of their signs alone"
    return found


def verdict_of(claim: Claim, interval: Interval) -> Outcome:
    """The outcome that one interval and the claim's margin give, before any correction.

    `Competitive`: above -margin holds, below it opposite. `Equivalent`: inside ±margin holds,
    wholly outside opposite. The others: above zero holds, below zero opposite, inside ±margin
    equivalent. What none of these decides is inconclusive.
    """
    low, _, high, *_ = interval.steady()
    if isinstance(claim, Exact) or low is None or high is None:
        return "not judged"
    margin = claim.margin
    inside = -margin < low and high < margin
    if isinstance(claim, Competitive):
        holds, opposite, inside = low > -margin, high < -margin, False
    elif isinstance(claim, Equivalent):
        holds, opposite, inside = inside, low > margin or high < -margin, False
    elif isinstance(claim, LowerSpread):
        holds, opposite = high < 0, low > 0
    else:
        holds, opposite = low > 0, high < 0
    if holds:
        return "holds"
    if opposite:
        return "opposite"
    return "equivalent" if inside else "inconclusive"


def null_of(claim: Inexact, centre: float) -> float:
    """The value that a test of the claim compares with."""
    if isinstance(claim, Competitive):
        return -claim.margin
    if isinstance(claim, Equivalent):
        # The nearer margin is the one that the two one-sided tests turn on.
        return math.copysign(claim.margin, centre)
    return 0.0


def needed(claim: Claim, size: float, sd: float) -> int | None:
    """Seeds for 80 % power; each side of an equivalence takes half of what may go wrong."""
    sure = 1 - (1 - POWER) / 2 if isinstance(claim, Equivalent) else POWER
    return stats.sample_size(size, sd, CONFIDENCE, sure)


def widened(x_S: Array, overlap: float) -> Array:
    """The sample stretched about its mean, so that its t-interval is the corrected resampled one.

    Trainings on overlapping splits are correlated: the variance of their mean is s² (1/n + test /
    train), not s² / n (Nadeau and Bengio 2003). Stretching by √(1 + n · overlap) gives that
    variance to every interval, test and power that is computed from the sample.
    """
    if not overlap or x_S.size < 2:
        return x_S
    centre = raw_mean(x_S.tolist())
    return np.asarray(centre + (x_S - centre) * math.sqrt(1 + x_S.size * overlap))


def exact(claim: Exact, evidence: Evidence) -> dict[str, Any]:
    """Fields of the verdict on a quantity that must match to the last digit, record by record."""
    filled = [(t, c) for t, c in zip(evidence.tasks, evidence.a_T, strict=True) if c.values.size]
    found_T = [_farthest(cell.values.tolist(), claim.value) for _, cell in filled]
    wrong = sorted({v for _, c in filled for v in c.values.tolist() if v != claim.value})
    found: dict[str, Any] = {
        "outcome": "not equal" if wrong else "equal",
        "estimate": _farthest(found_T, claim.value),
        "per_task": tuple(
            TaskEstimate(task.name, value, None, None, None)
            for (task, _), value in zip(filled, found_T, strict=True)
        ),
    }
    if wrong:
        odd = listed([f"{v:.15g}" for v in wrong])
        found["reason"] = f"found {odd}, not {claim.value:.15g}"
    return found


def _spread(claim: LowerSpread, evidence: Evidence, confidence: float) -> dict[str, Any]:
    """Fields of the verdict on a claim about scatter."""
    a_ST, b_ST = evidence.tables()
    size = float(max(np.abs(a_ST).max(), np.abs(b_ST).max()))
    a_ST, b_ST = steadied(a_ST, size), steadied(b_ST, size)
    own_T = [
        stats.spread_interval(a_S, b_S, confidence) for a_S, b_S in zip(a_ST.T, b_ST.T, strict=True)
    ]
    infinite = [math.isinf(own.mean or 0.0) for own in own_T]
    if any(infinite):
        flat = [t.name for t, odd in zip(evidence.tasks, infinite, strict=True) if odd]
        return {
            "outcome": "not judged",
            "reason": f"one side does not scatter at all on {listed(flat)}",
        }
    interval, p, unshared_T = stats.combined_spread(a_ST, b_ST, confidence)
    interval = interval.steady()
    centres = [own.mean for own in own_T if own.mean is not None]
    found = {
        "outcome": verdict_of(claim, interval),
        "per_task": _per_task(evidence, own_T),
        "agreement": Agreement(
            on=sum(steady(m) < 0 for m in centres),
            against=sum(steady(m) > 0 for m in centres),
            of=len(centres),
            low=min(centres),
            high=max(centres),
            i2=None,
        )
        if len(centres) > 1
        else None,
        "p": p,
        **_bounds(interval),
    }
    if any(unshared_T) and interval.mean is not None:
        least = max(abs(interval.mean), claim.margin)
        found["mde"] = stats.minimum_detectable_spread(interval.n, unshared_T, confidence, POWER)
        found["n_needed"] = stats.spread_sample_size(least, unshared_T, confidence, POWER)
    elif interval.low is not None:
        found |= {"low": None, "high": None}
        found["reason"] = "nothing scatters between the sides: p is that of their signs alone"
    return found


def _agreement(claim: Inexact, parts_SP: Array) -> Agreement | None:
    """None for a single part."""
    parts = parts_SP.shape[1]
    if parts < 2:
        return None
    means = [mean(x_S.tolist()) for x_S in parts_SP.T]
    if isinstance(claim, Equivalent):
        on = sum(steady(abs(m)) < claim.margin for m in means)
        against = parts - on
    else:
        away = [steady(m - null_of(claim, m), abs(m)) for m in means]
        on, against = sum(d > 0 for d in away), sum(d < 0 for d in away)
    return Agreement(on, against, parts, min(means), max(means), i_squared(parts_SP))


def i_squared(parts_SP: Array) -> float | None:
    """max(0, 1 - (P - 1) / Q) with Cochran's Q = Σ w (m - m̄)², w = n / s², m̄ the weighted mean.

    None below two parts or two seeds, or where a part does not scatter.
    """
    seeds, parts = parts_SP.shape
    size = float(np.abs(parts_SP).max()) if parts_SP.size else 0.0
    # In units of a power of two near the largest: squares of the smallest numbers would be zero.
    parts_SP, size = np.ldexp(parts_SP, -math.frexp(size)[1]), math.frexp(size)[0]
    spreads = [stats.standard_deviation(x_S) or 0.0 for x_S in parts_SP.T]
    if parts < 2 or seeds < 2 or not all(steady(s, size) > 0 for s in spreads):
        return None
    weights = [seeds / s**2 for s in spreads]
    means = [mean(x_S.tolist()) for x_S in parts_SP.T]
    middle = math.fsum(w * m for w, m in zip(weights, means, strict=True)) / math.fsum(weights)
    q = math.fsum(w * (m - middle) ** 2 for w, m in zip(weights, means, strict=True))
    return steady(max(0.0, 1 - (parts - 1) / q), 1.0) if steady(q, 1.0) else 0.0


def _farthest(values: Sequence[float], expected: float) -> float:
    return max(values, key=lambda v: abs(v - expected))


def _bounds(interval: Interval) -> dict[str, Any]:
    interval = interval.steady()
    return {"estimate": interval.mean, "low": interval.low, "high": interval.high}


def _own_means(evidence: Evidence, x_ST: Array, confidence: float) -> list[Interval]:
    """Interval of each task alone, one seed for each training on it."""
    columns = zip(*(side for side in (evidence.a_T, evidence.b_T) if side), strict=True)
    own = []
    for cells_of_task, x_S in zip(columns, x_ST.T, strict=True):
        rows = [evidence.seeds.index(s) for s in distinct(cells_of_task, evidence.seeds)]
        alone_S = widened(x_S[rows], evidence.overlap)
        own.append(stats.mean_interval(alone_S, confidence).steady())
    return own


def _per_task(evidence: Evidence, own_T: Iterable[Interval]) -> tuple[TaskEstimate, ...]:
    return tuple(
        TaskEstimate(task.name, own.mean, None, None, own.n)
        if own.low == own.high
        else TaskEstimate(task.name, own.mean, own.low, own.high, own.n)
        for task, own in zip(evidence.tasks, own_T, strict=True)
    )


def unit_of(suite: Suite, claim: Claim) -> str:
    """The unit of a claim's effect."""
    unit = suite.metric(claim.metric).unit
    if isinstance(claim, LowerSpread):
        return "log ratio"
    if claim.margins:
        unit = "margins"
    return f"{unit} per {claim.over}".strip() if isinstance(claim, Trend) else unit
