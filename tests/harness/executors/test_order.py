"""The order of work: what comes first, what waits, what falls with what it needs."""

import gc
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.executors import Work
from harness.executors.order import Order
from harness.run import BUSY, DONE, FAILED, Job, Outcome


def item(key: str, *after: str) -> Work:
    empty: dict[str, Any] = dict.fromkeys(Job._fields, "")
    return Work(Job(**(empty | {"id": key})), frozenset(after))


def begun(order: Order) -> list[str]:
    """All that can begin now."""
    return [work.job.id for work in iter(order.next, None) if work]


def test_first_come_first_and_each_after_what_it_needs() -> None:
    order = Order([item("a"), item("b", "a"), item("c", "a", "b"), item("d"), item("e", "gone")])
    assert begun(order) == ["a", "d", "e"]
    assert order.end("d", Outcome(DONE)) == []
    assert begun(order) == []
    assert ("b" in order, "a" in order) == (True, False)
    order.end("a", Outcome(DONE))
    assert begun(order) == ["b"]
    assert order
    order.end("b", Outcome(DONE))
    assert begun(order) == ["c"]
    assert not order


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (Outcome(FAILED, "why", recorded=False), "not run: an artifact that it needs failed (why)"),
        (Outcome(BUSY, "elsewhere"), "elsewhere"),
    ],
)
def test_what_needs_a_lost_artifact_falls_with_it(how: Outcome, line: str) -> None:
    order = Order([item("a"), item("b", "a"), item("c", "b"), item("d", "a", "x"), item("x")])
    assert begun(order) == ["a", "x"]
    fallen = order.end("a", how)
    assert [job.id for job, _ in fallen] == ["b", "d", "c"]
    assert {(outcome.code, outcome.line) for _, outcome in fallen} == {(how.code, line)}
    assert not order
    assert order.end("x", Outcome(DONE)) == []
    assert begun(order) == []


def test_an_identity_that_two_plans_share_is_run_once() -> None:
    order = Order([item("a"), item("b", "a"), item("a"), item("c", "a")])
    assert begun(order) == ["a"]
    order.end("a", Outcome(DONE))
    assert begun(order) == ["b", "c"]


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=30), st.randoms())
def test_all_of_any_graph_is_run_once_and_in_a_right_order(needs: Any, random: Any) -> None:
    work = [item(str(n), *(str(m) for m in earlier if m < n)) for n, earlier in enumerate(needs)]
    order, running, done = Order(work), [], []
    while order or running:
        while (found := order.next()) is not None:
            assert {key for key in found.after if int(key) < len(work)} <= set(done)
            running.append(found.job.id)
        ended = running.pop(random.randrange(len(running)))
        done.append(ended)
        assert order.end(ended, Outcome(DONE)) == []
    assert sorted(done, key=int) == [w.job.id for w in work]


def test_a_long_plan_costs_a_little_time_per_job() -> None:
    def seconds(count: int) -> float:
        return min(once(count) for _ in range(3))

    def once(count: int) -> float:
        gc.collect()  # what other tests have left would be visited again and again
        work = [item("a"), *(item(str(n), "a") for n in range(count))]
        began = time.process_time()
        order = Order(work)
        order.next()
        order.end("a", Outcome(DONE))
        while (found := order.next()) is not None:
            order.end(found.job.id, Outcome(DONE))
        return time.process_time() - began

    assert seconds(40_000) < 40 * seconds(4_000) + 0.1, "ten times the work; a square is 100"
