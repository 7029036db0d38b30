"""What a check is: a condition under which a claim may get a verdict at all, as plain data.

`harness.checks` measures them. A failed check gives "not testable here", with the number.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from harness.settings import Spec

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._+-]{0,63}$")]
"""Names end up in file names: lower case, digits and `._+-`, at most 64 characters."""

ImportPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`package.module:function`, imported only when it is called."""


class _Check(Spec):
    label: str = ""
    """How tables call it; by default a name is made from its fields."""
    tasks: tuple[str, ...] = ()
    """Names or globs; empty: the tasks of the claim."""


class Floor(_Check):
    """The mean of a method's metric is at least `bound` on every task: it learnt something."""

    kind: Literal["floor"] = "floor"
    method: Name
    metric: Name | None = None
    """None: the claim's."""
    bound: float


class Ceiling(_Check):
    """The mean of a method's metric is at most `bound` on every task: there is room above it."""

    kind: Literal["ceiling"] = "ceiling"
    method: Name
    metric: Name | None = None
    bound: float


class Converged(_Check):
    """A training curve has come to rest: its last tenth differs little from the tenth before.

    The mean over trainings of |mean of the last tenth - mean of the tenth before| is at most
    `within`, for each method on every task.
    """

    kind: Literal["converged"] = "converged"
    methods: tuple[Name, ...]
    series: str
    """Name of the curve in the records, such as `loss` or `val`."""
    within: float = Field(gt=0)
    """In the unit of the curve."""


class Active(_Check):
    """The ingredient does something: a metric, averaged over the tasks, passes a bound.

    With `without`, the mean of the metric less that of the method without the ingredient, turned
    round where the metric is better lower.
    """

    kind: Literal["active"] = "active"
    method: Name
    metric: Name | None = None
    without: Name | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        _one_bound(self.kind, self.at_least, self.at_most)
        return self


class BudgetRatio(_Check):
    """What `a` spends over what `b` spends is near a ratio, the paper's."""

    kind: Literal["budget-ratio"] = "budget-ratio"
    a: Name
    b: Name
    count: str
    """Counted budget in the records, such as `flops`."""
    per: str = ""
    """Counted budget that it is divided by, such as `tokens`; empty: none."""
    ratio: float = Field(gt=0)
    within: float = Field(gt=0)
    """Relative distance allowed: 0.1 for a tenth."""


class Measured(_Check):
    """A number of one's own: `function(records, check)` of the claim's records; None: not measured.

    The records are those of the methods named here on the check's tasks, of one scale.
    """

    kind: Literal["measured"] = "measured"
    function: ImportPath
    methods: tuple[Name, ...]
    params: dict[str, JsonValue] = Field(default_factory=dict)
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        _one_bound(self.kind, self.at_least, self.at_most)
        return self


Check = Annotated[
    Floor | Ceiling | Converged | Active | BudgetRatio | Measured, Field(discriminator="kind")
]


def methods_of(check: Check) -> tuple[str, ...]:
    """The methods whose records a check reads."""
    if isinstance(check, Converged | Measured):
        return check.methods
    if isinstance(check, BudgetRatio):
        return check.a, check.b
    without = check.without if isinstance(check, Active) else None
    return (check.method, without) if without else (check.method,)


def _one_bound(kind: str, low: float | None, high: float | None) -> None:
    if (low is None) == (high is None):
        raise ValueError(f"check {kind}: give one of at_least and at_most")
