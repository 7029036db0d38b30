"""What must be true of trainings before their scores say anything; see `harness.check.Measured`."""

import math
from collections.abc import Sequence

from harness.check import Measured
from harness.record import Record

TENTH = 0.9
"""Share of the epochs after which the last tenth begins."""


def late(records: Sequence[Record], check: Measured) -> float:
    """Share of runs whose selected epoch lies in the last tenth: they were stopped in mid-climb."""
    counts = [r.counts for r in records if "best_epoch" in r.counts]
    ended = [c["best_epoch"] > TENTH * c["epochs"] for c in counts]
    return sum(ended) / len(ended) if ended else math.nan
