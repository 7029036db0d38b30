"""Verdicts as reports print them: a sentence for each claim, and the numbers behind all of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness import number
from harness.claims import TaskEstimate, Verdict
from harness.digits import steady
from harness.report.selection import Trial
from harness.report.table import Field, Listing, Row, label
from harness.suite import Claim, Exact, LowerSpread, Suite, Trend

_HEADS = (
    "Claim", "Verdict", "Estimate", "95 % low", "95 % high", "Unit", "Margin", "n", "Failures", "p",
    "p, Holm", "p, sign flip", "MDE", "n needed", "By task", "Source", "Reason",
)  # fmt: skip
_RIGHT = (False, False, True, True, True, False, *[True] * 8, False, False, False)


class Line(NamedTuple):
    """One verdict in words."""

    name: str
    label: str
    outcome: str
    text: str
    source: str
    measured: str
    """Estimate, interval, unit, n and failures, of an exact quantity what was counted and what was
    expected; empty where nothing was measured."""
    reason: str
    """Why the outcome is no other, and the claim's caveat."""
    trials: tuple[Trial, ...]


def lines(
    suite: Suite, verdicts: Sequence[Verdict], trials: Mapping[str, Trial]
) -> tuple[Line, ...]:
    """The verdicts in the order of the suite's claims, which puts the most deciding first."""
    claims = {c.name: c for c in suite.claims}
    return tuple(
        Line(
            v.claim,
            v.label,
            v.outcome,
            claims[v.claim].text,
            claims[v.claim].source,
            _measured(suite, claims[v.claim], v),
            remark(suite, v),
            _behind(v, trials),
        )
        for v in verdicts
    )


def remark(suite: Suite, verdict: Verdict) -> str:
    """What stands beside a verdict: its reason, then the caveat of its claim."""
    caveat = next(c.caveat for c in suite.claims if c.name == verdict.claim)
    return "; ".join(filter(None, (verdict.reason, caveat and f"caveat: {caveat}")))


def claims(suite: Suite, verdicts: Sequence[Verdict], trials: Mapping[str, Trial]) -> Listing:
    """One row per claim with everything that its verdict rests on."""
    by_name = {c.name: c for c in suite.claims}
    rows = []
    for v in verdicts:
        claim = by_name[v.claim]
        margin = None if isinstance(claim, Exact) else claim.margin
        shown = _show(suite, claim, v.estimate)
        n = Field(number.MISSING, "") if v.n is None else Field(str(v.n), v.n)
        fields = [
            Field(claim.text, v.claim),
            Field(v.label),
            _field(shown, shown if isinstance(claim, Exact) else v.estimate),
            _field(_show(suite, claim, v.low), v.low),
            _field(_show(suite, claim, v.high), v.high),
            Field(v.unit),
            _field("" if margin is None else f"{margin:g}", margin),
            n,
            Field(str(v.failures), v.failures),
            *(_field(_p(p), p) for p in (v.p, v.p_holm, v.p_sign_flip)),
            _field(_show(suite, claim, v.mde), v.mde),
            _field("" if v.n_needed is None else number.count(v.n_needed), v.n_needed),
            Field("; ".join(_task(suite, claim, t) for t in v.per_task)),
            Field(claim.source),
            Field(remark(suite, v)),
        ]
        rows.append(Row(tuple(fields), _behind(v, trials), f"v-{v.claim}"))
    return Listing(
        "claims",
        "Claims",
        _HEADS,
        tuple(rows),
        (
            "Margins were fixed before anything ran. MDE: minimum detectable effect, the smallest "
            "that n seeds with this spread find with 80 % power. n needed: seeds for 80 % power at "
            "the observed effect or the margin, whichever is larger.",
        ),
        _RIGHT,
    )


def _measured(suite: Suite, claim: Claim, v: Verdict) -> str:
    if v.estimate is None:
        return ""
    unit = f" {v.unit}" if v.unit else ""
    failures = f", {number.plural(v.failures, 'failure')}" if v.failures else ""
    if isinstance(claim, Exact):
        verb = "not equal" if v.outcome == "contradicted" else "equal"
        counted = f"{_show(suite, claim, v.estimate)}{unit}"
        return f"counted {counted}, expected {_show(suite, claim, claim.value)}: {verb}{failures}"
    parts = [
        _show(suite, claim, v.estimate),
        _interval(suite, claim, v.low, v.high) + unit if v.low is not None else unit.strip(),
    ]
    return f"{' '.join(p for p in parts if p)}, n={v.n}{failures}, margin {claim.margin:g}"


def _show(suite: Suite, claim: Claim, value: float | None) -> str:
    """Slopes and log ratios have no decimals of their own, and exact quantities all of theirs."""
    if value is None:
        return ""
    if isinstance(claim, Exact):
        return f"{value:.15g}"
    if isinstance(claim, Trend | LowerSpread):
        return number.significant(value)
    return number.fixed(value, suite.metric(claim.metric).digits)


def _interval(suite: Suite, claim: Claim, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f"[{_show(suite, claim, low)}, {_show(suite, claim, high)}]"


def _task(suite: Suite, claim: Claim, t: TaskEstimate) -> str:
    show = _show(suite, claim, t.estimate) or number.MISSING
    n = "" if t.n is None else f"n={t.n}"
    bounds = _interval(suite, claim, t.low, t.high)
    return " ".join(p for p in (f"{label(suite.task(t.task))}:", show, bounds, n) if p)


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if steady(p) < 0.001 else number.fixed(p, 3)


def _field(text: str, value: str | float | None) -> Field:
    return Field(text or number.MISSING, "" if value is None else value)


def _behind(v: Verdict, trials: Mapping[str, Trial]) -> tuple[Trial, ...]:
    return tuple(sorted((trials[i] for i in v.ids), key=lambda t: (t.method, t.task, t.seed)))
