"""The numbers that a drawing shows, as CSV beside it."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.report.delimited import entry

_COLUMNS = ("panel", "kind", "label", "x", "y", "x2", "y2", "value")

Mark = tuple[Any, ...]
"""Kind, label, and the numbers of the columns after it."""


def numbers(drawing: Any) -> str:
    """All that a matplotlib figure shows: one line per point, segment, bar, bin, cell and seed.

    `label` is that of the legend; of a tick it is the text beside it. Segments, bars and bins have
    two ends. What has no place on the axes (legends, lines across a whole panel) is left out.
    """
    from harness.drawing import HIDDEN

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for place, axis in enumerate(drawing.axes, 1):
        panel = " ".join(axis.get_title().split()) or str(place)
        for find in (_ticks, _lines, _groups, _patches, _images):
            for kind, label, *values in find(axis):
                bare = label.removeprefix(HIDDEN)
                shown = "" if bare.startswith("_") else " ".join(bare.split())
                row = [panel, kind, shown, *values]
                row += [None] * (len(_COLUMNS) - len(row))
                writer.writerow([*map(entry, row)])
    return out.getvalue()


def _ticks(axis: Any) -> Iterator[Mark]:
    """Those that a text stands beside, such as the names of methods."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

    for before, ticks in (((), axis.xaxis), ((None,), axis.yaxis)):
        named = isinstance(ticks.get_major_formatter(), FixedFormatter | FuncFormatter)
        if named and isinstance(ticks.get_major_locator(), FixedLocator):
            labels = ticks.get_majorticklabels()
            for at, label in zip(ticks.get_majorticklocs(), labels, strict=False):
                if label.get_text():
                    yield "tick", label.get_text(), *before, float(at)


def _lines(axis: Any) -> Iterator[Mark]:
    named = {id(part.lines[0]): part.get_label() for part in axis.containers if _is_error_bar(part)}
    for line in axis.lines:
        if line.get_transform() == axis.transData:
            label = named.get(id(line), line.get_label())
            for x, y in line.get_xydata().tolist():
                yield "line", str(label), x, y


def _is_error_bar(part: Any) -> bool:
    from matplotlib.container import ErrorbarContainer

    return isinstance(part, ErrorbarContainer)


def _groups(axis: Any) -> Iterator[Mark]:
    from matplotlib.collections import LineCollection, PathCollection

    from harness.drawing import SEEDS

    for group in axis.collections:
        if group in SEEDS:
            column, row, values = SEEDS[group]
            for value in values:
                yield "seed", str(group.get_label()), column, row, None, None, value
        elif isinstance(group, PathCollection):
            for x, y in np.asarray(group.get_offsets()).tolist():
                yield "point", str(group.get_label()), x, y
        elif isinstance(group, LineCollection):
            for ends in group.get_segments():
                yield "segment", str(group.get_label()), *np.asarray(ends).ravel().tolist()


def _patches(axis: Any) -> Iterator[Mark]:
    from matplotlib.patches import Rectangle, StepPatch

    for patch in axis.patches:
        label = str(patch.get_label())
        if isinstance(patch, StepPatch):
            values, edges, _ = patch.get_data()
            for low, high, value in zip(edges, edges[1:], values, strict=False):
                yield "bin", label, float(low), 0, float(high), float(value)
        elif isinstance(patch, Rectangle):
            (x, y), width, height = patch.get_xy(), patch.get_width(), patch.get_height()
            yield "bar", label, *map(float, (x, y, x + width, y + height))


def _images(axis: Any) -> Iterator[Mark]:
    for image in axis.images:
        for y, row in enumerate(np.asarray(image.get_array()).tolist()):
            for x, value in enumerate(row):
                yield "cell", "", x, y, None, None, value
