"""Verdicts as reports print them: a sentence for each claim, and the numbers behind all of them."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from harness import number
from harness.axes import worded
from harness.claim import Claim, Exact, LowerSpread, Role, Trend
from harness.claims import Verdict
from harness.digits import steady
from harness.effects import Agreement, TaskEstimate
from harness.report import plot
from harness.report.selection import Trial
from harness.report.table import Field, Listing, Row, label
from harness.suite import Suite
from harness.wording import TITLES

_HEADS = (
    "Claim", "Role", "Verdict", "Setting", "Estimate", "95 % low", "95 % high", "Unit", "Margin",
    "Margin fixed", "n", "Shared", "Failures", "p", "p, Holm", "p, sign flip", "MDE", "n needed",
    "Tasks", "By task", "Source", "Reason",
)  # fmt: skip
_RIGHT = (
    *[False] * 4, *[True] * 3, False, True, False, True, False, *[True] * 6, *[False] * 4,
)  # fmt: skip


class Line(NamedTuple):
    """One verdict in words."""

    name: str
    role: Role
    label: str
    word: str
    """The label in a word or two: what is counted."""
    outcome: str
    text: str
    source: str
    measured: str
    """Estimate, interval, unit, n and failures, of an exact quantity what was counted and what was
    expected; empty where nothing was measured."""
    reason: str
    """Why the outcome is no other, and the claim's caveat."""
    response: str
    """What the paper's authors say of it; empty where they have not."""
    trials: tuple[Trial, ...]
    effect: str
    """Estimate, interval and unit, signed; empty where nothing was measured."""
    short: str
    """The same in three digits."""
    forest: Markup
    """The same as a picture, to the right what speaks for the claim."""
    paper: str
    """What the published numbers give; empty where the suite names none."""
    numbers: tuple[tuple[str, str], ...]
    """What else the verdict rests on: a name and a text each."""
    tasks: tuple[str, ...]
    """What each task gives."""

    @property
    def rest(self) -> str:
        """The label without its word."""
        return self.label.removeprefix(self.word or "additional").lstrip(" :,")

    @property
    def pairs(self) -> tuple[tuple[str, str, str], ...]:
        """Method, task, and scale or variant of the records behind it."""
        return tuple(dict.fromkeys((t.method, t.task, t.scale) for t in self.trials))


class Group(NamedTuple):
    """The verdicts of one role."""

    title: str
    lines: tuple[Line, ...]


def lines(
    suite: Suite,
    verdicts: Sequence[Verdict],
    trials: Mapping[str, Trial],
    responses: Mapping[str, str] | None = None,
) -> tuple[Line, ...]:
    """The verdicts in the order of the suite's claims, which puts the most deciding first."""
    claims = {c.name: c for c in suite.claims}
    return tuple(
        Line(
            name=v.claim,
            role=v.role,
            label=v.label,
            word=v.word,
            outcome=v.outcome,
            text=claims[v.claim].text,
            source=_source(claims[v.claim]),
            measured=_measured(suite, claims[v.claim], v),
            reason=remark(suite, v),
            response=(responses or {}).get(v.claim, ""),
            trials=_behind(v, trials),
            effect=_effect(suite, claims[v.claim], v),
            short=_short(v),
            forest=_forest(suite, claims[v.claim], v),
            paper=_paper(suite, claims[v.claim], v),
            numbers=_numbers(suite, claims[v.claim], v),
            tasks=tuple(_task(suite, claims[v.claim], t) for t in v.per_task),
        )
        for v in verdicts
    )


def _effect(suite: Suite, claim: Claim, v: Verdict) -> str:
    if v.estimate is None:
        return ""
    shown = _show(suite, claim, v.estimate)
    sign = "+" if not isinstance(claim, Exact) and shown.strip("0.") and v.estimate > 0 else ""
    parts = (sign + shown, _interval(suite, claim, v.low, v.high), v.unit)
    return " ".join(part for part in parts if part)


def _short(v: Verdict) -> str:
    if v.estimate is None:
        return ""
    size = steady(max(abs(x) for x in (v.estimate, v.low, v.high) if x is not None))
    digits = min(6, max(0, 2 - int(f"{size:.5e}".partition("e")[2])))
    mean = f"{'+' * (v.estimate > 0)}{number.fixed(v.estimate, digits)}"
    return " ".join(p for p in (mean, number.interval(v.low, v.high, digits), v.unit) if p)


def _forest(suite: Suite, claim: Claim, v: Verdict) -> Markup:
    if isinstance(claim, Exact) or v.estimate is None:
        return Markup()
    cited, turn = claim.citation, -1 if isinstance(claim, LowerSpread) else 1
    low, high = (None if end is None else turn * end for end in (v.low, v.high))
    low, high = (low, high) if turn > 0 else (high, low)
    said = f"{_effect(suite, claim, v)}, margin {claim.margin:g}; right of the middle speaks for it"
    paper = turn * cited.effect if cited and cited.effect is not None else None
    return plot.forest(turn * v.estimate, low, high, claim.margin, paper=paper, said=said)


def _paper(suite: Suite, claim: Claim, v: Verdict) -> str:
    cited = claim.citation
    if cited is None or cited.effect is None:
        return ""
    shown = _show(suite, claim, cited.effect)
    return f"{'+' * (cited.effect > 0)}{shown} {v.unit}".strip()


def _numbers(suite: Suite, claim: Claim, v: Verdict) -> tuple[tuple[str, str], ...]:
    if isinstance(claim, Exact):
        return ()
    basis = claim.rests_on
    told = (
        ("margin", f"{claim.margin:g}" + (f", fixed {basis.date}: {basis.text}" if basis else "")),
        ("n", str(v.n) + (f", with shared {number.listed(v.shared)}" if v.shared else "")),
        ("interval", v.method),
        ("failures", str(v.failures) if v.failures else ""),
        ("p", _p(v.p)),
        ("p, Holm", _p(v.p_holm)),
        ("p, sign flip", _p(v.p_sign_flip)),
        ("MDE", _show(suite, claim, v.mde)),
        ("n needed", "" if v.n_needed is None else number.count(v.n_needed)),
        ("agreement", _agreement(suite, claim, v.agreement)),
    )
    return tuple((name, text) for name, text in told if text)


def groups(lines: Sequence[Line]) -> tuple[Group, ...]:
    """The verdicts by role, primary ones first; exact quantities have a table of their own."""
    own = {role: tuple(x for x in lines if x.role == role) for role in TITLES if role != "exact"}
    return tuple(Group(TITLES[role], there) for role, there in own.items() if there)


def counted(lines: Sequence[Line]) -> str:
    """How many claims came out which way; exact quantities and controls have no part in it."""
    counts: dict[str, int] = {}
    for line in lines:
        if line.role in ("primary", "secondary"):
            counts[line.word] = counts.get(line.word, 0) + 1
    return ", ".join(f"{n} {word}" for word, n in counts.items())


def remark(suite: Suite, verdict: Verdict) -> str:
    """What stands beside a verdict: its look, its reason, then the caveat of its claim."""
    caveat = next(c.caveat for c in suite.claims if c.name == verdict.claim)
    look = verdict.look and f"judged at {verdict.look}"
    return "; ".join(filter(None, (look, verdict.reason, caveat and f"caveat: {caveat}")))


def claims(suite: Suite, verdicts: Sequence[Verdict], trials: Mapping[str, Trial]) -> Listing:
    """One row per claim with everything that its verdict rests on; exact ones are elsewhere."""
    rows = []
    order = [v for role in TITLES for v in verdicts if v.role == role]
    for v in order:
        claim = next(c for c in suite.claims if c.name == v.claim)
        if isinstance(claim, Exact):
            continue
        basis = claim.rests_on
        fields = [
            Field(claim.text, v.claim),
            Field(v.role),
            Field(v.label),
            Field(v.tier),
            _field(_show(suite, claim, v.estimate), v.estimate),
            _field(_show(suite, claim, v.low), v.low),
            _field(_show(suite, claim, v.high), v.high),
            Field(v.unit),
            _field(f"{claim.margin:g}", claim.margin),
            _field(f"{basis.date}: {basis.text}" if basis else "", basis.date if basis else None),
            Field(str(v.n), v.n or 0),
            _field(number.listed(v.shared), ", ".join(v.shared)),
            Field(str(v.failures), v.failures),
            *(_field(_p(p), p) for p in (v.p, v.p_holm, v.p_sign_flip)),
            _field(_show(suite, claim, v.mde), v.mde),
            _field("" if v.n_needed is None else number.count(v.n_needed), v.n_needed),
            _field(_agreement(suite, claim, v.agreement), None),
            Field("; ".join(_task(suite, claim, t) for t in v.per_task)),
            Field(_source(claim)),
            Field(remark(suite, v)),
        ]
        rows.append(Row(tuple(fields), _behind(v, trials)))
    return Listing(
        "claims",
        "Claims",
        _HEADS,
        tuple(rows),
        (
            "Margins were fixed before anything ran, on the day given. MDE: minimum detectable "
            "effect, the smallest that n seeds with this spread find with 80 % power. n needed: "
            "seeds for 80 % power at the observed effect or the margin, whichever is larger. "
            "Shared: what all replicates rest on, so that the interval does not cover it.",
        ),
        _RIGHT,
    )


def brief(claims: Listing) -> Listing:
    """What of the claims a paper has room for: primary and secondary ones, five columns."""
    rows = []
    for row in claims.rows:
        at = {name: field.text for name, field in zip(claims.columns, row.fields, strict=True)}
        if at["Role"] not in ("primary", "secondary"):
            continue
        low, high = at["95 % low"], at["95 % high"]
        bounds = f"[{low}, {high}]" if number.MISSING not in (low, high) else ""
        effect = " ".join(part for part in (at["Estimate"], bounds, at["Unit"]) if part)
        effect = number.MISSING if at["Estimate"] == number.MISSING else effect
        verdict = re.split(r"[:(,]", at["Verdict"])[0].strip()
        texts = (at["Claim"], verdict, effect, at["n"], at["p, Holm"])
        rows.append(Row(tuple(map(Field, texts)), row.trials))
    heads = ("Claim", "Verdict", "Effect, 95 % CI", "n", "p, Holm")
    numeric = (False, False, True, True, True)
    return claims._replace(columns=heads, rows=tuple(rows), notes=(), numeric=numeric)


def exact(suite: Suite, verdicts: Sequence[Verdict], trials: Mapping[str, Trial]) -> Listing:
    """The quantities that must match to the last digit."""
    rows = []
    for v in verdicts:
        claim = next(c for c in suite.claims if c.name == v.claim)
        if isinstance(claim, Exact):
            fields = (
                Field(claim.text, v.claim),
                Field(_show(suite, claim, claim.value), claim.value),
                _field(_show(suite, claim, v.estimate), v.estimate),
                Field(v.label),
                Field(_source(claim)),
                Field(v.reason),
            )
            rows.append(Row(fields, _behind(v, trials)))
    heads = ("Quantity", "Expected", "Counted", "Equal?", "Source", "Reason")
    notes = ("Counted, not estimated: no n and no interval, and no part in any count of verdicts.",)
    right = (False, True, True, False, False, False)
    return Listing("exact", "Exact quantities", heads, tuple(rows), notes, right)


def checks(suite: Suite, verdicts: Sequence[Verdict]) -> Listing:
    """Every check of every claim that was run, whether it passes or not."""
    texts = {c.name: c.text for c in suite.claims}
    rows = [
        Row(
            (
                Field(texts[v.claim], v.claim),
                Field(result.name),
                _field("" if result.value is None else number.significant(result.value),
                       result.value),
                Field(result.needed),
                Field("passes" if result.passed else "fails"),
                Field(result.task or number.MISSING),
            )
        )
        for v in verdicts
        if v.outcome != "not run"
        for result in v.checks
    ]  # fmt: skip
    heads = ("Claim", "Check", "Measured", "Needed", "Outcome", "Where")
    notes = ("A claim has a verdict only where all of its checks pass.",)
    right = (False, False, True, False, False, False)
    return Listing("checks", "Checks", heads, tuple(rows), notes, right)


def curves(suite: Suite, verdicts: Sequence[Verdict]) -> Listing:
    """The effect of claims at every value of their axes, and its slope toward the paper's."""
    rows = []
    for v in verdicts:
        if v.curve is None:
            continue
        claim, unit = next(c for c in suite.claims if c.name == v.claim), v.curve.axis.unit
        name = v.curve.axis.label or v.curve.axis.name
        per = "per factor of ten" if v.curve.decades else f"per {unit or 'unit'}"
        lines = [
            (Field("effect"), Field(worded(v.curve.axis, e.value), e.value), e.interval, v.unit)
            for e in v.curve.effects
        ]
        slope = f"slope toward the paper's: {v.curve.paper}" if v.curve.paper else "slope"
        none = Field(number.MISSING, "")
        lines.append((Field(slope), none, v.curve.slope, f"{v.unit} {per}".strip()))
        for what, at, i, of in lines:
            low, high = (None, None) if i.low == i.high else (i.low, i.high)
            rows.append(
                Row(
                    (
                        Field(claim.text, v.claim),
                        Field(name, v.curve.axis.name),
                        what,
                        at,
                        _field(number.significant(i.mean or 0), i.mean),
                        _field("" if low is None else number.significant(low), low),
                        _field("" if high is None else number.significant(high), high),
                        Field(of),
                        Field(str(i.n), i.n),
                    )
                )
            )  # fmt: skip
    heads = ("Claim", "Axis", "What", "At", "Effect", "95 % low", "95 % high", "Unit", "n")
    notes = ("Positive speaks for the claim; a positive slope grows toward the paper's value.",)
    right = (False, False, False, True, True, True, True, False, True)
    return Listing("curves", "Effects along axes", heads, tuple(rows), notes, right)


def _source(claim: Claim) -> str:
    cited = claim.citation
    if cited is None:
        return claim.source
    row = f", {cited.row}" if cited.row else ""
    sentence = f": “{cited.sentence}”" if cited.sentence else ""
    return f"{cited.place}{row}, {cited.version}{sentence}"


def _measured(suite: Suite, claim: Claim, v: Verdict) -> str:
    if v.estimate is None:
        return ""
    unit = f" {v.unit}" if v.unit else ""
    failures = f", {number.plural(v.failures, 'failure')}" if v.failures else ""
    if isinstance(claim, Exact):
        counted, want = (_show(suite, claim, value) for value in (v.estimate, claim.value))
        return f"counted {counted}{unit}, expected {want}: {v.outcome}{failures}"
    parts = [
        _show(suite, claim, v.estimate),
        _interval(suite, claim, v.low, v.high) + unit if v.low is not None else unit.strip(),
    ]
    words = [
        " ".join(p for p in parts if p),
        f"n={v.n}" + (f" (shared: {number.listed(v.shared)})" if v.shared else ""),
        v.method,
        f"margin {claim.margin:g}" + (f" of {claim.rests_on.date}" if claim.rests_on else ""),
        _agreement(suite, claim, v.agreement),
    ]
    return ", ".join(filter(None, words[:2])) + failures + "".join(f", {w}" for w in words[2:] if w)


def _agreement(suite: Suite, claim: Claim, a: Agreement | None) -> str:
    if a is None:
        return ""
    parts = "lines" if isinstance(claim, Trend) else "tasks"
    i2 = "" if a.i2 is None else f", I² {number.fixed(100 * a.i2, 0)} %"
    low, high = _show(suite, claim, a.low), _show(suite, claim, a.high)
    return f"{a.on} of {a.of} {parts} agree ({low} to {high}{i2})"


def _show(suite: Suite, claim: Claim, value: float | None) -> str:
    """Slopes and log ratios have no decimals of their own, and exact quantities all of theirs."""
    if value is None:
        return ""
    if isinstance(claim, Exact):
        return f"{value:.15g}"
    if isinstance(claim, Trend | LowerSpread) or claim.margins:
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
    name = next((label(task) for task in suite.tasks if task.name == t.task), t.task)  # or a point
    return " ".join(p for p in (f"{name}:", show, bounds, n) if p)


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if steady(p) < 0.001 else number.fixed(p, 3)


def _field(text: str, value: str | float | None) -> Field:
    return Field(text or number.MISSING, "" if value is None else value)


def _behind(v: Verdict, trials: Mapping[str, Trial]) -> tuple[Trial, ...]:
    return tuple(sorted((trials[i] for i in v.ids), key=lambda t: (t.method, t.task, t.seed)))
