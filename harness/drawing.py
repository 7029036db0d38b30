"""Pieces of pictures that the suites' figures are made of; matplotlib's objects, no state of it."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from harness.stats import Interval


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
