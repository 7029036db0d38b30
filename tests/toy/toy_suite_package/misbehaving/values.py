"""Methods that return, keep, change or raise what they should not."""

import math
from collections.abc import Iterator
from typing import Any

from harness.run import Context
from harness.settings import Settings
from toy_suite_package.misbehaving.ending import ends

GOOD = {"height": 1.0}


class Given(Settings):
    """Lists of the method and its task."""

    things: list[Any]
    """Of the method."""
    places: list[int]
    """Of the task."""


# -- returns --------------------------------------------------------------------------------------


@ends("failed")
def returns_none(ctx: Context) -> Any:
    """A forgotten return."""


@ends("failed")
def returns_a_list(ctx: Context) -> Any:
    """No names."""
    return [1.0, 2.0]


@ends("failed")
def returns_a_number(ctx: Context) -> Any:
    """No name."""
    return 1.0


@ends("failed", "height")
def returns_nothing_wanted(ctx: Context) -> Any:
    """The metric is missing."""
    return {"noise": 1.0}


@ends("failed", "width")
def returns_too_much(ctx: Context) -> Any:
    """A metric that the task does not know."""
    return {"height": 1.0, "width": 1.0}


@ends("diverged", "nan")
def returns_nan(ctx: Context) -> Any:
    """Not a number."""
    return {"height": math.nan}


@ends("diverged", "inf")
def returns_infinity(ctx: Context) -> Any:
    """Beyond all numbers."""
    return {"height": -math.inf}


@ends("failed")
def returns_a_word(ctx: Context) -> Any:
    """A metric that is text."""
    return {"height": "1.0"}


@ends("failed|ok")
def returns_a_truth(ctx: Context) -> Any:
    """A metric that is true."""
    return {"height": True}


@ends("ok")
def returns_a_numpy_scalar(ctx: Context) -> Any:
    """What numpy's functions return."""
    import numpy as np

    return {"height": np.float32(1.5), "noise": np.int64(2)}


@ends("failed")
def returns_an_array(ctx: Context) -> Any:
    """Many numbers for one."""
    import numpy as np

    return {"height": np.ones(3)}


@ends("failed")
def returns_a_complex_number(ctx: Context) -> Any:
    """No order."""
    return {"height": 1j}


@ends("failed|diverged")
def returns_a_huge_integer(ctx: Context) -> Any:
    """No float holds it."""
    return {"height": 10**400}


@ends("failed", "RuntimeError|float|number")
def returns_what_refuses(ctx: Context) -> Any:
    """An object that fails as it becomes a number."""

    class Refuses:
        def __float__(self) -> float:
            raise RuntimeError("I am no number")

    return {"height": Refuses()}


@ends("failed")
def returns_hostile_keys(ctx: Context) -> Any:
    """Keys that cannot be compared, hashed twice or printed."""

    class Key(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise RuntimeError("no name")

        def __lt__(self, other: str) -> bool:
            raise RuntimeError("no order")

    return {Key("height "): 1.0, Key("other"): 1.0, None: 2.0, (1,): 3.0}


class _Shifting(dict[str, float]):
    """Other keys and values at every look."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        type(self).looks += 1
        return iter(["height"] if type(self).looks % 2 else ["width"])

    def __getitem__(self, key: str) -> float:
        type(self).looks += 1
        return math.nan if type(self).looks > 3 else 1.0


@ends("ok|failed|diverged")
def returns_a_shifting_mapping(ctx: Context) -> Any:
    """A mapping that changes while it is read."""
    return _Shifting(height=1.0)


@ends("failed")
def returns_a_generator(ctx: Context) -> Any:
    """A `yield` too many."""
    yield {"height": 1.0}


@ends("failed")
async def returns_a_coroutine(ctx: Context) -> Any:
    """Nobody awaits it."""
    return GOOD


@ends("failed", "TypeError")
def takes_nothing() -> Any:
    """Another signature."""
    return GOOD


# -- changes what it was given --------------------------------------------------------------------


@ends("ok")
def changes_its_parameters(ctx: Context) -> Any:
    """Sorts, empties and fills a list of its own specification."""
    given = ctx.settings(Given)
    given.things.append("more")
    given.things[2]["deep"].clear()
    given.places.clear()
    return GOOD


@ends("ok|failed")
def changes_its_subject(ctx: Context) -> Any:
    """Adds a parameter to the method's specification."""
    ctx.subject.params["added"] = 1
    ctx.subject.params["things"].clear()
    return GOOD


@ends("ok|failed")
def changes_its_task(ctx: Context) -> Any:
    """Removes the task's parameters."""
    ctx.task.params.clear()
    return GOOD


@ends("ok|failed")
def changes_its_suite(ctx: Context) -> Any:
    """Empties what it finds in the suite and the scale."""
    for method in ctx.suite.methods:
        method.params.clear()
    for task in ctx.suite.tasks:
        task.params.clear()
    ctx.scale.settings.plain()["added"] = [1]
    return GOOD


@ends("ok|failed")
def changes_its_identity(ctx: Context) -> Any:
    """Calls itself another trial with another seed."""
    ctx.id = "0" * 64
    ctx.seed = 7
    return GOOD


# -- keeps ----------------------------------------------------------------------------------------


@ends("diverged", "nan")
def logs_nan(ctx: Context) -> Any:
    """A loss that is not a number."""
    ctx.log(3, loss=math.nan)
    return GOOD


@ends("failed")
def logs_a_word(ctx: Context) -> Any:
    """A loss that is text."""
    ctx.log(3, loss="low")  # type: ignore[arg-type]
    return GOOD


@ends("failed|ok")
def counts_a_huge_integer(ctx: Context) -> Any:
    """No float holds it, and a report has to print it."""
    ctx.count(steps=10**400)
    return GOOD


@ends("failed|ok")
def counts_what_is_no_count(ctx: Context) -> Any:
    """Less than nothing."""
    ctx.count(steps=-(10**30))
    return GOOD


@ends("ok|failed")
def logs_a_million_points(ctx: Context) -> Any:
    """A curve that nobody can print."""
    for step in range(1_000_000):
        ctx.log(step, loss=1.0)
    return GOOD


@ends("ok|failed")
def keeps_a_long_series(ctx: Context) -> Any:
    """A histogram with more bins than a record should hold."""
    ctx.series("long", range(200_000), range(200_000))
    return GOOD


@ends("failed", "10.*9|length")
def keeps_an_uneven_series(ctx: Context) -> Any:
    """More places than values."""
    ctx.series("uneven", range(10), range(9))
    return GOOD


@ends("failed|diverged")
def keeps_a_series_of_nan(ctx: Context) -> Any:
    """A curve of no numbers."""
    ctx.series("broken", [1.0, 2.0], [math.nan, math.inf])
    return GOOD


@ends("ok|failed")
def keeps_strange_names(ctx: Context) -> Any:
    """Names that a page or a terminal could take for something else."""
    ctx.count(**{"<script>alert(1)</script>": 1, "=1+1": 2, "\x1b[31m": 3, "": 4})
    ctx.series("../../../etc", [1.0], [1.0], x_label="</svg>|\n# title")
    return GOOD


@ends("failed", "things_|altitude")
def asks_for_what_is_not_there(ctx: Context) -> Any:
    """An artifact that the method did not name."""
    return {"height": float(str(ctx.artifact("altitude")))}


# -- raises ---------------------------------------------------------------------------------------


class _Silent(Exception):
    """Fails as it is printed."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@ends("failed", r"ValueError: x+", raised=True)
def raises_a_megabyte(ctx: Context) -> Any:
    """A message that nobody reads."""
    raise ValueError("x" * 2**20)


@ends("failed", "ValueError: one", raised=True)
def raises_lines(ctx: Context) -> Any:
    """A message with several lines."""
    raise ValueError("one\r\ntwo\x85three\u2028four")


@ends("failed", "ValueError", raised=True)
def raises_empty_lines(ctx: Context) -> Any:
    """A message that begins with empty lines."""
    raise ValueError("\n\n\nlast")


@ends("failed", r"ValueError: .*\\udcff", raised=True)
def raises_surrogates(ctx: Context) -> Any:
    """A message that no encoding takes."""
    raise ValueError("\udcff and \x00 and \x1b[31mred")


@ends("failed", "ValueError", raised=True)
def raises_nothing(ctx: Context) -> Any:
    """No message."""
    raise ValueError


@ends("failed", "_Silent|RuntimeError", raised=True)
def raises_what_cannot_be_printed(ctx: Context) -> Any:
    """A message that raises."""
    raise _Silent


@ends("failed", r"RuntimeError: \[bold\]not \[/bold\] markup \[/\] :smile:", raised=True)
def raises_markup(ctx: Context) -> Any:
    """A message that a terminal library could take for markup."""
    raise RuntimeError("[bold]not [/bold] markup [/] :smile:")


@ends("failed", "cannot allocate a name", raised=True)
def raises_with_alloc_in_it(ctx: Context) -> Any:
    """Words that sound like memory and are none."""
    raise ValueError("cannot allocate a name for alloc")


@ends("failed|no record", group="attacking")
def raises_the_engines_own(ctx: Context) -> Any:
    """Says that it was stopped, which it was not."""
    from harness.run import Interrupted

    raise Interrupted


@ends("failed|no record", group="starving")
def raises_a_disk_error(ctx: Context) -> Any:
    """Its own file, not the engine's, finds no room."""
    raise OSError(28, "No space left on device: is it full?", "/nowhere/file")


@ends("failed", "ValueError: inner|ExceptionGroup", raised=True)
def raises_a_group(ctx: Context) -> Any:
    """Several at once, each with a cause that is itself."""
    error = ValueError("inner")
    error.__cause__ = error
    raise ExceptionGroup("outer", [error, KeyError("b")])
