"""What must be true of trainings before their scores say anything; see `harness.check.Measured`."""

import math
from collections.abc import Mapping, Sequence

from harness import digits
from harness.check import Measured
from harness.record import Record, Series


def mean_alpha(records: Sequence[Record], check: Measured) -> float:
    """Mean learnt alpha over runs, modules and layers; 1 leaves the finetuned weights alone."""
    found = [value for record in records for value in learnt(record.series)]
    return digits.mean(found) if found else math.nan


def learnt(series: Mapping[str, Series]) -> list[float]:
    """The learnt alpha of every module and layer of one run; none where a method has none."""
    return [y for name, one in series.items() if name.startswith("alpha-") for y in one.y]
