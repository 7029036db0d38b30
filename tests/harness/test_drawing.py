"""Panels, one legend for all of them, and intervals that may have no bounds."""

import math

import pytest

from harness.drawing import bounds, interval_line, legend, panels, points, styles
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
    names = [f"method-{n}" for n in range(40)]
    found = styles(names)
    assert len(set(found.values())) == 40
    assert len({(style.color, style.marker) for style in found.values()}) == 40
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
