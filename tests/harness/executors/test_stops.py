"""Signals that ask a command to stop."""

import signal
from types import SimpleNamespace

import pytest

from harness.executors import stops
from harness.executors.stops import Stops


@pytest.mark.parametrize(
    ("signals", "count"),
    [
        ([(signal.SIGINT, 0)], 1),
        ([(signal.SIGINT, 0), (signal.SIGINT, 0.1)], 1),
        ([(signal.SIGINT, 0), (signal.SIGINT, 0.6)], 2),
        ([(signal.SIGHUP, 0), (signal.SIGHUP, 2), (signal.SIGHUP, 9)], 1),
        ([(signal.SIGHUP, 0), (signal.SIGTERM, 2)], 2),
    ],
)
def test_signals_close_together_are_one_and_a_hangup_never_insists(
    monkeypatch: pytest.MonkeyPatch, signals: list[tuple[int, float]], count: int
) -> None:
    asked = Stops()
    for number, moment in signals:
        clock = SimpleNamespace(monotonic=lambda at=moment: 50 + at)
        monkeypatch.setattr(stops, "time", clock)
        asked.tell(number, None)
    assert asked.count == count
