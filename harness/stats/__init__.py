"""Intervals, tests and power for few seeds: pure functions of arrays.

Everything rests on the t distribution, because a percentile bootstrap or a normal interval of
three to ten seeds covers far less than it says. Two rules hold throughout. Too few values give no
bounds (None), never a narrow interval. Values that are all the same have a spread of exactly zero
and a real interval of no width.

What comes out is the same on every processor: sums are correctly rounded (`math.fsum`), elementwise
arithmetic is IEEE's own, and results go through `harness.digits.steady` at the very end, since
quantiles and logarithms may differ in their last bits from one machine to the next. Every
threshold is looked at on such numbers.

Shapes: S seeds, T tasks.
"""

from harness.stats.intervals import (
    holm,
    mean_interval,
    p_value,
    paired_interval,
    paired_p,
    resampled_interval,
    resampled_p,
    welch_interval,
    welch_p,
)
from harness.stats.power import MOST_SEEDS, minimum_detectable_effect, sample_size, t_power
from harness.stats.samples import Array, column_means, standard_deviation, vector
from harness.stats.spread import (
    SpreadEstimate,
    combined_spread,
    minimum_detectable_spread,
    spread_error,
    spread_interval,
    spread_sample_size,
)
from harness.stats.student import Alternative, Interval, tail_of

__all__ = [
    "MOST_SEEDS",
    "Alternative",
    "Array",
    "Interval",
    "SpreadEstimate",
    "column_means",
    "combined_spread",
    "holm",
    "mean_interval",
    "minimum_detectable_effect",
    "minimum_detectable_spread",
    "p_value",
    "paired_interval",
    "paired_p",
    "resampled_interval",
    "resampled_p",
    "sample_size",
    "spread_error",
    "spread_interval",
    "spread_sample_size",
    "standard_deviation",
    "t_power",
    "tail_of",
    "vector",
    "welch_interval",
    "welch_p",
]
