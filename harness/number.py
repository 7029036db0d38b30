"""Numbers as reports and the terminal print them: no locale, no negative zero, their decimals.

All go through `harness.digits.steady` first, so that last bits never decide how one is rounded.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from harness.digits import decimals, steady
from harness.suite import Reference

MISSING = "—"
ARROWS: dict[Literal["higher", "lower", "neither"], str] = {
    "higher": "↑",
    "lower": "↓",
    "neither": "",
}
_DAY, _YEAR = 86400.0, 365.25 * 86400
_BYTES = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10))
_IN_FULL = 10**21
"""Counts from here on are written with an exponent."""
_POWERS = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def fixed(value: float, digits: int) -> str:
    """The value with that many decimals; what rounds to zero has no sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = decimals(value, digits)
    return text.lstrip("-") if text[0] == "-" and float(text) == 0 else text


def quoted(value: float, digits: int) -> str:
    """A published number: at least `digits` decimals, and all of those it was published with."""
    text = fixed(value, digits)
    return text if float(text) == value else f"{steady(value):.10g}"


def interval(low: float | None, high: float | None, digits: int) -> str:
    """`[low, high]`, or nothing where there is none."""
    if low is None or high is None:
        return ""
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def reference(printed: Reference, digits: int) -> str:
    """Value, spread and n as printed: `71.9 ± 1.1 (n=10)`."""
    text = quoted(printed.value, digits)
    if printed.spread is not None:
        text += f" ± {quoted(printed.spread, digits)}"
    return text + (f" (n={printed.n})" if printed.n is not None else "")


def significant(value: float) -> str:
    """Three significant digits, without an exponent between 0.001 and 10,000."""
    if math.isinf(value):
        return fixed(value, 0)
    value = steady(value)
    if value == 0:
        return "0"
    if 1000 <= abs(value) < 1e4:
        return fixed(value, 0)
    text = f"{value:.3g}"
    return text if "e" in text or abs(value) >= 1000 else f"{float(text):g}"


def count(value: float) -> str:
    """A counted number in full, thousands apart: `1,234,567`; a sum of them may have a decimal."""
    if isinstance(value, float):
        if math.isinf(value):
            return fixed(value, 0)
        value = steady(value)
    if abs(value) >= _IN_FULL:
        return f"{Decimal(value):.2e}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def power(value: float) -> str:
    """A large number with a prefix: `1.23 T`; below a thousand as it is."""
    return _scaled(value, _POWERS, "").rstrip()


def energy(value: float) -> str:
    """Joules: `512 J`, `1.2 kJ`."""
    return _scaled(value, [(f"{prefix}J", size) for prefix, size in _POWERS], "J")


def seconds(value: float) -> str:
    """A duration as people say it: `0.4 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `15 days`."""
    value = steady(value)
    if math.isinf(value):
        return f"{fixed(value, 0)} s"
    if value < 9.95:
        return f"{value:.2g} s"
    for name, size in (("years", _YEAR), ("days", _DAY)):
        if value >= 2 * size:
            return f"{value / size:.{0 if value >= 10 * size else 1}f} {name}".replace(".0 ", " ")
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    unit, part, size = ("min", "s", 60) if whole < 3570 else ("h", "min", 3600)
    if whole >= 10 * size:  # the smaller unit says nothing then
        return f"{round(whole / size)} {unit}"
    first, rest = divmod(round(whole * 60 / size), 60)
    return f"{first} {unit}" + (f" {rest} {part}" if rest else "")


def spread(value: float, spread: float | None) -> str:
    """A published number with its spread."""
    shown = f"{steady(value):g}"
    return shown if spread is None else f"{shown} ± {steady(spread):g}"


def estimate(estimate: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A difference with its interval and unit."""
    if estimate is None:
        return "-"
    bounds = ""
    if low is not None and high is not None:
        bounds = f" [{steady(low):.3g}, {steady(high):.3g}]"
    return f"{steady(estimate):+.3g}{bounds} {unit}".rstrip()


def rounded(value: float | None, unit: str = "") -> str:
    """Two significant digits and the unit, or a dash."""
    return "-" if value is None else f"{steady(value):.2g} {unit}".rstrip()


def memory(value: float) -> str:
    """An amount of memory: `312 MiB`."""
    return _scaled(value, _BYTES, "B")


def plural(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _scaled(value: float, units: Sequence[tuple[str, float]], base: str) -> str:
    if isinstance(value, int) and abs(value) >= _IN_FULL:
        return f"{count(value)} {base}"
    value = steady(value)
    for unit, size in units:
        if abs(value) >= size:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value)} {base}"
