"""The estimate for a GPU: the resource that is used up last decides, and packing divides some."""

from typing import Any

import pytest

from harness import gpu
from harness.gpu import Card, Effort, estimate

CARD = Card("toy", {"float32": 1e12, "bfloat16": 1e13}, 1e12, 1e-5, 1e9, 4)


def effort(**changes: Any) -> Effort:
    return Effort(**({"flops": 0.0, "moved": 0.0, "kernels": 0.0, "memory": 1e6} | changes))


@pytest.mark.parametrize(
    ("changes", "seconds", "bound"),
    [
        ({"flops": 5e12}, 10.0, "arithmetic"),
        ({"flops": 5e12, "precision": "bfloat16"}, 1.0, "arithmetic"),
        ({"moved": 3e12}, 6.0, "memory traffic"),
        ({"kernels": 4e5}, 4.0, "kernel launches"),  # two at a time, 2 x 4 s
        ({"host": 7.0}, 7.0, "the CPU"),
    ],
)
def test_what_is_used_up_last_decides(changes: Any, seconds: float, bound: str) -> None:
    told = estimate([effort(**changes), effort(**changes)], CARD)
    assert told.seconds == pytest.approx(seconds)
    assert told.bound == bound
    assert told.packed == 2


@pytest.mark.parametrize(
    ("jobs", "memory", "packed"), [(100, 1e6, 4), (3, 1e6, 3), (100, 4e8, 2), (100, 5e9, 1)]
)
def test_as_many_at_a_time_as_memory_and_cores_allow(jobs: int, memory: float, packed: int) -> None:
    assert estimate([effort(memory=memory)] * jobs, CARD).packed == packed


def test_a_long_estimate_is_told_in_days() -> None:
    days = gpu.line([effort(moved=3.4e12 * 86_400 * 3)])
    assert days.startswith("estimate for one H200-class GPU: 3.0 GPU-days, spent on memory traffic")
    assert "GPU: 2 h, spent on" in gpu.line([effort(moved=3.4e12 * 7200)])
