"""Rounding that no last bit gets through."""

import math
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness import digits

DECIMALS = st.builds(
    lambda whole, places: float(f"{whole}e{places}"),
    st.integers(-(10**9), 10**9),
    st.integers(-20, 20),
)


@pytest.mark.parametrize(
    ("value", "size", "want"),
    [
        (0.1 + 0.2, 0, 0.3),
        (-0.0, 0, 0.0),
        (5e-324, 0, 0.0),
        (1e-14, 80, 0.0),
        (0.30000000000001137, 80, 0.3),
        (1 / 3, 0, 0.333333333333),
        (14688788152320.0, 0, 14688788152320.0),
        (14688788152320.002, 0, 14688788152320.0),
        (math.inf, 0, math.inf),
        (1e-320, 0, 1e-320),
    ],
)
def test_steady(value, size, want):
    got = digits.steady(value, size)
    assert got == want
    assert math.copysign(1, got) == math.copysign(1, want)


@given(DECIMALS)
def test_short_decimals_survive_their_last_bits(value):
    assert digits.steady(value) == value
    for other in (math.nextafter(value, math.inf), math.nextafter(value, -math.inf)):
        assert digits.steady(other) == digits.steady(value)
        assert digits.plain(other) == digits.plain(value)


@given(st.floats(allow_nan=False), st.floats(0, 1e300))
def test_steady_is_near_idempotent_and_odd(value, size):
    once = digits.steady(value, size)
    assert digits.steady(once, size) == once
    assert digits.steady(-value, size) == -once
    if math.isfinite(value):
        assert abs(once - value) <= digits.smallest(max(abs(value), size)) or abs(value) < 1e-300


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"), (True, "1"), (10**400, str(10**400)), (100.0, "100"), (-0.0, "0"), (0.5, "0.5"),
        (-1 / 3, "-0.3333333333"), (21495808.0, "21495808"), (14688788152320.0, "14688788152320"),
        (1e15, "1e+15"), (1e-20, "1e-20"), (99.99999999999999, "100"), (math.inf, "inf"),
        (123456789.125, "123456789.1"),
    ],
)  # fmt: skip
def test_plain(value, text):
    assert digits.plain(value) == text


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=9), st.randoms())
def test_means_and_totals_are_exact_in_any_order(values, random):
    exact = sum(map(Fraction, values)) / len(values)
    size = max(map(abs, values))
    off = abs(Fraction(digits.mean(values)) - exact)
    assert off <= digits.smallest(size) or size < 1e-300  # numbers that have fewer digits
    shuffled = random.sample(values, len(values))
    assert digits.raw_mean(shuffled) == digits.raw_mean(values)
    assert digits.total(shuffled) == digits.total(values)


def test_the_largest_numbers_have_means_and_endless_totals():
    largest = sys.float_info.max
    assert digits.raw_mean([largest, largest / 2, largest]) < largest
    assert digits.total([largest] * 3) == math.inf
    assert digits.total([-largest] * 3) == -math.inf
    with pytest.raises(ValueError, match="at least one"):
        digits.mean([])


@given(DECIMALS, DECIMALS)
def test_a_difference_is_that_of_the_decimals(a, b):
    """0.3 - 0.1 is 0.2 and 80.3 - 80 is 0.3, as long as 14 digits hold them."""
    exact = Fraction(repr(a)) - Fraction(repr(b))
    size = max(abs(a), abs(b))
    assume(size)
    assert abs(Fraction(digits.difference(a, b)) - exact) <= digits.smallest(size) / 50
    assert digits.difference(80.3, 80.0) == 0.3


def test_a_difference_from_what_is_endless_is_endless():
    assert digits.difference(1.0, math.inf) == -math.inf
    assert math.isnan(digits.difference(math.inf, math.inf))


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-60, 60), st.floats(0, 1e16))
def test_whole_numbers_come_of_their_last_bits_alone(whole, steps, size):
    """Rounding to 15 digits in decimals says which numbers count as whole."""
    value = float(whole)
    for _ in range(abs(steps)):
        value = math.nextafter(value, math.copysign(math.inf, steps))
    size = max(abs(value), size)
    assume(size >= 1e-300)
    exact = Decimal(value).quantize(Decimal(1).scaleb(Decimal(f"{size:.5e}").adjusted() - 14))
    found = digits.steady(value, size)
    if exact == exact.to_integral_value() and size < 10.0**15:
        assert found == float(exact)
    else:
        assert abs(Fraction(found) - Fraction(value)) <= Fraction(digits.smallest(size))


@given(st.floats(allow_nan=False) | DECIMALS, st.integers(0, 12))
@example(2.5, 0)
@example(0.15, 1)
@example(999_999_999.4999, 0)
@example(-0.04, 1)
def test_decimals_are_those_of_the_steady_value(value, places):
    for near in (value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf)):
        text = digits.decimals(near, places)
        assert float(text) == float(f"{digits.steady(near):.{places}f}")
        assert text.lstrip("-") == f"{digits.steady(near):.{places}f}".lstrip("-")
