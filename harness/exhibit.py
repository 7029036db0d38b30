"""What reports show of a suite beside its claims: tables, figures, published numbers; as data."""

from typing import Literal

from pydantic import Field, JsonValue

from harness.check import ImportPath, Name
from harness.settings import Spec


class Answer(Spec):
    """What the verdicts at one scale say of the paper, in one plain sentence."""

    scale: Name
    text: str
    rests_on: dict[Name, str] = Field(min_length=1)
    """Claim -> the word of its verdict that the sentence was written for, such as `holds`. Reports
    show the sentence only while every verdict is still that one."""


class Reference(Spec):
    """A number that somebody published."""

    table: str
    task: str
    method: str
    metric: str
    value: float
    spread: float | None = None
    n: int | None = None
    note: str = ""
    source: str = "paper"
    """`paper`, or who else published it: then it is shown as an anchor, not as the paper's."""


class Mark(Spec):
    """Sets off the cells of a table whose mean of another metric is below a bound."""

    metric: Name
    below: float
    text: str
    """What the mark means, a sentence."""


class Table(Spec):
    """A comparison table: one row per method, one column per task (or the other way round)."""

    name: Name
    title: str
    metric: Name
    methods: tuple[str, ...] = ("*",)
    tasks: tuple[str, ...] = ("*",)
    rows: Literal["methods", "tasks"] = "methods"
    note: str = ""
    mark: Mark | None = None


class Figure(Spec):
    """A picture drawn from the records alone."""

    name: Name
    title: str
    draw: ImportPath
    """`draw(records, suite, figure)` returns a matplotlib Figure, or None where there is nothing
    to draw; the records are those of one scale, one for each trial, in the suite's order."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    caption: str = ""
