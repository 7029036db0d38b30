"""What must be true of trainings before their scores say anything; see `harness.check.Measured`."""

import math
from collections.abc import Sequence

from harness.check import Measured
from harness.digits import mean
from harness.record import Record

TENTH = 0.9
"""Share of the epochs after which the last tenth begins."""


def gained(records: Sequence[Record], check: Measured) -> float:
    """What the selected validation score still gained in the last tenth of the epochs, in points.

    The mean over runs: high where training was stopped in mid-climb. Runs that stopped because
    their loss was fitted count too. The series holds about 40 points of each run.
    """
    gains = []
    for record in records:
        if (curve := record.series.get("val")) is None:
            continue
        before = [y for x, y in zip(curve.x, curve.y, strict=True) if x <= TENTH * curve.x[-1]]
        gains.append(max(curve.y) - max(before))
    return mean(gains) if gains else math.nan
