"""What a claim is: one sentence of a paper as frozen, validated, plain data.

Nothing here reads records; `harness.claims` judges.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from harness.settings import Spec

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._+-]{0,63}$")]
"""Names end up in file names: lower case, digits and `._+-`, at most 64 characters."""

ImportPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`package.module:function`, imported only when it is called."""


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
    """Task parameter on the x axis; the slope is per unit of it."""
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
