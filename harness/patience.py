"""How long the engine waits: before it saves, before it kills. Read from the environment here."""

import math
import os
from typing import NamedTuple

from harness.errors import UsageError


class Patience(NamedTuple):
    """Seconds of waiting; each can be set by `HARNESS_<NAME>_SECONDS`."""

    checkpoint: float = 20.0
    """Between two checkpoints of a trial."""
    grace: float = 60.0
    """For a trial to reach its next step after it was asked to stop or passed its limit."""
    exit: float = 5.0
    """For a process that has said its last word to end by itself."""
    lease: float = 120.0
    """For a sign of life from another machine that holds a lock; then the lock is taken over."""
    suspended: float = 3600.0
    """For a trial that is stopped alone, without its command, to be continued; then time counts."""

    @classmethod
    def read(cls) -> "Patience":
        """From the environment; the default where a variable is not set.

        Raises:
            UsageError: a variable is no number of seconds.
        """
        given = {}
        for name in cls._fields:
            variable = f"HARNESS_{name.upper()}_SECONDS"
            if text := os.environ.get(variable):
                given[name] = _seconds(variable, text)
        return cls(**given)


def _seconds(variable: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{variable} is {text!r}; give seconds, a number from 0 on, or unset it")
    return value
