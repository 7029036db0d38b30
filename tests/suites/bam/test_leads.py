"""The check that a lead has come to rest."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from harness.check import Measured
from harness.record import Series
from suites.bam import leads

CHECK = Measured(function="suites.bam.leads:change", methods=("bam", "btx"), at_most=0.01)


def make(method: str, seed: int, y: Sequence[float], x: Sequence[float] = ()) -> Any:
    """What of a record the check reads."""
    curve = Series(x=tuple(x or range(len(y))), y=tuple(y))
    return SimpleNamespace(method=method, task="cost", seed=seed, series={"held-out": curve})


def test_the_change_is_the_mean_over_seeds_of_the_leads_last_tenths() -> None:
    falling = [5.0 - n / 10 for n in range(20)]
    records = [make("btx", seed, falling) for seed in (0, 1)]
    records.append(make("bam", 0, [y - 0.1 for y in falling]))
    grown = [y - 0.1 - (0.04 if n >= 18 else 0) for n, y in enumerate(falling)]
    records.append(make("bam", 1, grown))
    assert leads.change(records, CHECK) == pytest.approx(0.02)


def test_curves_of_other_lengths_are_not_compared() -> None:
    records = [make("btx", 0, [3.0, 2.0, 1.0]), make("bam", 0, [3.0, 2.0, 1.0], (0, 2, 4))]
    assert leads.change(records, CHECK) is None
    assert leads.change([], CHECK) is None
