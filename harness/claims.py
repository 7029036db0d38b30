"""Claims against records: one interval, one margin fixed in advance, one verdict each.

The rules, the same for every claim:

- One number per seed: tasks are averaged (or put on a line) within each seed, and the t-interval is
  taken over seeds. Only seeds count for which every judged task has a number from both methods.
- Differences are turned round where the metric is better lower, so that positive speaks for `a`.
- A failed or diverged trial drops its seed and is counted in `failures`. Where more than half of a
  method's trials failed, nothing is judged: what survived is no fair sample of the method.
- A task that one of the methods never ran is named in `reason`, and the label says on how many
  tasks the verdict rests.
- Fewer than five seeds give no verdict, and neither does the smoke scale. `Exact` needs one record.
- All claims of a suite that reach a test are adjusted together (Holm). `holds` and `contradicted`
  need the interval and an adjusted two-sided p below .05; otherwise they become `inconclusive`.
- Only the paper scale can print `reproduced`.

Shapes: S seeds, T tasks.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from harness import stats
from harness.errors import SpecError, UsageError
from harness.runs import Cell, Cells, cells
from harness.settings import Spec
from harness.stats import Array, Interval
from harness.suite import (
    Beats,
    Claim,
    Competitive,
    Equivalent,
    Exact,
    Level,
    LowerSpread,
    Scale,
    Suite,
    Task,
    Trend,
    select,
)

FEWEST_SEEDS = 5
"""Below this many complete seeds there is no verdict."""

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8

GRID = 2.0**-40
"""Effects smaller than this share of the numbers they come from are rounding, not effects."""

Outcome = Literal["holds", "contradicted", "equivalent", "inconclusive", "not run", "not judged"]


Inexact = Beats | Competitive | Equivalent | Trend | Level | LowerSpread
"""Claims with a margin."""


class TaskEstimate(NamedTuple):
    """What one task contributes."""

    task: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int


class Verdict(Spec):
    """What the records say of a claim. Computed from records, printed, never stored."""

    claim: str
    outcome: Outcome
    label: str
    """The words that reports print."""
    scale: str
    unit: str
    estimate: float | None = None
    """Mean over seeds, positive where it speaks for the claim; of spreads the log ratio, negative
    where `a` scatters less; of an exact quantity the mean."""
    low: float | None = None
    high: float | None = None
    """Bounds of the 95 % interval; of an exact quantity the smallest and largest value."""
    n: int = 0
    """Seeds (pairs, where two methods are compared); of an exact quantity the records."""
    per_task: tuple[TaskEstimate, ...] = ()
    """Same sign as the whole; for a trend the level of the metric itself."""
    failures: int = 0
    """Records without a number among those involved."""
    p: float | None = None
    """Two-sided, against zero, or against the nearest margin where the claim is about a margin."""
    p_holm: float | None = None
    """Adjusted over all claims of the suite that reached a test."""
    p_sign_flip: float | None = None
    """A check without normality, from six seeds on: the sign-flip test of the same difference."""
    mde: float | None = None
    """Smallest effect that n seeds with this scatter find with 80 % power, before Holm."""
    n_needed: int | None = None
    """Seeds for 80 % power at the observed effect or the margin, whichever is larger."""
    reason: str = ""
    ids: tuple[str, ...] = ()
    """Short ids of all records involved, failed ones too, sorted."""


class ClaimPower(NamedTuple):
    """The design of a claim: its MDE with the seeds of a scale; a row of `harness plan`."""

    claim: str
    kind: str
    n: int
    """Seeds that the scale gives it; 0 where the scale leaves it out."""
    tasks: int
    unit: str
    margin: float | None
    mde_sd: float | None
    """Smallest effect found with 80 % power, in standard deviations of the per-seed effect."""
    mde: float | None
    """The same in the metric's unit, where records tell the scatter (of spreads: always)."""
    sd: float | None
    """Standard deviation over seeds of the per-seed effect."""
    sd_scale: str | None
    """The scale whose records gave it."""
    n_for_margin: int | None
    """Seeds for 80 % power at an effect of one margin."""


def judge(suite: Suite, scale_name: str, runs: pd.DataFrame) -> tuple[Verdict, ...]:
    """Verdicts on all claims of a suite, in its order, from the runs of one scale.

    Args:
        suite: whose claims.
        scale_name: which scale's runs count; others in the table are ignored.
        runs: what `harness.runs.frame` returns.

    Raises:
        UsageError: the suite has no such scale.
        SpecError: a claim that its tasks cannot answer, as a trend over a parameter they lack.
        StoreError: a trial with two records.
    """
    scale = _scale(suite, scale_name)
    grouped = cells(runs[runs["scale"] == scale.name])
    drafts = [_draft(suite, scale, claim, grouped) for claim in suite.claims]
    judged = [i for i, draft in enumerate(drafts) if draft.p is not None]
    adjusted = stats.holm([draft.p for draft in drafts if draft.p is not None])
    p_holm = dict(zip(judged, adjusted, strict=True))
    return tuple(
        _finish(draft, claim, p_holm.get(i), len(judged))
        for i, (draft, claim) in enumerate(zip(drafts, suite.claims, strict=True))
    )


def verdict_of(claim: Claim, interval: Interval) -> Outcome:
    """The outcome that one interval and the claim's margin give, before Holm.

    `Competitive`: above -margin holds, below it contradicted. `Equivalent`: inside ±margin holds,
    wholly outside contradicted. The others: above zero holds, below zero contradicted, inside
    ±margin equivalent. What none of these decides is inconclusive.
    """
    low, high = interval.low, interval.high
    if isinstance(claim, Exact) or low is None or high is None:
        return "not judged"
    margin = claim.margin
    inside = -margin < low and high < margin
    if isinstance(claim, Competitive):
        holds, contradicted, inside = low > -margin, high < -margin, False
    elif isinstance(claim, Equivalent):
        holds, contradicted, inside = inside, low > margin or high < -margin, False
    elif isinstance(claim, LowerSpread):
        holds, contradicted = high < 0, low > 0
    else:
        holds, contradicted = low > 0, high < 0
    if holds:
        return "holds"
    if contradicted:
        return "contradicted"
    return "equivalent" if inside else "inconclusive"


def power(suite: Suite, scale_name: str, runs: pd.DataFrame | None = None) -> list[ClaimPower]:
    """The MDE of each claim of a suite with the seeds of a scale, before anything runs.

    Args:
        suite: whose claims.
        scale_name: whose seeds.
        runs: earlier records; their scatter turns standard deviations into the metric's unit. The
            scale's own count first, then those of any other scale but smoke.

    Raises:
        UsageError: the suite has no such scale.
    """
    scale = _scale(suite, scale_name)
    sources = []
    if runs is not None:
        others = [s for s in suite.scales if s.name not in (scale.name, "smoke")]
        for source in (scale, *others):
            sources.append((source, cells(runs[runs["scale"] == source.name])))
    rows = []
    for claim in suite.claims:
        tasks = _tasks(suite, scale, claim)
        if isinstance(claim, Trend):
            tasks = _lines(tasks, claim).tasks
        n = len(scale.seeds) if tasks else 0
        sd, sd_scale = _known_sd(suite, claim, sources)
        mde_sd = mde = needed = None
        if isinstance(claim, LowerSpread) and tasks:
            unshared = [1.0] * len(tasks)
            mde = stats.minimum_detectable_spread(n, unshared, CONFIDENCE, POWER)
            needed = stats.spread_sample_size(claim.margin, unshared, CONFIDENCE, POWER)
        elif not isinstance(claim, Exact | LowerSpread):
            mde_sd = stats.minimum_detectable_effect(1.0, n, CONFIDENCE, POWER)
            mde = mde_sd * sd if mde_sd is not None and sd is not None else None
            needed = _needed(claim, claim.margin, sd) if sd is not None else None
        rows.append(
            ClaimPower(
                claim=claim.name,
                kind=claim.kind,
                n=n,
                tasks=len(tasks),
                unit=_unit(suite, claim),
                margin=None if isinstance(claim, Exact) else claim.margin,
                mde_sd=mde_sd,
                mde=mde,
                sd=sd,
                sd_scale=sd_scale,
                n_for_margin=needed,
            )
        )
    return rows


class _Evidence(NamedTuple):
    """The records that a claim is judged on, and why it cannot be judged if it cannot."""

    tasks: tuple[Task, ...]
    """Those judged."""
    expected: int
    """Tasks that the scale has for the claim."""
    a_T: tuple[Cell, ...]
    b_T: tuple[Cell, ...]
    """Empty where the claim is about one method."""
    seeds: tuple[int, ...]
    """Those with a number in every cell."""
    outcome: Outcome | None
    reasons: tuple[str, ...]

    def tables(self) -> tuple[Array, Array]:
        """Numbers of `a` and `b`, seeds by tasks; zeros for the `b` that is not there."""
        a_ST = _table(self.a_T, self.seeds)
        return a_ST, _table(self.b_T, self.seeds) if self.b_T else np.zeros_like(a_ST)


class _Lines(NamedTuple):
    """The tasks of a trend and what each one's number counts in the mean slope."""

    tasks: tuple[Task, ...]
    weights_T: Array


class _Sample(NamedTuple):
    """Effects in the direction of the claim: positive speaks for it."""

    x_S: Array
    x_ST: Array


def _draft(suite: Suite, scale: Scale, claim: Claim, grouped: Cells) -> Verdict:
    """A verdict before Holm; its label holds only what is to be added to the words."""
    evidence = _gather(suite, scale, claim, grouped)
    used = (*evidence.a_T, *evidence.b_T)
    judged, expected, n = len(evidence.tasks), evidence.expected, len(evidence.seeds)
    reasons = list(evidence.reasons)
    found: dict[str, Any] = {}
    if scale.name == "smoke":
        found, reasons = {"outcome": "not judged"}, ["smoke scale measures nothing"]
    elif evidence.outcome:
        found = {"outcome": evidence.outcome}
    elif isinstance(claim, Exact):
        found = _exact(claim, evidence)
    else:
        if n:
            found = _judged(suite, claim, evidence)
        if n < FEWEST_SEEDS:
            found |= {"outcome": "not judged", "p": None, "p_sign_flip": None, "n_needed": None}
            reasons.insert(0, f"n = {n} < {FEWEST_SEEDS}")
    if "reason" in found:
        reasons.insert(0, found["reason"])
    common = {
        "claim": claim.name,
        "label": f", on {judged} of {expected} tasks" if judged < expected else "",
        "scale": scale.name,
        "unit": _unit(suite, claim),
        "n": n,
        "failures": sum(c.failures for c in used),
        "ids": tuple(sorted({short for c in used for short in c.ids})),
    }
    return Verdict.model_validate(common | found | {"reason": "; ".join(reasons)})


def _finish(draft: Verdict, claim: Claim, p_holm: float | None, k: int) -> Verdict:
    """The draft with Holm applied and its label written."""
    outcome, reason = draft.outcome, draft.reason
    if outcome in ("holds", "contradicted") and p_holm is not None and p_holm >= ALPHA:
        outcome = "inconclusive"
        corrected = f"not significant after Holm-Bonferroni correction (m = {k})"
        reason = "; ".join(filter(None, (corrected, reason)))
    label: str = outcome
    if outcome in ("holds", "contradicted", "equivalent"):
        if draft.scale != "paper":
            label = f"{outcome} at {draft.scale} scale"
        elif outcome == "holds":
            label = "reproduced"
        if outcome == "holds" and _exceeds(draft, claim):
            label += " (the whole 95 % CI exceeds the margin)"
    if outcome not in ("not run", "not judged"):
        label += draft.label
    return draft.model_copy(
        update={"outcome": outcome, "label": label, "reason": reason, "p_holm": p_holm}
    )


def _exceeds(draft: Verdict, claim: Claim) -> bool:
    """Whether the whole interval lies beyond the margin on the claim's side."""
    if isinstance(claim, LowerSpread):
        return draft.high is not None and draft.high < -claim.margin
    if isinstance(claim, Beats | Trend | Level):
        return draft.low is not None and draft.low > claim.margin
    return False


def _gather(suite: Suite, scale: Scale, claim: Claim, grouped: Cells) -> _Evidence:
    """Finds the tasks and seeds that can be judged, and says what is missing."""
    wanted = _tasks(suite, scale, claim)
    sides = _sides(claim)
    of = {(side, t.name): grouped[side, t.name, claim.metric] for side in sides for t in wanted}
    tasks = tuple(t for t in wanted if all(of[side, t.name].trials for side in sides))
    missing = [t.name for t in wanted if t not in tasks]
    reasons = [f"not run: {_listed(missing)}"] if missing else []
    outcome: Outcome | None = None
    if isinstance(claim, Trend) and tasks:
        lines = _lines(tasks, claim)
        loose = [t.name for t in tasks if t not in lines.tasks]
        if loose:
            reasons.append(f"alone on a line over {claim.over}: {_listed(loose)}")
        tasks = lines.tasks
    if not wanted:
        reasons = ["the scale leaves it out"]
    if not tasks:
        outcome = "not run"
    columns = [tuple(of[side, t.name] for t in tasks) for side in sides]
    for side, column in zip(sides, columns, strict=True):
        failed, trials = sum(c.failures for c in column), sum(c.trials for c in column)
        if 2 * failed > trials:
            outcome = "not judged"
            reasons.insert(0, f"{failed} of {trials} trials of {side} failed")
        lost = [t.name for t, c in zip(tasks, column, strict=True) if not c.seeds]
        if lost:
            reasons.append(f"every trial of {side} failed on {_listed(lost)}")
    complete = [set(c.seeds) for column in columns for c in column]
    return _Evidence(
        tasks=tasks,
        expected=len(wanted),
        a_T=columns[0],
        b_T=columns[1] if len(columns) > 1 else (),
        seeds=tuple(sorted(set.intersection(*complete))) if complete else (),
        outcome=outcome,
        reasons=tuple(reasons),
    )


def _sample(suite: Suite, claim: Claim, evidence: _Evidence) -> _Sample:
    """The effect of every seed, and of every seed on every task."""
    a_ST, b_ST = evidence.tables()
    weights_T = np.full(len(evidence.tasks), 1 / len(evidence.tasks))
    sign = -1.0 if suite.metric(claim.metric).better == "lower" else 1.0
    if isinstance(claim, Level):
        b_ST = np.full_like(a_ST, claim.bound)
        sign = 1.0 if claim.direction == "above" else -1.0
    elif isinstance(claim, Trend):
        weights_T = _lines(evidence.tasks, claim).weights_T
        weights_T = weights_T if claim.direction == "up" else -weights_T
        sign = 1.0
    size = float(max(np.abs(a_ST).max(), np.abs(b_ST).max()))
    x_ST = _without_rounding(sign * (a_ST - b_ST), size)
    x_S = _without_rounding(x_ST @ weights_T, size * float(np.abs(weights_T).sum()))
    return _Sample(x_S, x_ST)


def _judged(suite: Suite, claim: Inexact, evidence: _Evidence) -> dict[str, Any]:
    """Fields of the verdict on a claim about means or scatter."""
    if isinstance(claim, LowerSpread):
        return _spread(claim, evidence)
    x_S, x_ST = _sample(suite, claim, evidence)
    interval = stats.mean_interval(x_S, CONFIDENCE)
    mean, sd = float(interval.mean or 0.0), stats.standard_deviation(x_S)
    null = 0.0
    if isinstance(claim, Competitive):
        null = -claim.margin
    elif isinstance(claim, Equivalent):
        # The nearer margin is the one that the two one-sided tests turn on.
        null = math.copysign(claim.margin, mean)
    effect = abs(mean - null) or claim.margin if null else max(abs(mean), claim.margin)
    found = {
        "outcome": verdict_of(claim, interval),
        "per_task": _per_task(evidence, [stats.mean_interval(x_S, CONFIDENCE) for x_S in x_ST.T]),
        "p": stats.p_value(x_S, null),
        "p_sign_flip": stats.sign_flip(x_S - null),
        **_bounds(interval),
    }
    if sd is not None:
        found["mde"] = stats.minimum_detectable_effect(sd, x_S.size, CONFIDENCE, POWER)
        found["n_needed"] = _needed(claim, effect, sd)
    return found


def _spread(claim: LowerSpread, evidence: _Evidence) -> dict[str, Any]:
    """Fields of the verdict on a claim about scatter."""
    a_ST, b_ST = evidence.tables()
    size = float(max(np.abs(a_ST).max(), np.abs(b_ST).max()))
    a_ST, b_ST = _without_rounding(a_ST, size), _without_rounding(b_ST, size)
    own_T = [
        stats.spread_interval(a_S, b_S, CONFIDENCE) for a_S, b_S in zip(a_ST.T, b_ST.T, strict=True)
    ]
    infinite = [math.isinf(own.mean or 0.0) for own in own_T]
    if any(infinite):
        flat = [t.name for t, odd in zip(evidence.tasks, infinite, strict=True) if odd]
        return {
            "outcome": "not judged",
            "reason": f"one side does not scatter at all on {_listed(flat)}",
        }
    interval, p, unshared_T = stats.combined_spread(a_ST, b_ST, CONFIDENCE)
    found = {
        "outcome": verdict_of(claim, interval),
        "per_task": _per_task(evidence, own_T),
        "p": p,
        **_bounds(interval),
    }
    if unshared_T and interval.mean is not None:
        effect = max(abs(interval.mean), claim.margin)
        found["mde"] = stats.minimum_detectable_spread(interval.n, unshared_T, CONFIDENCE, POWER)
        found["n_needed"] = stats.spread_sample_size(effect, unshared_T, CONFIDENCE, POWER)
    return found


def _exact(claim: Exact, evidence: _Evidence) -> dict[str, Any]:
    """Fields of the verdict on a quantity that must match to the last digit, record by record."""
    filled = [(t, c) for t, c in zip(evidence.tasks, evidence.a_T, strict=True) if c.values.size]
    values = np.concatenate([c.values for _, c in filled])
    wrong = sorted({v for v in values.tolist() if v != claim.value})
    found: dict[str, Any] = {
        "outcome": "contradicted" if wrong else "holds",
        "per_task": _per_task(
            evidence._replace(tasks=tuple(t for t, _ in filled)),
            [_range(c.values) for _, c in filled],
        ),
        "n": int(values.size),
        **_bounds(_range(values)),
    }
    if wrong:
        odd = _listed([f"{v:.15g}" for v in wrong])
        found["reason"] = f"found {odd}, not {claim.value:.15g}"
    return found


def _bounds(interval: Interval) -> dict[str, Any]:
    return {"estimate": interval.mean, "low": interval.low, "high": interval.high}


def _range(values: Array) -> Interval:
    low, high = float(values.min()), float(values.max())
    mean = low if low == high else float(values.mean())
    return Interval(low, mean, high, values.size, "range")


def _per_task(evidence: _Evidence, own_T: Iterable[Interval]) -> tuple[TaskEstimate, ...]:
    names = [t.name for t in evidence.tasks]
    return tuple(
        TaskEstimate(name, own.mean, own.low, own.high, own.n)
        for name, own in zip(names, own_T, strict=True)
    )


def _lines(tasks: Sequence[Task], claim: Trend) -> _Lines:
    """Tasks on lines of two points or more, and the weights that turn numbers into a mean slope.

    The least-squares slope of a line is a weighted sum of its numbers, (x - m) / Σ(x - m)².
    """
    groups: dict[str, list[tuple[float, Task]]] = {}
    for task in tasks:
        x = task.params.get(claim.over)
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise SpecError(
                f"claim {claim.name}: task {task.name} has no number in params[{claim.over!r}];"
                " give it one or narrow the claim's tasks"
            )
        key = repr([task.params.get(name) for name in claim.group])
        groups.setdefault(key, []).append((float(x), task))
    lines = [line for line in groups.values() if len({x for x, _ in line}) >= 2]
    weight: dict[str, float] = {}
    for line in lines:
        centred = np.array([x for x, _ in line]) - np.mean([x for x, _ in line])
        slopes = centred / float(centred @ centred) / len(lines)
        weight |= {task.name: float(w) for (_, task), w in zip(line, slopes, strict=True)}
    kept = tuple(t for t in tasks if t.name in weight)
    return _Lines(kept, np.array([weight[t.name] for t in kept], dtype=np.float64))


def _known_sd(
    suite: Suite, claim: Claim, sources: Sequence[tuple[Scale, Cells]]
) -> tuple[float | None, str | None]:
    """Scatter over seeds of the claim's effect in the first source that has two seeds."""
    if isinstance(claim, Exact | LowerSpread):
        return None, None
    for scale, grouped in sources:
        evidence = _gather(suite, scale, claim, grouped)
        if len(evidence.seeds) >= 2:
            return stats.standard_deviation(_sample(suite, claim, evidence).x_S), scale.name
    return None, None


def _needed(claim: Claim, effect: float, sd: float) -> int | None:
    """Seeds for 80 % power; each side of an equivalence takes half of what may go wrong."""
    sure = 1 - (1 - POWER) / 2 if isinstance(claim, Equivalent) else POWER
    return stats.sample_size(effect, sd, CONFIDENCE, sure)


def _tasks(suite: Suite, scale: Scale, claim: Claim) -> tuple[Task, ...]:
    """Tasks that the claim speaks of, that report its metric, and that the scale runs for it.

    Raises:
        SpecError: none of the claim's tasks reports the metric.
    """
    named = [t for t in select(suite.tasks, claim.tasks) if claim.metric in t.reports]
    if not named:
        raise SpecError(
            f"claim {claim.name}: none of its tasks reports {claim.metric!r}; name tasks that do"
        )
    met = {(method.name, task.name) for method, task in suite.pairs(scale)}
    return tuple(t for t in named if all((side, t.name) in met for side in _sides(claim)))


def _scale(suite: Suite, name: str) -> Scale:
    for scale in suite.scales:
        if scale.name == name:
            return scale
    there = ", ".join(s.name for s in suite.scales)
    raise UsageError(f"suite {suite.name} has no scale {name!r}; it has: {there}; see --scale")


def _sides(claim: Claim) -> tuple[str, ...]:
    b = None if isinstance(claim, Level | Exact) else claim.b
    return (claim.a, b) if b else (claim.a,)


def _unit(suite: Suite, claim: Claim) -> str:
    unit = suite.metric(claim.metric).unit
    if isinstance(claim, Trend):
        return f"{unit} per {claim.over}".strip()
    return "log ratio" if isinstance(claim, LowerSpread) else unit


def _table(row: Sequence[Cell], seeds: Sequence[int]) -> Array:
    return np.array([c.at(seeds) for c in row]).reshape(len(row), len(seeds)).T


def _without_rounding(x: Array, size: float) -> Array:
    """Rounds to a grid of 2^-40 of `size`, so that rounding noise is neither effect nor scatter."""
    step = 2.0 ** math.floor(math.log2(size)) * GRID if size else 0.0
    if step == 0:
        return x
    rounded: Array = np.round(x / step) * step
    return rounded


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
