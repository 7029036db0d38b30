"""Pieces of pictures that the suites' figures are made of; matplotlib's objects, no state of it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import EngFormatter

from harness.stats import Interval
from harness.suite import Figure, Method, Suite, select

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
)  # fmt: skip
"""Okabe and Ito's (2008) less yellow, which white swallows: told apart with the common kinds of
colour blindness."""
_MARKERS = "osD^vP<X>ph"
_LINES = ("-", "--", "-.", ":")


HIDDEN = "_: "
"""A label that begins so stands in no legend, and without it in the numbers beside a figure."""


class Style(NamedTuple):
    """How one method looks in every figure of its suite."""

    color: str
    marker: str
    linestyle: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A style of its own for each name, by its place: colour, marker and line all differ in turn.

    Seven colours, eleven markers: 77 names before a pair repeats, then as many in muted colours.
    Give the suite's methods in the suite's order, so that a method keeps its look whatever else a
    figure shows.
    """
    return {
        name: Style(
            _color(place),
            _MARKERS[place % len(_MARKERS)],
            _LINES[place // len(COLOURS) % len(_LINES)],
        )
        for place, name in enumerate(names)
    }


def _color(place: int) -> str:
    color = COLOURS[place % len(COLOURS)]
    if place // (len(COLOURS) * len(_MARKERS)) % 2 == 0:
        return color
    halfway = [(int(color[n : n + 2], 16) + 0x80) // 2 for n in (1, 3, 5)]
    return f"#{bytes(halfway).hex()}"


def shown(suite: Suite, figure: Figure) -> tuple[Method, ...]:
    """The methods that a figure is about, in the suite's order.

    All but those whose names match a glob of the figure's parameter `without`: a list of methods to
    show would leave out whatever somebody adds.
    """
    without = figure.params.get("without", [])
    globs = [str(glob) for glob in without] if isinstance(without, list) else []
    left_out = select(suite.methods, globs)
    return tuple(method for method in suite.methods if method not in left_out)


def interval_line(
    axis: Axes,
    x: Sequence[float],
    intervals: Sequence[Interval],
    style: Style,
    label: str,
    values: Sequence[Sequence[float]] = (),
    **more: Any,
) -> None:
    """Means joined by a line, each with its interval as a bar, and the seeds behind it as points.

    Args:
        x: where each mean stands.
        intervals: one for each x.
        style: of the method.
        label: in the legend.
        values: what the seeds gave, one list for each x.
        more: goes to matplotlib's `errorbar`.
    """
    for place, seeds in zip(x, values, strict=False):
        points(axis, [place] * len(seeds), seeds, style, s=5, alpha=0.35)
    ends = [bounds(interval) for interval in intervals]
    means = [mean for mean, _, _ in ends]
    below = [mean - low for mean, low, _ in ends]
    above = [high - mean for mean, _, high in ends]
    usual: dict[str, Any] = {"markersize": 3, "linewidth": 1.1, "elinewidth": 0.8}
    axis.errorbar(x, means, yerr=[below, above], label=label, **usual | style._asdict() | more)


def value_ticks(axis: Axes, values: Iterable[float], decades: bool, wide: float) -> None:
    """A tick at each value of an axis, and a number at those where there is room for it.

    Args:
        axis: whose x axis.
        values: those measured, and the paper's.
        decades: whether equal ratios are equally far apart.
        wide: inches of the panel, with its margins.
    """
    there = sorted(set(values))
    if decades:
        axis.set_xscale("log")
    places = [math.log10(value) if decades else value for value in there]
    inch = (max(places[-1] - places[0], 1e-9)) / (0.75 * wide)
    texts = [_tick(value) for value in there]
    kept = [len(there) - 1]  # the last always has a number: it is the paper's, as a rule
    for place in range(len(there) - 1):
        needs = [0.035 * (len(texts[place]) + len(texts[other])) + 0.08 for other in kept]
        if all(
            abs(places[place] - places[other]) >= need * inch
            for other, need in zip(kept, needs, strict=True)
        ):
            kept.append(place)
    axis.set_xticks(there, [text if n in kept else "" for n, text in enumerate(texts)])
    axis.set_xticks([], minor=True)


def _tick(value: float) -> str:
    return EngFormatter(sep="")(value) if abs(value) >= 10_000 else f"{value:,g}"


def points(
    axis: Axes, x: Sequence[float], y: Sequence[float], style: Style, label: str = "", **more: Any
) -> None:
    """One small mark for each value, such as the seeds behind a mean."""
    usual: dict[str, Any] = {"s": 8, "alpha": 0.6, "linewidths": 0}
    axis.scatter(
        x, y, color=style.color, marker=style.marker, label=label or "_seeds", **usual | more
    )


def cell_points(
    axis: Axes,
    row: int,
    column: int,
    values: Sequence[float],
    span: tuple[float, float],
    color: str,
    label: str = "",
) -> None:
    """The seeds behind a cell of a heat map: a mark for each, from left to right by its value.

    Args:
        axis: with the map as an image.
        row: of the cell.
        column: of the cell.
        values: one for each seed.
        span: of the colours; what lies outside stands at the edge of the cell.
        color: of the marks.
        label: of the cell, in the numbers beside the figure.
    """
    low, high = span
    wide = high - low if high > low else 1.0
    x = [column - 0.4 + 0.8 * min(1.0, max(0.0, (value - low) / wide)) for value in values]
    y = [row + 0.26 + 0.07 * (place % 3) for place in range(len(values))]
    marks = axis.scatter(x, y, s=2.2, color=color, alpha=0.6, linewidths=0, label=HIDDEN + label)
    SEEDS[marks] = (column, row, tuple(float(value) for value in values))


SEEDS: "WeakKeyDictionary[Any, tuple[int, int, tuple[float, ...]]]" = WeakKeyDictionary()
"""What the marks of `cell_points` are: column, row and values."""


def threads(axis: Axes, x: Sequence[float], rows: Iterable[Sequence[float]], style: Style) -> None:
    """One thin line for each seed, behind their mean."""
    for row in rows:
        both = min(len(x), len(row))
        axis.plot(x[:both], row[:both], color=style.color, linewidth=0.4, alpha=0.4, zorder=1)


def panels(
    count: int, columns: int, size: tuple[float, float], more: tuple[float, float] = (0.0, 0.0)
) -> tuple[Drawing, list[Axes]]:
    """An empty picture of `count` panels, row by row, in `columns` columns or fewer.

    Args:
        size: width and height of a panel, inches.
        more: what the picture is wider and higher than its panels, e.g. for a legend.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    drawing = Drawing(figsize=(size[0] * columns + more[0], size[1] * rows + more[1]))
    axes = list(drawing.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return drawing, axes[:count]


def legend(drawing: Drawing, axes: Sequence[Axes], columns: int, **style: Any) -> None:
    """One legend for all panels: each label once, in the order of first appearance.

    `style` goes to matplotlib; the place is above the panels unless `loc` says another.
    """
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    usual: dict[str, Any] = {"loc": "outside upper center", "ncols": min(len(found), columns)}
    drawing.legend(list(found.values()), list(found), **usual | style)


def bounds(interval: Interval) -> tuple[float, float, float]:
    """Mean, low and high; an interval that one seed cannot have has no length in a picture."""
    interval = interval.steady()
    mean = interval.mean if interval.mean is not None else math.nan
    low = interval.low if interval.low is not None else mean
    return mean, low, interval.high if interval.high is not None else mean
