"""Decimals that are the same on every processor.

The last bit of a sum, a logarithm or a quantile depends on the vector instructions and the
mathematical library of the machine. Whatever decides or prints a number looks at it through
`steady` first: twelve significant digits, which leaves a thousand times more room than the last
bits need, and which no measurement here comes near.
"""

import math
from collections.abc import Iterable, Sequence

DIGITS = 12
"""Significant digits of numbers that decide something."""

PRINTED = 10
"""Significant digits of numbers in CSV files: fewer than `DIGITS`, so that ties are settled."""

_WHOLE = 15
"""Every whole number of that many digits is a float of its own."""

_NEAR = 1e-12
"""Of its size: farther from a whole number, none comes of a number by rounding to `_WHOLE`."""

_PLACES, _MIDDLE = 1e9, 0.05
"""A number below the first moves by less than a tenth of the second when it is made steady."""

_NOTHING = 1e-322
"""Below this lies nothing but zero and the last bits of zero."""


def steady(value: float, size: float = 0.0) -> float:
    """The value to `DIGITS` significant digits of the larger of itself and `size`.

    Two values that differ in their last bits come out as the same float, apart from those that
    lie within these bits of the middle between two neighbours; short decimals never do. Whole
    numbers of up to 15 digits keep them all: they were counted. Negative zero becomes zero.
    Infinities and NaN stay.

    Args:
        value: what was computed.
        size: magnitude of the numbers that it was computed from. A difference of two numbers
            near 100 has no more decimals than they have.
    """
    if not math.isfinite(value):
        return value
    if abs(value) < _NOTHING:
        return 0.0
    size = max(abs(value), abs(size))
    exponent = _exponent(size)
    if size < 10.0**_WHOLE and abs(value - round(value)) < _NEAR * size:
        whole = _rounded(value, exponent, _WHOLE)
        if whole.is_integer():
            return whole
    return _rounded(value, exponent, DIGITS)


def decimals(value: float, digits: int) -> str:
    """The steady value with that many decimals; not finite: as Python writes it.

    Only what lies near the middle between two neighbours has to be made steady for that: last bits
    move nothing else across it.
    """
    places = abs(value) * 10.0**digits
    if places < _PLACES and abs(places % 1.0 - 0.5) > _MIDDLE:
        return f"{value:.{digits}f}"
    return f"{steady(value):.{digits}f}"


def difference(a: float, b: float) -> float:
    """a - b without what is rounding of numbers of their size: 14 significant digits of theirs."""
    if not math.isfinite(a - b):
        return a - b
    return _rounded(a - b, _exponent(max(abs(a), abs(b))), _WHOLE - 1)


def smallest(size: float) -> float:
    """One unit of the last digit that `steady` keeps of a number of that size; zero of zero."""
    return float(f"1e{_exponent(size) - DIGITS + 1}") if abs(size) >= _NOTHING else 0.0


def plain(value: float) -> str:
    """A number for a file: whole numbers in full, others to `PRINTED` significant digits.

    Floats are told from whole numbers after rounding to 15 digits, from 10^15 on they are written
    with an exponent. Negative zero is written as zero.
    """
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        return str(float(value))
    if abs(value) < _NOTHING:
        return "0"
    whole = _rounded(value, _exponent(value), _WHOLE)
    if whole.is_integer() and abs(whole) < 10.0**_WHOLE:
        return str(int(whole))
    return f"{steady(value):.{PRINTED}g}"


def total(values: Iterable[float]) -> float:
    """The sum, correctly rounded whatever the order; infinite where no float can hold it."""
    values = list(values)
    try:
        return math.fsum(values)
    except OverflowError:
        return math.copysign(math.inf, sum(v / 2**64 for v in values))


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean, to `DIGITS` digits of the largest value.

    Raises:
        ValueError: there is no value.
    """
    values = list(values)
    return steady(raw_mean(values), max(map(abs, values)))


def raw_mean(values: Sequence[float]) -> float:
    """The mean from a correctly rounded sum, for what is computed on; of equal values that value.

    Rounding belongs to the end of a computation: on the way it would make a last bit larger.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("want at least one number for a mean")
    if all(v == values[0] for v in values):
        return float(values[0])
    # A power of two changes no digit and keeps the sum of the largest floats within bounds.
    scale = 2.0 ** (math.frexp(max(map(abs, values)))[1] - 1)
    return math.fsum(v / scale for v in values) / len(values) * scale


def _rounded(value: float, exponent: int, digits: int) -> float:
    """To that many digits of a number whose leading decimal has the exponent."""
    try:
        return round(float(value), digits - 1 - exponent) + 0.0
    except OverflowError:
        return float(value)


def _exponent(size: float) -> int:
    """Of the leading decimal; that of 999.9999999 is that of 1000."""
    return int(f"{abs(size):.5e}".partition("e")[2])
