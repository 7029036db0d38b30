"""Claims against records: one interval, one margin fixed in advance, one verdict each.

The rules, the same for every claim:

- One number per seed: tasks are averaged (or put on a line) within each seed, and the t-interval is
  taken over seeds. Only seeds count for which every judged task has a number from both methods.
- Differences are turned round where the metric is better lower, so that positive speaks for `a`.
- A failed or diverged trial drops its seed and is counted in `failures`. Where more than half of a
  method's trials failed, nothing is judged: what survived is no fair sample of the method.
- A task that one of the methods never ran is named in `reason`, and the label says on how many
  tasks the verdict rests.
- n counts distinct trainings (see `harness.analysis`): seeds at which every method only measures a
  training again that an earlier seed measured do not count, and one training has no interval.
- Fewer than five trainings give no verdict, and neither does the smoke scale.
- `Exact` counts a quantity that has no scatter: one record is enough, and there is no n.
- Whatever is compared with a threshold is looked at through `harness.digits.steady`.
- All claims of a suite that reach a test are adjusted together (Holm). `holds` and `contradicted`
  need the interval and an adjusted two-sided p below .05; otherwise they become `inconclusive`.
- Only the paper scale can print `reproduced`.

Shapes: S seeds, T tasks.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import AfterValidator

from harness import stats
from harness.analysis import Cells, cells, distinct
from harness.digits import steady
from harness.errors import UsageError
from harness.evidence import (
    Evidence,
    gather,
    lines_of,
    listed,
    sample,
    sides_of,
    steadied,
    tasks_of,
)
from harness.resampling import sign_flip
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
    Trend,
)

FEWEST_SEEDS = 5
"""Below this many complete seeds there is no verdict."""

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8

Steady = Annotated[float, AfterValidator(steady)]
"""A number without its last bits."""

Outcome = Literal["holds", "contradicted", "equivalent", "inconclusive", "not run", "not judged"]


Inexact = Beats | Competitive | Equivalent | Trend | Level | LowerSpread
"""Claims with a margin."""


class TaskEstimate(NamedTuple):
    """What one task contributes."""

    task: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int | None
    """Distinct trainings; None for an exact quantity."""


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
    where `a` scatters less; of an exact quantity the number found, where several the one farthest
    from what is claimed."""
    low: Steady | None = None
    high: Steady | None = None
    """Bounds of the 95 % interval; an exact quantity has none."""
    n: int | None = 0
    """Distinct trainings (pairs, where two methods are compared); None for an exact quantity."""
    per_task: tuple[TaskEstimate, ...] = ()
    """Same sign as the whole; for a trend the level of the metric itself."""
    failures: int = 0
    """Records without a number among those involved."""
    p: Steady | None = None
    """Two-sided, against zero, or against the nearest margin where the claim is about a margin."""
    p_holm: Steady | None = None
    """Adjusted over all claims of the suite that reached a test."""
    p_sign_flip: Steady | None = None
    """A check without normality, from six seeds on: the sign-flip test of the same difference."""
    mde: Steady | None = None
    """Smallest effect that n seeds with this scatter find with 80 % power, before Holm; None where
    nothing scatters."""
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
        runs: what `harness.analysis.frame` returns.

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
    low, _, high, *_ = interval.steady()
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
        tasks = tasks_of(suite, scale, claim)
        if isinstance(claim, Trend):
            tasks = lines_of(tasks, claim).tasks
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


def _draft(suite: Suite, scale: Scale, claim: Claim, grouped: Cells) -> Verdict:
    """A verdict before Holm; its label holds only what is to be added to the words."""
    every = gather(suite, scale, claim, grouped)
    evidence = every.once(claim)
    used = evidence.cells
    judged, expected, n = len(evidence.tasks), evidence.expected, len(evidence.seeds)
    reasons = list(evidence.reasons)
    found: dict[str, Any] = {}
    if scale.size == "smoke":
        found, reasons = {"outcome": "not judged"}, ["smoke scale measures nothing"]
    elif evidence.outcome:
        found = {"outcome": evidence.outcome}
    elif isinstance(claim, Exact):
        found = _exact(claim, evidence)
    else:
        if n:
            found = _judged(suite, claim, evidence)
        if n < FEWEST_SEEDS:
            found |= dict.fromkeys(("p", "p_sign_flip", "n_needed", "reason"))
            found |= {"outcome": "not judged", "reason": _too_few(claim, every, n)}
    if found.get("reason"):
        reasons.insert(0, found["reason"])
    if fixed := [t.task for t in found.get("per_task", ()) if t.n == 1 < n]:
        reasons.append(f"one training alone on {listed(fixed)}")
    common = {
        "claim": claim.name,
        "label": f", on {judged} of {expected} tasks" if judged < expected else "",
        "scale": scale.name,
        "unit": _unit(suite, claim),
        "n": None if isinstance(claim, Exact) else n,
        "failures": sum(c.failures for c in used),
        "ids": tuple(sorted({short for c in used for short in c.ids})),
    }
    return Verdict.model_validate(common | found | {"reason": "; ".join(reasons)})


def _too_few(claim: Claim, every: Evidence, n: int) -> str:
    """Why there is no verdict: few seeds, or one training that all of them measured."""
    seeds = len(every.seeds)
    if n == seeds:
        return f"n = {n} < {FEWEST_SEEDS}"
    sides = list(zip(sides_of(claim), (every.a_T, every.b_T), strict=False))
    alone = [a for a, side in sides if any(len(distinct([c], every.seeds)) == 1 for c in side)]
    of = f" of {alone[0]}" if len(alone) < len(sides) else ""
    return f"n = {n}, one training{of} measured {seeds} times"


def _finish(draft: Verdict, claim: Claim, p_holm: float | None, k: int) -> Verdict:
    """The draft with Holm applied and its label written."""
    outcome, reason = draft.outcome, draft.reason
    if outcome in ("holds", "contradicted") and p_holm is not None and steady(p_holm) >= ALPHA:
        outcome = "inconclusive"
        alone = draft.p is not None and draft.p >= ALPHA
        why = "" if alone else f"not significant after Holm-Bonferroni correction (m = {k})"
        reason = "; ".join(filter(None, (why, reason)))
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


def _judged(suite: Suite, claim: Inexact, evidence: Evidence) -> dict[str, Any]:
    """Fields of the verdict on a claim about means or scatter."""
    if isinstance(claim, LowerSpread):
        return _spread(claim, evidence)
    x_S, x_ST = sample(suite, claim, evidence)
    interval = stats.mean_interval(x_S, CONFIDENCE).steady()
    mean, sd = float(interval.mean or 0.0), stats.standard_deviation(x_S) or 0.0
    null = 0.0
    if isinstance(claim, Competitive):
        null = -claim.margin
    elif isinstance(claim, Equivalent):
        # The nearer margin is the one that the two one-sided tests turn on.
        null = math.copysign(claim.margin, mean)
    beyond = steady(abs(mean - null), max(abs(mean), abs(null)))
    effect = beyond or claim.margin if null else max(abs(mean), claim.margin)
    found = {
        "outcome": verdict_of(claim, interval),
        "per_task": _per_task(evidence, _own_means(evidence, x_ST)),
        "p": stats.p_value(x_S, null),
        "p_sign_flip": sign_flip(x_S - null),
        **_bounds(interval),
    }
    if steady(sd) > 0:
        found["mde"] = stats.minimum_detectable_effect(sd, x_S.size, CONFIDENCE, POWER)
        found["n_needed"] = _needed(claim, effect, sd)
    elif x_S.size > 1:
        found["reason"] = f"all {x_S.size} effects are equal: p is that of their signs alone"
    return found


def _spread(claim: LowerSpread, evidence: Evidence) -> dict[str, Any]:
    """Fields of the verdict on a claim about scatter."""
    a_ST, b_ST = evidence.tables()
    size = float(max(np.abs(a_ST).max(), np.abs(b_ST).max()))
    a_ST, b_ST = steadied(a_ST, size), steadied(b_ST, size)
    own_T = [
        stats.spread_interval(a_S, b_S, CONFIDENCE) for a_S, b_S in zip(a_ST.T, b_ST.T, strict=True)
    ]
    infinite = [math.isinf(own.mean or 0.0) for own in own_T]
    if any(infinite):
        flat = [t.name for t, odd in zip(evidence.tasks, infinite, strict=True) if odd]
        return {
            "outcome": "not judged",
            "reason": f"one side does not scatter at all on {listed(flat)}",
        }
    interval, p, unshared_T = stats.combined_spread(a_ST, b_ST, CONFIDENCE)
    interval = interval.steady()
    found = {
        "outcome": verdict_of(claim, interval),
        "per_task": _per_task(evidence, own_T),
        "p": p,
        **_bounds(interval),
    }
    if any(unshared_T) and interval.mean is not None:
        effect = max(abs(interval.mean), claim.margin)
        found["mde"] = stats.minimum_detectable_spread(interval.n, unshared_T, CONFIDENCE, POWER)
        found["n_needed"] = stats.spread_sample_size(effect, unshared_T, CONFIDENCE, POWER)
    return found


def _exact(claim: Exact, evidence: Evidence) -> dict[str, Any]:
    """Fields of the verdict on a quantity that must match to the last digit, record by record."""
    filled = [(t, c) for t, c in zip(evidence.tasks, evidence.a_T, strict=True) if c.values.size]
    found_T = [_farthest(cell.values.tolist(), claim.value) for _, cell in filled]
    wrong = sorted({v for _, c in filled for v in c.values.tolist() if v != claim.value})
    found: dict[str, Any] = {
        "outcome": "contradicted" if wrong else "holds",
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


def _farthest(values: Sequence[float], expected: float) -> float:
    return max(values, key=lambda v: abs(v - expected))


def _bounds(interval: Interval) -> dict[str, Any]:
    interval = interval.steady()
    return {"estimate": interval.mean, "low": interval.low, "high": interval.high}


def _own_means(evidence: Evidence, x_ST: Array) -> list[Interval]:
    """Interval of each task alone, one seed for each training on it."""
    columns = zip(*(side for side in (evidence.a_T, evidence.b_T) if side), strict=True)
    own = []
    for cells_of_task, x_S in zip(columns, x_ST.T, strict=True):
        rows = [evidence.seeds.index(s) for s in distinct(cells_of_task, evidence.seeds)]
        own.append(stats.mean_interval(x_S[rows], CONFIDENCE).steady())
    return own


def _per_task(evidence: Evidence, own_T: Iterable[Interval]) -> tuple[TaskEstimate, ...]:
    names = [t.name for t in evidence.tasks]
    return tuple(
        TaskEstimate(name, own.mean, own.low, own.high, own.n)
        for name, own in zip(names, own_T, strict=True)
    )


def _known_sd(
    suite: Suite, claim: Claim, sources: Sequence[tuple[Scale, Cells]]
) -> tuple[float | None, str | None]:
    """Scatter over seeds of the claim's effect in the first source that has two seeds."""
    if isinstance(claim, Exact | LowerSpread):
        return None, None
    for scale, grouped in sources:
        evidence = gather(suite, scale, claim, grouped)
        if len(evidence.seeds) >= 2:
            return stats.standard_deviation(sample(suite, claim, evidence).x_S), scale.name
    return None, None


def _needed(claim: Claim, effect: float, sd: float) -> int | None:
    """Seeds for 80 % power; each side of an equivalence takes half of what may go wrong."""
    sure = 1 - (1 - POWER) / 2 if isinstance(claim, Equivalent) else POWER
    return stats.sample_size(effect, sd, CONFIDENCE, sure)


def _scale(suite: Suite, name: str) -> Scale:
    for scale in suite.scales:
        if scale.name == name:
            return scale
    there = ", ".join(s.name for s in suite.scales)
    raise UsageError(f"suite {suite.name} has no scale {name!r}; it has: {there}; see --scale")


def _unit(suite: Suite, claim: Claim) -> str:
    unit = suite.metric(claim.metric).unit
    if isinstance(claim, Trend):
        return f"{unit} per {claim.over}".strip()
    return "log ratio" if isinstance(claim, LowerSpread) else unit
