"""Whether training was stopped in mid-climb, told from curves that are known."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.check import Measured
from harness.record import Record, Series
from suites.gate.checks import gained

CHECK = Measured(function="suites.gate.checks:gained", methods=("gat",), at_most=0.5)


def _records(*curves: list[float]) -> list[Record]:
    made: list[Any] = [
        SimpleNamespace(series={"val": Series(x=tuple(range(len(y))), y=tuple(y))}) for y in curves
    ]
    return cast(list[Record], made)


@pytest.mark.parametrize(
    ("curve", "gain"),
    [
        ([float(epoch) for epoch in range(101)], 10.0),  # climbs by a point an epoch to the end
        ([50.0 + min(epoch, 40) for epoch in range(101)], 0.0),  # at rest since epoch 40
        ([float(100 - epoch) for epoch in range(101)], 0.0),  # the best was the first
        ([7.0], 0.0),  # fitted before the first update
    ],
)
def test_the_gain_of_the_last_tenth_is_that_of_the_curve(curve: list[float], gain: float) -> None:
    assert gained(_records(curve), CHECK) == pytest.approx(gain)


def test_the_gain_is_averaged_over_runs() -> None:
    climbing, resting = [float(epoch) for epoch in range(101)], [1.0] * 101
    assert gained(_records(climbing, resting), CHECK) == pytest.approx(5.0)


def test_without_curves_nothing_was_measured() -> None:
    assert math.isnan(gained(cast(list[Record], [SimpleNamespace(series={})]), CHECK))
