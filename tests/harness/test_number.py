"""Numbers as reports print them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import number
from harness.suite import Reference


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (71.25, 1, "71.2"),
        (-0.04, 1, "0.0"),
        (-1.0, 0, "-1"),
        (math.inf, 1, "∞"),
        (-math.inf, 2, "-∞"),
    ],
)
def test_fixed(value: float, digits: int, text: str) -> None:
    assert number.fixed(value, digits) == text


@given(st.floats(-1e9, 1e9), st.integers(0, 6))
def test_fixed_reads_back_within_rounding(value: float, digits: int) -> None:
    text = number.fixed(value, digits)
    assert abs(float(text) - value) <= 0.5 * 10.0**-digits + 1e-6 * abs(value)
    assert not (float(text) == 0 and text.startswith("-"))


def test_quoted_keeps_the_decimals_that_were_printed() -> None:
    assert number.quoted(71.93, 1) == "71.93"
    assert number.quoted(72.0, 1) == "72.0"


def test_interval_needs_both_bounds() -> None:
    assert number.interval(1.0, 2.0, 1) == "[1.0, 2.0]"
    assert number.interval(None, 2.0, 1) == ""
    assert number.interval(1.0, None, 1) == ""


def test_reference() -> None:
    row = Reference(table="2", task="t", method="m", metric="a", value=71.9)
    assert number.reference(row, 1) == "71.9"
    assert number.reference(row.model_copy(update={"spread": 1.15, "n": 10}), 1) == (
        "71.9 ± 1.15 (n=10)"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.983224, "0.983"), (5, "5"), (123.4, "123"), (1234.4, "1234"), (1.5e7, "1.5e+07"),
     (-0.1137, "-0.114")],
)  # fmt: skip
def test_significant(value: float, text: str) -> None:
    assert number.significant(value) == text


def test_units() -> None:
    assert number.count(1234567) == "1,234,567"
    assert number.count(2.5) == "2.5"
    assert number.power(1.234e12) == "1.23 T"
    assert number.power(12) == "12"
    assert number.energy(512) == "512 J"
    assert number.energy(5120) == "5.12 kJ"
    assert number.memory(300 * 2**20) == "300 MiB"
    assert number.memory(3) == "3 B"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 s"), (0.41, "0.41 s"), (3.14, "3.1 s"), (9.96, "10 s"), (42.4, "42 s"),
        (59.6, "1 min"), (90, "1 min 30 s"), (200, "3 min 20 s"), (599.6, "10 min"),
        (725, "12 min"),
        (3569, "59 min"), (3570, "1 h"), (7500, "2 h 5 min"), (35_999, "10 h"), (36 * 3600, "36 h"),
        (48 * 3600, "2 days"), (3.2 * 86400, "3.2 days"), (15.25 * 86400, "15 days"),
        (2.5 * 365.25 * 86400, "2.5 years"), (363_888.9 * 3600, "42 years"), (math.inf, "∞ s"),
    ],
)  # fmt: skip
def test_durations_as_people_say_them(value: float, said: str) -> None:
    assert number.seconds(value) == said


@given(st.floats(0, 1e9))
def test_a_duration_is_right_to_a_tenth_and_never_60_of_a_unit(value: float) -> None:
    said = number.seconds(value).split()
    sizes = {"s": 1, "min": 60, "h": 3600, "days": 86400, "years": 365.25 * 86400}
    whole = sum(float(n) * sizes[unit] for n, unit in zip(said[::2], said[1::2], strict=True))
    assert whole == pytest.approx(value, rel=0.06)
    assert not {("60", "s"), ("60", "min")} & set(zip(said[::2], said[1::2], strict=True))


def test_words() -> None:
    assert number.plural(1, "trial") == "1 trial"
    assert number.plural(1200, "trial") == "1,200 trials"
    assert [number.listed(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
