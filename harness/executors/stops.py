"""How often a user has asked a command to stop: once to save and stop, twice to stop at once."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, MappingProxyType

from harness.run import STOPS

Handler = Callable[[int, FrameType | None], None]
_SAME_SECONDS = 0.5
"""Signals so close to each other are one: a terminal and a wrapper pass on the same Ctrl-C."""


class Stops:
    """Counts the signals of `harness.run.STOPS` while it catches them."""

    def __init__(self) -> None:
        self.count = 0
        self._last = float("-inf")

    def ask(self) -> None:
        """As if a first signal had come."""
        self.count = max(self.count, 1)

    @contextlib.contextmanager
    def caught(
        self, others: Mapping[signal.Signals, Handler] = MappingProxyType({})
    ) -> Iterator[None]:
        """Begins at 0; while it is open, signals are counted, and `others` handled as they say."""
        self.count, self._last = 0, float("-inf")
        before = {}
        for number, handler in {**dict.fromkeys(STOPS, self.tell), **others}.items():
            ignored = signal.getsignal(number) == signal.SIG_IGN
            if not ignored or number in (signal.SIGINT, signal.SIGTERM):  # else: under nohup
                before[number] = signal.signal(number, handler)
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def tell(self, number: int, _frame: FrameType | None) -> None:
        """The handler of a signal."""
        now = time.monotonic()
        again = now - self._last > _SAME_SECONDS and number != signal.SIGHUP
        self._last = now
        if self.count == 0 or again:
            self.count += 1
