"""What a list of numbers says by itself: mean, standard deviation, differences of pairs."""

import math
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness import digits
from harness.digits import raw_mean, smallest

Array = NDArray[np.float64]


def vector(values: ArrayLike) -> Array:
    """Finite numbers in a row.

    Raises:
        ValueError: they are something else.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError(f"want a list of finite numbers, got {values!r}")
    return x


def matched(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Two lists of numbers of equal length.

    Raises:
        ValueError: their lengths differ.
    """
    x, y = vector(a), vector(b)
    if x.size != y.size:
        raise ValueError(f"pairs need equal lengths, got {x.size} and {y.size}")
    return x, y


def differences(a: ArrayLike, b: ArrayLike) -> Array:
    """a - b pair by pair, without what is rounding of numbers of their size."""
    pairs = zip(*(side.tolist() for side in matched(a, b)), strict=True)
    most = sys.float_info.max
    return np.array([max(-most, min(most, digits.difference(x, y))) for x, y in pairs])


def centre(x: Array) -> float:
    """The mean, unrounded."""
    return raw_mean(x.tolist())


def mean_of(x: Array) -> float | None:
    """The same; None of no numbers."""
    return centre(x) if x.size else None


def sd_of(x: Array) -> float:
    """Sample standard deviation; a scatter below the last steady digit of the values is none."""
    if x.size < 2 or (x == x[0]).all():
        return 0.0
    size = float(np.abs(x).max())
    scale = 2.0 ** (math.frexp(size)[1] - 1)
    scaled = (x / scale).tolist()
    mean = math.fsum(scaled) / x.size
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in scaled) / (x.size - 1)) * scale
    return 0.0 if spread < smallest(size) else spread


def standard_error(x: Array) -> float:
    """Of the mean: s / √n."""
    return sd_of(x) / math.sqrt(x.size) if x.size else 0.0


class Summary(NamedTuple):
    """All that Welch's interval needs of a sample."""

    mean: float | None
    sd: float
    n: int


def summary_of(x: Array) -> Summary:
    """Mean, standard deviation and n."""
    return Summary(mean_of(x), sd_of(x), x.size)


def standard_deviation(values: ArrayLike) -> float | None:
    """Sample standard deviation, n - 1 in the divisor; exactly 0 for equal values; None for one."""
    x = vector(values)
    return sd_of(x) if x.size >= 2 else None


def column_means(rows: ArrayLike) -> Array:
    """The mean of each column, as `harness.digits.mean` takes it: a curve averaged over seeds."""
    columns = np.asarray(rows, dtype=np.float64).T
    return np.array([digits.mean(column.tolist()) for column in columns])
