"""What a trial's process and its supervisor tell each other: a page of memory that both see.

Unlike a pipe or a socket it cannot be closed, filled up or written to by mistake, whatever the
trial's method does to file descriptors. Each field has one writer.
"""

import json
import mmap
import struct
import time

from harness.run import Outcome, Progress

_SIZE = 16384
_STOPPED, _SEEN = struct.Struct("d"), struct.Struct("d")
_PROGRESS = struct.Struct("qq")
_LENGTH = struct.Struct("q")
_AT_STOPPED, _AT_SEEN, _AT_ASKED, _AT_PROGRESS, _AT_LENGTH, _AT_OUTCOME = 0, 8, 16, 24, 40, 48
_LINE = 2000
"""Longest line of an outcome, in characters of at most six bytes of JSON."""
_LAG = 1.0
"""Seconds after its last look at the trial for which a silent supervisor is believed to run."""


class Page:
    """Made by the supervisor before it forks off the trial."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._seen(time.monotonic())

    # -- written by the supervisor ----------------------------------------------------------------

    def look(self, stopped: bool) -> None:
        """Notes that the supervisor has looked, and whether the trial or itself was stopped.

        Then the time since the look before does not count, nor does what is longer than the
        supervisor ever sleeps: the whole machine was stopped.
        """
        now = time.monotonic()
        passed = now - self._read(_SEEN, _AT_SEEN)
        lost = passed if stopped else max(0.0, passed - _LAG)
        before = self._read(_STOPPED, _AT_STOPPED)
        _STOPPED.pack_into(self._memory, _AT_STOPPED, before + lost)
        self._seen(now)

    def ask(self) -> None:
        """Asks the trial to stop at its next step."""
        self._memory[_AT_ASKED] = 1

    # -- written by the trial ---------------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """Notes how far the trial is."""
        bound = 2**62
        step, total = (max(-bound, min(number, bound)) for number in progress)
        _PROGRESS.pack_into(self._memory, _AT_PROGRESS, step, total)

    def end(self, outcome: Outcome) -> None:
        """Notes how the trial ended; what it still does is of no account."""
        text = json.dumps(outcome._replace(line=outcome.line[:_LINE])).encode()
        self._memory[_AT_OUTCOME : _AT_OUTCOME + len(text)] = text
        _LENGTH.pack_into(self._memory, _AT_LENGTH, len(text))

    # -- read by both -----------------------------------------------------------------------------

    def clock(self) -> float:
        """Seconds on a clock that stands still while the trial or the machine is stopped."""
        latest = min(time.monotonic(), self._read(_SEEN, _AT_SEEN) + _LAG)
        return latest - self._read(_STOPPED, _AT_STOPPED)

    def asked(self) -> bool:
        """Whether the trial is to stop."""
        return self._memory[_AT_ASKED] == 1

    def at(self) -> Progress | None:
        """How far the trial was when it last said so."""
        step, total = _PROGRESS.unpack_from(self._memory, _AT_PROGRESS)
        return Progress(step, total) if (step, total) != (0, 0) else None

    def outcome(self) -> Outcome | None:
        """How the trial ended, None before that."""
        (length,) = _LENGTH.unpack_from(self._memory, _AT_LENGTH)
        if length == 0:
            return None
        return Outcome(*json.loads(self._memory[_AT_OUTCOME : _AT_OUTCOME + length]))

    def _seen(self, now: float) -> None:
        _SEEN.pack_into(self._memory, _AT_SEEN, now)

    def _read(self, kind: struct.Struct, place: int) -> float:
        (value,) = kind.unpack_from(self._memory, place)
        return float(value)
