"""The suite's pictures: drawn from whatever records there are, the same bytes each time."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from harness import plan, registry
from harness.record import Record, Series
from harness.report.figure import STYLE, draw
from harness.suite import Suite
from suites.merging import figures

RecordOf = Callable[..., Record]
NAMES = ["path", "merged", "hidden", "information", "recovery"]


@pytest.fixture(scope="module")
def merging() -> Suite:
    return registry.load("merging")


@pytest.fixture
def records(merging: Suite, record_of: RecordOf) -> list[Record]:
    methods = ("individual", "average-attn", "path-*", "fisher-*", "mff", "frozen-random")
    methods = (*methods, "hidden-individual", "hidden-mff")
    wanted = plan.Filters(methods, ("hopper", "walker2d", "hopper-hidden"), (0, 1, 2))
    trials = plan.trials(merging, merging.scale("laptop"), "cpu", wanted)[0]
    return [_record(record_of, trial) for trial in trials]


def _record(record_of: RecordOf, trial: plan.Trial) -> Record:
    score = 10.0 * trial.seed + len(trial.method.name)
    series = {}
    match str(trial.method.params["rule"] or trial.method.run.rpartition(":")[2]):
        case "path":
            series["path"] = Series(x=(0.0, 0.5, 1.0), y=(score, 20.0, 1.0))
        case "fisher":
            for group in ("attn", "mlp", "ln"):
                series[f"information-{group}"] = Series(x=(0, 1, 2), y=(-3.0, -4.0, -score))
        case "frozen":
            series["recovery"] = Series(x=(0, 500, 1000), y=(0.0, score, 2 * score))
    return record_of(trial, metrics={"score": score, "return": 10 * score}, series=series)


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_and_repeat(merging: Suite, records: list[Record], name: str) -> None:
    figure = next(f for f in merging.figures if f.name == name)
    picture = draw(figure, merging, records)
    assert picture.problem == ""
    assert picture.svg == draw(figure, merging, records).svg


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_with_nothing_to_show_says_so(
    merging: Suite, records: list[Record], name: str
) -> None:
    figure = next(f for f in merging.figures if f.name == name)
    assert draw(figure, merging, []).problem == "no records to draw"
    failed = [
        r.model_copy(update={"series": {}, "metrics": {}, "status": "failed"}) for r in records
    ]
    assert draw(figure, merging, failed).problem == "no records to draw"


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_is_enough_for_a_picture(merging: Suite, records: list[Record], name: str) -> None:
    figure = next(f for f in merging.figures if f.name == name)
    assert draw(figure, merging, [r for r in records if r.seed == 0]).problem == ""


def test_words_beside_panels_do_not_overlap(merging: Suite, record_of: RecordOf) -> None:
    wanted = plan.Filters(("hidden-*",), ("*-hidden",), (0,))
    trials = plan.trials(merging, merging.scale("laptop"), "cpu", wanted)[0]
    records = [_record(record_of, trial) for trial in trials]
    with mpl.rc_context(STYLE):
        bars = figures.hidden(records, merging, merging.figures[0])
        layers = figures.by_layer(records, merging, merging.figures[0])
        assert bars is not None
        assert layers is not None
        for drawing in (bars, layers):
            FigureCanvasAgg(drawing).draw()
        titles = [axis.title.get_window_extent() for axis in bars.axes]
        labels = [a.yaxis.label.get_window_extent() for a in layers.axes if a.get_ylabel()]
    assert len(titles) >= 2
    assert all(one.x1 < other.x0 for one, other in pairwise(titles))
    assert titles[-1].x1 <= bars.bbox.x1
    assert len(labels) >= 2
    assert all(one.y0 > other.y1 for one, other in pairwise(labels))


def test_bars_show_every_seed_and_controls_are_hatched(
    merging: Suite, records: list[Record]
) -> None:
    figure = next(f for f in merging.figures if f.name == "merged")
    drawing = figures.merged(records, merging, figure)
    assert drawing is not None
    axis = drawing.axes[0]
    names = {r.method for r in records if not r.task.endswith("-hidden")}
    shown = [m for m in merging.methods if m.name in names]
    assert [label.get_text() for label in axis.get_yticklabels()] == [m.label for m in shown]
    scores = [r.metrics["score"] for r in records if (r.method, r.task) == ("individual", "hopper")]
    bars: Any = axis.patches
    assert bars[0].get_width() == pytest.approx(sum(scores) / 3)
    marks: Any = axis.collections[1]
    assert sorted(marks.get_offsets()[:, 0]) == sorted(scores)
    hatched = {m.name for m, bar in zip(shown, bars, strict=True) if bar.get_hatch()}
    assert hatched == {"frozen-random"}


def test_bars_of_hidden_velocities_stand_in_a_picture_of_their_own(
    merging: Suite, records: list[Record]
) -> None:
    figure = next(f for f in merging.figures if f.name == "hidden")
    drawing = figures.hidden(records, merging, figure)
    assert drawing is not None
    titles = [axis.get_title().replace("\n", " ") for axis in drawing.axes]
    assert titles == ["Hopper, velocities hidden"]
    names = [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert names == [merging.method(m).label for m in ("hidden-individual", "hidden-mff")]


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("path", "path-attn"),
        ("merged", "average-attn"),
        ("information", "fisher-true-attn-common"),
        ("recovery", "mff"),
    ],
)
def test_a_method_added_by_one_line_is_drawn(
    merging: Suite, record_of: RecordOf, name: str, like: str
) -> None:
    mine = merging.method(like).model_copy(update={"name": "mine", "label": "Mine"})
    suite = merging.model_copy(update={"methods": (*merging.methods, mine)})
    scale = suite.scale("laptop").model_copy(update={"methods": (like, "mine")})
    wanted = plan.Filters((), ("hopper", "walker2d"), (0, 1))
    records = [_record(record_of, t) for t in plan.trials(suite, scale, "cpu", wanted)[0]]
    figure = next(f for f in suite.figures if f.name == name)
    assert draw(figure, suite, records).problem == ""
    drawing = registry.call(figure.draw)(records, suite, figure)
    texts = [text.get_text() for legend in drawing.legends for text in legend.get_texts()]
    texts += [axis.get_title() for axis in drawing.axes]
    texts += [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert "Mine" in texts
