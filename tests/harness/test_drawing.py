"""Panels, one legend for all of them, and intervals that may have no bounds."""

import math

import pytest

from harness.drawing import bounds, legend, panels
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
