"""Claims against records: one interval, one margin fixed in advance, one verdict each.

The rules, the same for every claim (`harness.effects` says how the interval is made):

- A failed or diverged trial drops its seed and is counted in `failures`. Where more than half of a
  method's trials failed, nothing is judged: what survived is no fair sample of the method.
- A task that one of the methods never ran is named in `reason`, and the label says on how many
  tasks the verdict rests.
- Checks come first: where one fails the claim is not testable here, whatever its interval.
- n counts distinct trainings (see `harness.analysis`): seeds at which every method only measures a
  training again that an earlier seed measured do not count, and one training has no interval.
- Fewer than five trainings give no verdict, and neither does the smoke scale.
- `Exact` counts a quantity that has no scatter: one record is enough, and there is no n.
- `holds` and `opposite` need the interval, an adjusted two-sided p below .05, and that most tasks
  (of a trend the lines) point the same way; otherwise they become `inconclusive`.
- p is adjusted (Holm) over the primary claims that reach a test. Secondary claims are judged, and
  adjusted among themselves, once every primary one is decided: holds, opposite or equivalent.
  Additional claims show their interval and get no verdict.
- Only the exact tier can print `reproduced`, and only where the baseline is the paper's; a proxy
  says nothing against the paper (see `harness.tiers`).
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator

from harness import axes, lazy, sequential, stats, tiers
from harness.analysis import Cells, cells, distinct
from harness.checks import Result, measure
from harness.claim import (
    Claim,
    Competitive,
    Equivalent,
    Exact,
    Inexact,
    LowerSpread,
    Role,
    Tier,
    sides_of,
)
from harness.digits import steady
from harness.effects import (
    CONFIDENCE,
    Agreement,
    TaskEstimate,
    effect,
    exact,
    unit_of,
)
from harness.evidence import Evidence, gather, listed
from harness.looks import Look, of_claim, of_records
from harness.record import Record
from harness.sequential import Looks
from harness.settings import Spec
from harness.suite import FEWEST_SEEDS, Reference, Scale, Suite
from harness.wording import INTERVAL, OPEN, PROXY, Outcome, label

lazy.callable_module(__name__)

ALPHA = 0.05

Steady = Annotated[float, AfterValidator(steady)]
"""A number without its last bits."""

_DECIDED = ("holds", "opposite", "equivalent")
_SILENT = ("not run", "not judged", "not testable")
"""Outcomes that say nothing of the claim."""


class Verdict(Spec):
    """What the records say of a claim. Computed from records, printed, never stored."""

    claim: str
    role: Role
    outcome: Outcome
    label: str
    """The words that reports print."""
    scale: str
    tier: Tier
    unit: str
    estimate: float | None = None
    """Mean over seeds, positive where it speaks for the claim; of spreads the log ratio, negative
    where `a` scatters less; of an exact quantity the number found, where several the one farthest
    from what is claimed."""
    low: Steady | None = None
    high: Steady | None = None
    """Bounds of the 95 % interval; an exact quantity has none, and neither have equal effects."""
    look: str = ""
    """Which look decides, else the last one: `look 2 of 4`; empty without looks."""
    method: str = ""
    """How the interval was made, where it is not the usual t."""
    n: int | None = 0
    """Distinct trainings (pairs, where two methods are compared); None for an exact quantity."""
    shared: tuple[str, ...] = ()
    """Random artifacts that all of them have in common."""
    per_task: tuple[TaskEstimate, ...] = ()
    """Same sign as the whole; for a trend the level of the metric itself."""
    agreement: Agreement | None = None
    """Whether the tasks say the same; None for a single one."""
    checks: tuple[Result, ...] = ()
    failures: int = 0
    """Records without a number among those involved."""
    p: Steady | None = None
    """Two-sided, against zero, or against the nearest margin where the claim is about a margin."""
    p_holm: Steady | None = None
    """Adjusted over the claims of the same role that reached a test; None where not judged."""
    p_sign_flip: Steady | None = None
    """A check without normality, from six seeds on: the sign-flip test of the same difference."""
    mde: Steady | None = None
    """Smallest effect that n seeds with this scatter find with 80 % power, before Holm; None where
    nothing scatters."""
    n_needed: int | None = None
    """Seeds for 80 % power at the observed effect or the margin, whichever is larger."""
    reason: str = ""
    unmatched: str = ""
    """At the exact tier: why the baseline is not the paper's; empty where it is."""
    curve: axes.Curve | None = None
    """The effect along the claim's axis, where the scale has it."""
    ids: tuple[str, ...] = ()
    """Short ids of all records involved, failed ones too, sorted."""

    @property
    def word(self) -> str:
        """The label in a word or two: what is counted, and what a line has room for."""
        for word in ("reproduced", "not reproduced", "not testable here", "not judged"):
            if self.label.startswith(word):
                return word
        return "" if self.outcome == "interval" else self.outcome


def judge(
    suite: Suite,
    scale_name: str,
    runs: pd.DataFrame,
    records: Iterable[Record] = (),
    references: Iterable[Reference] = (),
    taken: Sequence[Look] = (),
) -> tuple[Verdict, ...]:
    """Verdicts on all claims of a suite, in its order, from the runs of one scale.

    Args:
        suite: whose claims.
        scale_name: which scale's runs count; others in the table are ignored.
        runs: what `harness.analysis.frame` returns, with the variants at the points of the
            scale's axes.
        records: the records behind them, for checks of curves and counts.
        references: published numbers, which tell whether a baseline is the paper's.
        taken: looks at claims (`harness.looks`): such a claim is judged at the looks of their
            schedule that its trainings allow, on the interval of the one that decides and
            with the p of all of them.

    Raises:
        UsageError: the suite has no such scale.
        SpecError: a claim that its tasks cannot answer, as a trend over a parameter they lack.
        StoreError: a trial with two records.
    """
    scale = suite.known_scale(scale_name)

    @functools.cache
    def cells_of(name: str) -> Cells:
        return cells(runs[runs["scale"] == name])

    records, references = [r for r in records if r.scale == scale.name], list(references)
    taken = [look for look in taken if look.scale == scale.name]
    drafts = [
        _draft(suite, scale, c, cells_of, records, references, of_claim(taken, c.name, c.version))
        for c in suite.claims
    ]
    far = tiers.distance(suite, scale)
    judged: dict[int, Verdict] = {}
    for role in ("primary", "secondary"):
        own = [i for i, draft in enumerate(drafts) if draft.role == role]
        closed = all(v.outcome in _DECIDED for v in judged.values())
        if role == "secondary" and not closed:
            judged |= {i: _unopened(drafts[i]) for i in own}
            continue
        tested = [i for i in own if drafts[i].p is not None]
        adjusted = stats.holm([drafts[i].p or 0.0 for i in tested])
        p_holm = dict(zip(tested, adjusted, strict=True))
        judged |= {i: _decided(drafts[i], suite.claims[i], p_holm.get(i), len(tested), far)
                   for i in own}  # fmt: skip
    return tuple(judged.get(i, draft) for i, draft in enumerate(drafts))


def _draft(
    suite: Suite,
    scale: Scale,
    claim: Claim,
    cells_of: axes.CellsOf,
    records: Sequence[Record],
    references: Sequence[Reference],
    kept: Sequence[Look],
) -> Verdict:
    """A verdict before Holm; of a claim that can be decided the label holds what is to be added."""
    grouped, place = cells_of(scale.name), axes.placed(suite, scale, claim, cells_of)
    every = gather(*place) if place else _elsewhere(claim)
    evidence = every.once(claim)
    n, used = len(evidence.seeds), evidence.cells
    results: tuple[Result, ...] = ()
    reasons = list(evidence.reasons)
    if scale.size == "smoke":
        found: dict[str, Any] = {"outcome": "not judged"}
        reasons = ["smoke scale measures nothing"]
    else:
        results = measure(suite, scale, claim, grouped, records)
        judged_claim = place[2] if place else claim
        found, evidence = _measured(suite, judged_claim, every, evidence, kept)
        n, used = len(evidence.seeds), evidence.cells
    tier, unmatched = tiers.tier_of(scale, claim, evidence.tasks), ""
    if tier == "exact" and found["outcome"] in _DECIDED:
        unmatched = tiers.baselines_match(suite, claim, evidence.tasks, grouped, references)
    fixed = [t.task for t in found.get("per_task", ()) if t.n == 1 < n]
    reasons = [
        *filter(None, [found.get("reason")]),
        *reasons,
        *([f"not a reproduction: {unmatched}"] if unmatched else []),
        *([f"one training alone on {listed(fixed)}"] if fixed else []),
    ]
    failed = [result for result in results if not result.passed]
    if failed and found["outcome"] != "not run":
        found |= {"outcome": "not testable", "p": None, "p_sign_flip": None}
    elif claim.role == "additional" and found["outcome"] not in ("not run", "not judged"):
        found["outcome"] = "interval"
    words, judged = _undecided(found["outcome"], failed), len(evidence.tasks)
    if judged < evidence.expected and found["outcome"] not in _SILENT:
        words += f", on {judged} of {evidence.expected} tasks"
    common = {
        "claim": claim.name,
        "role": claim.role,
        "label": words,
        "scale": scale.name,
        "tier": tier,
        "unit": unit_of(suite, claim),
        "n": None if isinstance(claim, Exact) else n,
        "shared": evidence.shared if n > 1 else (),
        "checks": results,
        "failures": sum(c.failures for c in used),
        "unmatched": unmatched,
        "curve": axes.along(suite, scale, claim, cells_of) if scale.size != "smoke" else None,
        "ids": tuple(sorted({short for c in used for short in c.ids})),
    }
    return Verdict.model_validate(common | found | {"reason": "; ".join(reasons)})


def _elsewhere(claim: Claim) -> Evidence:
    """Of a trend over an axis that the scale does not have."""
    why = f"the scale has no axis {getattr(claim, 'over', '')}"
    return Evidence((), 0, (), (), (), "not run", (why,))


def _measured(
    suite: Suite, claim: Claim, every: Evidence, evidence: Evidence, kept: Sequence[Look]
) -> tuple[dict[str, Any], Evidence]:
    """Fields of the verdict that come from the numbers, and the evidence that they rest on."""
    if evidence.outcome:
        return {"outcome": evidence.outcome}, evidence
    if isinstance(claim, Exact):
        return exact(claim, evidence), evidence
    n = len(evidence.seeds)
    if kept and n >= kept[0].schedule[0]:  # whatever its role has become
        return _at_looks(suite, claim, evidence, kept)
    found = effect(suite, claim, evidence) if n else {}
    if n < FEWEST_SEEDS:
        found |= dict.fromkeys(("p", "p_sign_flip", "n_needed", "reason"))
        found |= {"outcome": "not judged", "reason": _too_few(claim, every, n)}
    return found, evidence


def _at_looks(
    suite: Suite, claim: Inexact, evidence: Evidence, kept: Sequence[Look]
) -> tuple[dict[str, Any], Evidence]:
    """The look that decides, else the last one: its interval, and the p of all looks so far.

    Each look's interval is of the level that the look may spend, so that all hold at once. The
    schedule is that of the first look that was taken, whatever the scale says today.
    """
    schedule = Looks(schedule=kept[0].schedule)
    level = 1 - sequential.boundary(schedule, 1, 1 - CONFIDENCE)
    parts = [evidence.at(size, kept) for size in schedule.taken(len(evidence.seeds))]
    found = [effect(suite, claim, part, level) for part in parts]
    p_values = [own.get("p") for own in found]
    if all(p is None for p in p_values):
        return found[-1], parts[-1]
    over = sequential.over_looks([1.0 if p is None else p for p in p_values], schedule)
    look = over.look
    # An equivalence that was found stays found.
    equal = next((k for k, own in enumerate(found, 1) if own["outcome"] == "equivalent"), None)
    if equal and (equal < look or found[look - 1]["outcome"] not in _DECIDED):
        look = equal
    if found[look - 1]["outcome"] not in _DECIDED:
        look = len(found)
    best, judged = found[look - 1], {of_records(part.trainings()) for part in parts}
    name = f"look {look} of {len(schedule.schedule)}"
    if gone := [other.spent for other in kept if other.records not in judged]:
        total = 100 * steady(math.fsum([ALPHA, *gone]))
        why = f"{len(gone)} more at other records: all looks may err in {total:.3g} %, not 5 %"
        best = best | {"reason": "; ".join(filter(None, (best.get("reason"), why)))}
    return best | {"p": over.p, "look": name}, parts[look - 1]


def _undecided(outcome: Outcome, failed: Sequence[Result]) -> str:
    """The words of what needs no correction; empty for the rest."""
    if outcome == "not testable":
        return f"not testable here: {'; '.join(result.words for result in failed)}"
    if outcome == "interval":
        return INTERVAL
    return outcome if outcome in ("not run", "not judged", "equal", "not equal") else ""


def _too_few(claim: Claim, every: Evidence, n: int) -> str:
    """Why there is no verdict: few seeds, or one training that all of them measured."""
    seeds = len(every.seeds)
    sides = list(zip(sides_of(claim), (every.a_T, every.b_T), strict=False))
    alone = [a for a, side in sides if any(len(distinct([c], every.seeds)) == 1 for c in side)]
    if n == seeds and not (n == 1 and any(c.constant for c in every.cells)):
        return f"n = {n} < {FEWEST_SEEDS}"
    of = f" of {alone[0]}" if len(alone) < len(sides) else ""
    times = f" measured {seeds} times" if seeds > 1 else ""
    return f"n = {n}, one training{of}{times}"


def _unopened(draft: Verdict) -> Verdict:
    """A secondary claim while primary ones are open: its numbers, without a verdict."""
    if draft.outcome not in (*_DECIDED, "inconclusive"):
        return draft
    return draft.model_copy(update={"outcome": "not judged", "label": OPEN})


def _decided(
    draft: Verdict, claim: Claim, p_holm: float | None, tests: int, far: Sequence[str]
) -> Verdict:
    """The draft with Holm and the rule of the majority applied, and its label written."""
    outcome, reasons = draft.outcome, [draft.reason] if draft.reason else []
    if outcome not in (*_DECIDED, "inconclusive"):
        return draft.model_copy(update={"p_holm": p_holm})
    if outcome in ("holds", "opposite"):
        if p_holm is not None and steady(p_holm) >= ALPHA:
            outcome = "inconclusive"
            if draft.p is None or draft.p < ALPHA:
                why = f"not significant after Holm-Bonferroni correction (m = {tests})"
                reasons.insert(0, why)
        elif (few := draft.agreement) and not _most(few, draft.outcome):
            number = few.on if draft.outcome == "holds" else few.against
            outcome = "inconclusive"
            reasons.insert(0, f"no majority: {number} of {few.of} tasks point that way")
    if draft.tier == "proxy" and outcome in ("opposite", "equivalent"):
        return draft.model_copy(update={"outcome": "not judged", "label": PROXY, "p_holm": p_holm})
    words: str = outcome
    if outcome != "inconclusive":
        words = label(outcome, draft.scale, draft.tier, far, draft.unmatched)
        if outcome == "holds" and _exceeds(draft, claim):
            words += f" (the whole {100 * CONFIDENCE:.0f} % CI exceeds the margin)"
    return draft.model_copy(
        update={
            "outcome": outcome,
            "label": words + draft.label,
            "reason": "; ".join(reasons),
            "p_holm": p_holm,
        }
    )


def _most(agreement: Agreement, outcome: Outcome) -> bool:
    side = agreement.on if outcome == "holds" else agreement.against
    return 2 * side > agreement.of


def _exceeds(draft: Verdict, claim: Claim) -> bool:
    """Whether the whole interval lies beyond the margin on the claim's side."""
    if isinstance(claim, Exact | Competitive | Equivalent):
        return False
    if isinstance(claim, LowerSpread):
        return draft.high is not None and draft.high < -claim.margin
    return draft.low is not None and draft.low > claim.margin
