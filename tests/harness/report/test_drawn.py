"""The CSV beside a figure has every number that the figure shows."""

import csv
import io

import pytest
from matplotlib.figure import Figure as Drawing

from harness.drawing import interval_line, points, styles
from harness.report import drawn
from harness.stats import mean_interval


def rows(drawing: Drawing) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(drawn.numbers(drawing))))


def of(found: list[dict[str, str]], kind: str) -> list[list[str]]:
    columns = ("label", "x", "y", "x2", "y2", "value")
    return [[row[c] for c in columns] for row in found if row["kind"] == kind]


def test_lines_seeds_and_intervals() -> None:
    drawing = Drawing()
    axis = drawing.subplots()
    look = styles(["a"])["a"]
    seeds = [1.0, 2.0, 4.0]
    found = mean_interval(seeds)
    interval_line(axis, [3], [found], look, "=A", [seeds])
    points(axis, [9], [8.5], look, "alone")
    axis.axhline(5)
    axis.set_title("Two\nlines")
    table = rows(drawing)
    assert {row["panel"] for row in table} == {"Two lines"}
    assert of(table, "line") == [["'=A", "3", "2.333333333", "", "", ""]]
    assert of(table, "point") == [
        *(["", "3", y, "", "", ""] for y in ("1", "2", "4")), ["alone", "9", "8.5", "", "", ""],
    ]  # fmt: skip
    ((_, x, low, x2, high, _),) = of(table, "segment")
    assert (x, x2) == ("3", "3")
    assert [float(low), float(high)] == pytest.approx([found.low, found.high], rel=1e-9)


def test_bars_bins_cells_and_named_ticks() -> None:
    drawing = Drawing()
    left, right = drawing.subplots(1, 2)
    left.barh([0, 1], [3.5, 4], height=0.5)
    left.set_yticks([0, 1], ["first", "second"])
    right.stairs([2, 7], [0, 0.5, 1], label="bins")
    right.imshow([[1, 2], [3, 4]])
    table = rows(drawing)
    assert of(table, "bar")[0] == ["", "0", "-0.25", "3.5", "0.25", ""]
    assert of(table, "tick") == [["first", "", "0", "", "", ""], ["second", "", "1", "", "", ""]]
    assert of(table, "bin") == [
        ["bins", "0", "0", "0.5", "2", ""],
        ["bins", "0.5", "0", "1", "7", ""],
    ]
    assert of(table, "cell")[2] == ["", "0", "1", "", "", "3"]
    assert {row["panel"] for row in table} == {"1", "2"}
