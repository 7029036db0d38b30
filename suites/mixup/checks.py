"""What must be true of trainings before their scores say anything; see `harness.check.Measured`."""

import math
from collections.abc import Sequence

from harness import digits
from harness.check import Measured
from harness.record import Record


def mean_alpha(records: Sequence[Record], check: Measured) -> float:
    """Mean learnt alpha over runs, modules and layers; 1 leaves the finetuned weights alone."""
    alphas = [
        value
        for record in records
        for name, series in record.series.items()
        if name.startswith("alpha-")
        for value in series.y
    ]
    return digits.mean(alphas) if alphas else math.nan
