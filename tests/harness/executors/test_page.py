"""What a trial and its supervisor tell each other."""

import os
from types import SimpleNamespace

import pytest

from harness.executors import page
from harness.executors.page import Page
from harness.run import DONE, FAILED, Outcome, Progress


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(page, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


def test_the_clock_stands_still_while_anything_is_stopped(now: SimpleNamespace) -> None:
    shared = Page()
    began = shared.clock()
    for stopped, seconds, counted in (
        (False, 0.1, 0.1),
        (False, 0.9, 0.9),  # a busy machine
        (True, 0.1, 0.0),
        (True, 50.0, 0.0),  # the trial and the supervisor
        (False, 3600.0, 1.0),  # the machine: the most that a supervisor sleeps counts
        (False, 0.1, 0.1),
    ):
        before = shared.clock()
        now.seconds += seconds
        assert shared.clock() <= before + 1.0 + 1e-9  # whoever reads it first
        shared.look(stopped)
        assert shared.clock() - before == pytest.approx(counted)
    assert shared.clock() - began == pytest.approx(2.1)


def test_a_forked_process_sees_and_writes_the_same_page() -> None:
    shared = Page()
    assert (shared.asked(), shared.at(), shared.outcome()) == (False, None, None)
    shared.ask()
    child = os.fork()
    if child == 0:
        os.closerange(3, 256)
        shared.progress(Progress(3, 10**30))
        shared.end(Outcome(FAILED if shared.asked() else DONE, "\u00e4" * 9000, False))
        os._exit(0)
    os.waitpid(child, 0)
    assert shared.at() == (3, 2**62)
    assert shared.outcome() == Outcome(FAILED, "\u00e4" * 2000, recorded=False)
