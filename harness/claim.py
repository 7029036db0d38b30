"""What a claim is: one sentence of a paper as frozen, validated, plain data.

Nothing here reads records; `harness.claims` judges.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from harness.check import Check, Name
from harness.settings import Spec

Role = Literal["primary", "secondary", "additional", "exact"]
Tier = Literal["exact", "scaled", "proxy"]
"""How near a setting is to the paper's: the same; the same but smaller; something in its place."""

FEWEST_SEEDS = 5
"""Below this many distinct trainings there is no verdict."""
MOST_LOOKS = 10
"""More looks than that leave too little α for each."""


def _rising(looks: tuple[int, ...]) -> tuple[int, ...]:
    rises = all(a < b for a, b in pairwise(looks))
    if not (0 < len(looks) <= MOST_LOOKS and looks[0] >= FEWEST_SEEDS and rises):
        raise ValueError(
            f"looks {looks}: give 1 to {MOST_LOOKS} rising numbers of seeds, the first at least "
            f"{FEWEST_SEEDS}, for example (5, 10, 20, 40)"
        )
    return looks


LookSizes = Annotated[tuple[int, ...], AfterValidator(_rising)]
"""Numbers of distinct trainings at which claims may be judged where seeds are added."""


class Citation(Spec):
    """Where a paper says it."""

    version: str
    """Of the paper or its code: `arXiv v2`, `released code`."""
    place: str
    """Table, figure or section."""
    row: str = ""
    """Row and column of the table."""
    sentence: str = ""
    """The sentence itself, quoted."""


class Basis(Spec):
    """What a margin rests on."""

    text: str
    """In words; a pilot counts, and is named with its scale and seeds."""
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """The day on which the margin was fixed."""


class _Claim(Spec):
    name: Name
    text: str
    """The sentence of the paper, in our words."""
    source: str
    """Section, table or figure of the paper, or that it is an additional control."""
    metric: Name
    tasks: tuple[str, ...]
    """Names or globs of tasks that it speaks of."""
    role: Literal["primary", "secondary", "additional"] = "secondary"
    """Primary: 3 to 5 for each paper, decided first. Secondary: judged once these are decided.
    Additional: a control or a question that the paper does not ask; no verdict, an interval."""
    version: int = Field(default=1, ge=1)
    """Raised by hand when the margin or the question changes after records have been judged."""
    caveat: str = ""
    """Why the verdict does not stand as it is, and what will be tested again; printed beside it."""
    checks: tuple[Check, ...] = ()
    """All must pass, or there is no verdict."""
    citation: Citation | None = None
    rests_on: Basis | None = None
    """What the margin rests on, and since when."""
    tier: Tier | None = None
    """Nearness to the paper's setting where it is not the scale's."""
    margins: dict[str, float] = Field(default_factory=dict)
    """Name or glob of tasks -> the margin there. Where given, the effect on each task is divided by
    its own margin before tasks are averaged, and `margin` is in that unit; a claim over tasks that
    measure different things needs them."""
    axis: str = ""
    """An axis of the scale along which the effect is measured as well; see `harness.suite.Axis`."""


class Beats(_Claim):
    """`a` is better than `b`: the paired difference, averaged over tasks, is above zero."""

    kind: Literal["beats"] = "beats"
    a: Name
    b: Name
    margin: float = Field(gt=0)
    """Difference in the metric's unit below which the two count as equal; fixed in advance."""


class Competitive(_Claim):
    """`a` is not worse than `b` by `margin` or more (non-inferiority)."""

    kind: Literal["competitive"] = "competitive"
    a: Name
    b: Name
    margin: float = Field(gt=0)


class Equivalent(_Claim):
    """`a` and `b` differ by less than `margin` either way."""

    kind: Literal["equivalent"] = "equivalent"
    a: Name
    b: Name
    margin: float = Field(gt=0)


class Trend(_Claim):
    """The metric rises (or falls) with a task parameter; with `b`, more so for `a` than for `b`."""

    kind: Literal["trend"] = "trend"
    a: Name
    b: Name | None = None
    over: str
    """Task parameter, or axis of the scale, on the x axis; the slope is per unit of it."""
    direction: Literal["up", "down"]
    margin: float = Field(gt=0)
    """Slope below which there is no trend."""
    group: tuple[str, ...] = ()
    """Task parameters that stay fixed within one line; slopes are averaged over the lines."""


class Level(_Claim):
    """The metric of `a` is above (or below) a value."""

    kind: Literal["level"] = "level"
    a: Name
    bound: float
    direction: Literal["above", "below"]
    margin: float = Field(gt=0)


class LowerSpread(_Claim):
    """Seeds scatter less for `a` than for `b`: log ratio of standard deviations below zero."""

    kind: Literal["lower-spread"] = "lower-spread"
    a: Name
    b: Name
    margin: float = Field(default=0.1, gt=0)
    """Log ratio within which the two spreads count as equal."""


class Exact(_Claim):
    """A quantity that must match to the last digit: a parameter count, FLOPs, a graph size."""

    kind: Literal["exact"] = "exact"
    role: Literal["exact"] = "exact"  # type: ignore[assignment]
    a: Name
    value: float


Claim = Annotated[
    Beats | Competitive | Equivalent | Trend | Level | LowerSpread | Exact,
    Field(discriminator="kind"),
]

Inexact = Beats | Competitive | Equivalent | Trend | Level | LowerSpread
"""Claims with a margin."""


def sides_of(claim: Claim) -> tuple[str, ...]:
    """The methods that a claim compares, one or two."""
    b = None if isinstance(claim, Level | Exact) else claim.b
    return (claim.a, b) if b else (claim.a,)


def declared(
    claims: Iterable[Claim],
    *,
    primary: Sequence[str],
    additional: Sequence[str] = (),
    rests_on: Basis | None = None,
    checks: Mapping[str, tuple[Check, ...]] | None = None,
    citations: Mapping[str, Citation] | None = None,
) -> tuple[Claim, ...]:
    """A paper's claims with what is declared of many at once; exact ones stay as they are.

    Args:
        claims: of one suite.
        primary: their names.
        additional: names or globs; the rest is secondary.
        rests_on: what all margins rest on that say nothing themselves.
        checks: by name or glob of the claims that they guard; several add up.
        citations: by name or glob; of several the first.

    Raises:
        ValueError: a name or glob that no claim has.
    """
    claims = tuple(claims)
    checks, citations = checks or {}, citations or {}
    for pattern in (*primary, *additional, *checks, *citations):
        if not fnmatch.filter([c.name for c in claims], pattern):
            raise ValueError(f"no claim is called {pattern!r}; correct the name or glob")

    def one(claim: Claim) -> Claim:
        if isinstance(claim, Exact):
            return claim

        def fits(pattern: str) -> bool:
            return fnmatch.fnmatchcase(claim.name, pattern)

        beyond = any(map(fits, additional))
        role = "primary" if claim.name in primary else "additional" if beyond else "secondary"
        guards = tuple(check for name, own in checks.items() if fits(name) for check in own)
        cited = next((cited for name, cited in citations.items() if fits(name)), None)
        return claim.model_copy(
            update={
                "role": role,
                "rests_on": claim.rests_on or rests_on,
                "checks": (*claim.checks, *guards),
                "citation": claim.citation or cited,
            }
        )

    return tuple(map(one, claims))
