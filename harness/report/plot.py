"""Small pictures inside pages: SVG from numbers, the same bytes everywhere, coloured by the style.

Coordinates are tenths of a pixel. Nothing has a style of its own, so that the pages' content
security policy can forbid inline styles.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from harness import number
from harness.record import Series

_BEYOND = 10.0
"""Margins that half a forest plot is wide; what lies beyond becomes an arrow."""


def forest(
    mean: float | None,
    low: float | None,
    high: float | None,
    margin: float,
    *,
    paper: float | None = None,
    said: str = "",
    width: int = 150,
) -> Markup:
    """An effect and its interval on an axis in units of the margin; the band is +- one margin.

    Args:
        mean: positive speaks for the claim; None leaves the axis alone.
        paper: the effect that the paper published, a diamond.
        said: what a screen reader says.
        width: pixels.
    """
    height, middle = 16, width / 2

    def x(value: float) -> float:
        return middle + (middle - 4) / _BEYOND * max(-_BEYOND, min(_BEYOND, value / margin))

    parts = [
        _tag("rect", "band", x=x(-margin), y=1, width=x(margin) - x(-margin), height=height - 2),
        _line("zero", middle, 0, middle, height),
    ]
    if mean is not None:
        ends = (mean if low is None else low, mean if high is None else high)
        parts.append(_line("ci", x(ends[0]), 8, x(ends[1]), 8))
        for end in ends:
            if abs(end / margin) > _BEYOND:
                tip = x(end) + 3 * (1 if end > 0 else -1)
                back = tip - 8 * (1 if end > 0 else -1)
                parts.append(_path("dot", f"M{_n(tip)} 8L{_n(back)} 3V13Z"))
            elif low is not None:
                parts.append(_line("ci", x(end), 5, x(end), 11))
        if abs(mean / margin) <= _BEYOND:
            parts.append(_tag("circle", "dot", cx=x(mean), cy=8, r=4))
    if paper is not None:
        at = x(paper)
        parts.append(_path("paper", f"M{_n(at)} 3.5L{_n(at + 4)} 8L{_n(at)} 12.5L{_n(at - 4)} 8Z"))
    return _svg("plot forest", width, height, said, parts)


def dots(
    values: Sequence[float],
    bounds: tuple[float, float],
    interval: tuple[float | None, float | None, float | None],
    said: str,
    width: int = 260,
) -> Markup:
    """One mark for each value, their mean and interval, between the bounds that the axis has."""
    height, edge = 22, 6

    def x(value: float) -> float:
        low, high = bounds
        share = (value - low) / (high - low) if high > low else 0.5
        return edge + (width - 2 * edge) * max(0.0, min(1.0, share))

    mean, low, high = interval
    parts = [_line("zero", edge, 11, width - edge, 11)]
    if low is not None and high is not None:
        parts.append(_line("ci", x(low), 11, x(high), 11))
    parts += [
        f'<circle class="seed" cx="{_n(x(value))}" cy="{6 + 5 * (place % 3)}" r="2.6"/>'
        for place, value in enumerate(values)
    ]
    if mean is not None:
        parts.append(_line("mean", x(mean), 2, x(mean), 20))
    return _svg("plot", width, height, said, parts)


def lines(series: Iterable[Series], said: str, width: int = 260, height: int = 90) -> Markup:
    """One thin line for each seed, over the whole range of both axes; whole pixels."""
    series = [s for s in series if s.x]
    x_low, x_high = _range(v for s in series for v in s.x)
    y_low, y_high = _range(v for s in series for v in s.y)

    def place(value: float, low: float, high: float, size: int) -> int:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(2 + (size - 4) * share)  # of stored numbers: no last bits to drop

    parts = [_tag("rect", "frame", x=0.5, y=0.5, width=width - 1, height=height - 1)]
    for one in series:
        points = [
            (place(a, x_low, x_high, width), height - place(b, y_low, y_high, height))
            for a, b in zip(one.x, one.y, strict=True)
        ]
        steps = [f"{b[0] - a[0]} {b[1] - a[1]}" for a, b in pairwise(points)]
        start = f"M{points[0][0]} {points[0][1]}"
        parts.append(_path("seed", (f"{start}l{' '.join(steps)}" if steps else f"{start}h1")))
    return _svg("plot curve", width, height, said, parts)


def _range(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    return (min(values), max(values)) if values else (0.0, 1.0)


def _svg(kind: str, width: int, height: int, said: str, parts: Iterable[str]) -> Markup:
    label = f'role="img" aria-label="{escape(said)}"' if said else 'aria-hidden="true"'
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg class="{kind}" {size} {label}>{"".join(parts)}</svg>')  # noqa: S704


def _tag(tag: str, kind: str, **numbers: float) -> str:
    fields = " ".join(f'{name}="{_n(value)}"' for name, value in numbers.items())
    return f'<{tag} class="{kind}" {fields}/>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return _path(kind, f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}")


def _path(kind: str, d: str) -> str:
    return f'<path class="{kind}" d="{d}"/>'


def _n(value: float) -> str:
    return number.fixed(value, 1).removesuffix(".0")
