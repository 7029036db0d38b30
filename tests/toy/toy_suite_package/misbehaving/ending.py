"""How a misbehaving method is promised to end, said beside the method itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

Function = Callable[..., Any]

NO_RECORD = "no record"
"""Where the environment is at fault, or seems so: the trial stays to be run."""
CORRUPT = "corrupt"
"""Where a method replaced the functions that write and check: the next command finds the record."""


class Group(NamedTuple):
    """Methods that run together, in a command of their own."""

    scale: str
    seconds: float
    """Time limit of a trial at that scale."""
    codes: frozenset[int]
    """Exit codes that the command may have."""


GROUPS = {
    "many": Group("smoke", 120, frozenset({1})),
    "leaving": Group("smoke", 120, frozenset({1})),  # processes and threads
    "endless": Group("laptop", 1, frozenset({1})),
    "attacking": Group("smoke", 120, frozenset({0, 1, 130})),  # other processes
    "patching": Group("smoke", 120, frozenset({0, 1, 4})),  # the engine's own modules
    "starving": Group("smoke", 120, frozenset({1, 4})),  # as a full disk would
}
"""In a group that harms more than itself, it shows which."""


class Ending(NamedTuple):
    """What a run may leave of one misbehaving method."""

    function: str
    """Import path."""
    statuses: frozenset[str]
    """Of the record; more than one where the method decides which of its own services it breaks."""
    line: str
    """Regular expression that the record's line holds, where the status is not `ok`."""
    group: str
    raised: bool
    """Whether an exception of the method's own code ended it: the line then says where."""


METHODS: dict[str, Ending] = {}
"""Every misbehaving method by its name."""


def ends(
    statuses: str, line: str = "", *, group: str = "many", raised: bool = False
) -> Callable[[Function], Function]:
    """Offers a function as a method; `statuses` are parted by `|`."""

    def offer(function: Function) -> Function:
        METHODS[function.__name__.replace("_", "-")] = Ending(
            f"{function.__module__}:{function.__name__}",
            frozenset(statuses.split("|")),
            line,
            group,
            raised,
        )
        return function

    return offer
