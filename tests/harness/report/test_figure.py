"""Figures: the same bytes whatever the reader's own settings, and a word where there are none."""

import re
from collections.abc import Callable

import matplotlib as mpl
import pytest

from harness.errors import HarnessError, SpecError
from harness.record import Record
from harness.report.figure import draw
from harness.suite import Figure, Suite

Lab = Callable[..., Suite]


def named(function: str) -> Figure:
    return Figure(name="f", title="F", draw=f"lab_figures:{function}")


def test_the_same_bytes_whatever_the_settings(lab: Lab, records: list[Record]) -> None:
    suite = lab()
    one = draw(named("scatter"), suite, records)
    with mpl.rc_context({"axes.facecolor": "red", "svg.hashsalt": "other", "font.size": 20}):
        before = dict(mpl.rcParams)
        two = draw(named("scatter"), suite, records)
        assert dict(mpl.rcParams) == before
    assert one == two
    assert one.svg.startswith(b"<?xml")
    assert one.png.startswith(b"\x89PNG")
    assert b"<dc:date>" not in one.svg
    assert b"atplotlib" not in one.png
    assert b"Matplotlib" not in one.svg


def test_parts_of_a_picture_are_numbered(
    lab: Lab, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """matplotlib names them by a hash of coordinates to the last bit."""
    import sys

    def many(records: object, suite: object, figure: object) -> object:
        from matplotlib.figure import Figure as Drawing

        drawing = Drawing()
        left, right = drawing.subplots(1, 2)
        left.scatter([1, 2, 3], [1, 2, 3], s=[1, 2, 3])
        left.bar([1], [2], hatch="//")
        left.plot([1, 2], [2, 1], marker="o")
        left.fill_between([1, 2], [1, 1], [2, 3])
        right.imshow([[1, 2], [3, 4]])
        return drawing

    monkeypatch.setattr(sys.modules["lab_figures"], "scatter", many)
    svg = draw(named("scatter"), lab(), records).svg
    assert not re.search(rb"[ (]-0[ )\n]", svg)
    assert not re.search(rb"[ (]\d*[1-9]\d*\.\d{4}\d*[ )\n]", svg)
    assert svg.startswith(b'<?xml version="1.0"')
    names = set(re.findall(rb'\sid="([^"]+)', svg))
    used = set(re.findall(rb'(?:url\(|href=")#([^)"]+)', svg))
    assert {b"p0", b"m1"} <= names
    assert used <= names
    assert not [name for name in names | used if re.fullmatch(rb".*[0-9a-f]{10}", name)]


def test_pyplot_is_left_without_open_figures(
    lab: Lab, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import matplotlib.pyplot as plt

    def with_pyplot(records: object, suite: object, figure: object) -> object:
        return plt.figure()

    monkeypatch.setattr(sys.modules["lab_figures"], "scatter", with_pyplot)
    mpl.use("agg")
    assert draw(named("scatter"), lab(), records).svg
    assert plt.get_fignums() == []


def test_a_figure_that_cannot_be_drawn_says_why(
    lab: Lab, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    suite = lab()
    assert draw(named("broken"), suite, records).problem == "KeyError: 'no <such> method'"
    assert draw(named("nothing"), suite, records).problem == "no records to draw"
    assert draw(named("scatter"), suite, []).problem == "no records to draw"

    def refuses(records: object, suite: object, figure: object) -> object:
        raise HarnessError("two\nlines")

    monkeypatch.setattr(sys.modules["lab_figures"], "scatter", refuses)
    assert draw(named("scatter"), suite, records).problem == "two"
    monkeypatch.setattr(sys.modules["lab_figures"], "scatter", lambda *_: sys.exit("done"))
    assert draw(named("scatter"), suite, records).problem == "SystemExit: done"


def test_a_wrong_function_is_an_error(lab: Lab, records: list[Record]) -> None:
    suite = lab()
    with pytest.raises(SpecError, match="must return a matplotlib Figure"):
        draw(named("wrong"), suite, records)
    with pytest.raises(SpecError, match="lab_figures:absent"):
        draw(named("absent"), suite, records)
