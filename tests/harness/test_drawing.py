"""Panels, one legend for all of them, and intervals that may have no bounds."""

import itertools
import math

import numpy as np
import pytest

from harness.drawing import (
    COLOURS,
    bounds,
    interval_line,
    legend,
    panels,
    points,
    styles,
    threads,
    value_ticks,
)
from harness.stats import Interval, mean_interval


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, 4, (1, 1)), (4, 4, (1, 4)), (5, 4, (2, 4)), (3, 1, (3, 1))]
)
def test_panels_fill_rows_of_so_many_columns(count, columns, shape):
    drawing, axes = panels(count, columns, size=(2.0, 1.5), more=(0.5, 0.25))
    assert len(axes) == count
    assert tuple(axes[0].get_gridspec().get_geometry()) == shape
    assert tuple(drawing.get_size_inches()) == (2.0 * shape[1] + 0.5, 1.5 * shape[0] + 0.25)
    assert sum(axis.get_visible() for axis in drawing.axes) == count


def test_a_legend_names_each_label_once_in_the_order_of_appearance():
    drawing, axes = panels(2, 2, size=(2.0, 1.5))
    axes[0].plot([0, 1], label="b")
    axes[0].plot([1, 0], label="a")
    axes[1].plot([0, 1], label="a")
    axes[1].plot([0, 1], label="c")
    legend(drawing, axes, 2, fontsize=5)
    (made,) = drawing.legends
    assert [text.get_text() for text in made.get_texts()] == ["b", "a", "c"]
    assert made._ncols == 2
    assert made.get_texts()[0].get_fontsize() == 5


def test_bounds_are_those_of_the_interval_or_none_at_all():
    found = mean_interval([1.0, 2.0, 4.0])
    assert bounds(found) == (found.mean, found.low, found.high)
    assert bounds(mean_interval([3.0])) == (3.0, 3.0, 3.0)
    assert all(map(math.isnan, bounds(Interval(None, None, None, 0, ""))))


def test_every_method_has_a_look_of_its_own_that_others_do_not_change():
    names = [f"method-{n}" for n in range(154)]
    found = styles(names)
    assert len({(style.color, style.marker) for style in found.values()}) == 154
    assert {style.color for style in styles(names[:77]).values()} == set(COLOURS)
    assert styles(names[:3]) == {name: found[name] for name in names[:3]}


def test_a_line_of_intervals_shows_means_and_bounds():
    _, (axis,) = panels(1, 1, size=(2.0, 1.5))
    intervals = [mean_interval([1.0, 2.0, 4.0]), mean_interval([3.0])]
    look = styles(["a"])["a"]
    interval_line(axis, [2, 5], intervals, look, "A", capsize=2)
    (bar,) = axis.containers
    line, _, (whiskers,) = bar.lines
    assert line.get_xydata().tolist() == [[2, intervals[0].mean], [5, 3.0]]
    assert whiskers.get_segments()[0][:, 1].tolist() == pytest.approx(
        [intervals[0].low, intervals[0].high]
    )
    assert (line.get_color(), line.get_marker()) == (look.color, look.marker)
    points(axis, [2, 2], [1.0, 2.0], look)
    assert axis.collections[-1].get_offsets().tolist() == [[2, 1.0], [2, 2.0]]


@pytest.mark.parametrize(
    ("values", "decades", "wanted"),
    [
        ((125, 250, 500, 1000, 5000), True, ["125", "250", "500", "1,000", "5,000"]),
        ((2000, 100, 110, 1000, 1990), True, ["100", "", "1,000", "", "2,000"]),
        ((1, 2, 5, 10), False, ["1", "2", "5", "10"]),
        ((0.0001, 0.1, 2.5e7), True, ["0.0001", "0.1", "25M"]),
        ((0, 3, 3), False, ["0", "3"]),
        ((7,), True, ["7"]),
    ],
)
def test_values_of_an_axis_have_a_tick_each_and_numbers_that_do_not_overlap(
    values, decades, wanted
):
    _, (axis,) = panels(1, 1, size=(3.0, 2.5))
    axis.plot(values, values)
    axis.tick_params(labelsize=8)  # as in reports
    value_ticks(axis, values, decades, 3.0)
    assert [label.get_text() for label in axis.get_xticklabels()] == wanted
    assert axis.get_xticks().tolist() == sorted({float(value) for value in values})
    assert axis.get_xticks(minor=True).tolist() == []
    axis.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in axis.get_xticklabels() if t.get_text()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_the_seeds_behind_a_line_are_drawn_too():
    _, (axis,) = panels(1, 1, size=(2.0, 1.5))
    look = styles(["a"])["a"]
    seeds = [[1.0, 2.0, 4.0], [3.0]]
    interval_line(axis, [2, 5], [mean_interval(s) for s in seeds], look, "A", seeds)
    drawn = [xy for group in axis.collections[:2] for xy in group.get_offsets().tolist()]
    assert drawn == [[2, 1.0], [2, 2.0], [2, 4.0], [5, 3.0]]
    threads(axis, [0, 1, 2], [[1.0, 2.0, 3.0], [4.0, 5.0]], look)
    assert [line.get_ydata().tolist() for line in axis.lines[-2:]] == [[1.0, 2.0, 3.0], [4.0, 5.0]]
    assert all(line.get_label().startswith("_") for line in axis.lines[-2:])


# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as others see it.
SIGHT = {
    "usual": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def nearest(colours, sight):
    """The smallest distance of two colours in CIELAB, as somebody sees them."""
    srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(SIGHT[sight]).T).clip(0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = seen @ to_xyz.T / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[:, 1], 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_told_apart_whoever_looks(sight):
    assert nearest(COLOURS, sight) > 15
    usual_of_matplotlib = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"]
    if sight in ("deuteranopia", "protanopia"):
        assert nearest(usual_of_matplotlib, sight) < 10
