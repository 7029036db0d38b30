"""The suite's pictures: drawn from whatever records there are, the same bytes each time."""

import csv
import io
from collections.abc import Callable

import numpy as np
import pytest

from harness import plan, registry
from harness.record import Cost, Record, Series
from harness.report.figure import draw
from harness.suite import Suite
from suites.mixup import figures

NAMES = ("scores", "sizes", "alpha", "cost")


@pytest.fixture(scope="module")
def mixup() -> Suite:
    return registry.load("mixup")


@pytest.fixture
def records(mixup: Suite, record_of: Callable[..., Record]) -> list[Record]:
    wanted = plan.Filters(("vanilla", "lora", "mixup-c*"), ("sst-2-n*", "trec-n300"), (0, 1))
    alphas = Series(x=(0, 1, 2), y=(0.9, 0.95, 1.0), x_label="layer")
    found = []
    for trial in plan.trials(mixup, mixup.scale("laptop"), "cpu", wanted)[0]:
        mixed = trial.method.name.startswith("mixup")
        seconds = 20.0 if mixed else 1.0
        found.append(
            record_of(
                trial,
                metrics={"score": 70.0 + trial.seed + 2 * mixed, "degenerate": 0.0},
                series={"alpha-output.dense": alphas} if mixed else {},
                cost=Cost(wall_seconds=1, cpu_seconds=seconds, peak_memory_bytes=1),
            )
        )
    return found


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_and_repeat(mixup: Suite, records: list[Record], name: str) -> None:
    figure = next(f for f in mixup.figures if f.name == name)
    picture = draw(figure, mixup, records)
    assert picture.problem == ""
    assert picture.svg == draw(figure, mixup, records).svg


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_with_nothing_to_show_says_so(
    mixup: Suite, records: list[Record], name: str
) -> None:
    figure = next(f for f in mixup.figures if f.name == name)
    assert draw(figure, mixup, []).problem == "no records to draw"
    failed = [
        r.model_copy(update={"status": "failed", "metrics": {}, "series": {}}) for r in records
    ]
    assert draw(figure, mixup, failed).problem == "no records to draw"


@pytest.fixture
def axes_of(mixup: Suite, records: list[Record]) -> Callable[[str], list]:  # type: ignore[type-arg]
    def axes(name: str) -> list:  # type: ignore[type-arg]
        figure = next(f for f in mixup.figures if f.name == name)
        drawing = getattr(figures, name)(records, mixup, figure)
        return [a for a in drawing.axes if a.get_visible()]

    return axes


def test_every_seed_is_a_point(axes_of: Callable[[str], list]) -> None:  # type: ignore[type-arg]
    axes = axes_of("scores")
    titles = [" ".join(a.get_title().split()) for a in axes]
    assert titles == ["SST-2, 300 examples (accuracy)", "TREC-6, 300 examples (accuracy)"]
    scatters = [c for c in axes[0].collections if len(c.get_offsets()) > 1]
    points = [tuple(c.get_offsets()[:, 0].tolist()) for c in scatters]
    assert points == [(70.0, 71.0), (70.0, 71.0), *[(72.0, 73.0)] * 4]


def test_cost_and_gain_are_ratios_and_differences(axes_of: Callable[[str], list]) -> None:  # type: ignore[type-arg]
    (axis,) = axes_of("cost")
    at = {line.get_label(): tuple(np.round(line.get_xydata()[0], 6)) for line in axis.lines[1:]}
    assert at["LoRA"] == (1.0, 0.0)
    assert at["mixup, convex"] == (20.0, 2.0)


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("cost", "mixup, convex, seed 1", {("20", "2", "")}),
        ("alpha", "mixup, convex, output.dense, layer 2", {("1", "0", "0.95")}),
    ],
)
def test_the_numbers_beside_a_figure_hold_every_seed(
    mixup: Suite, records: list[Record], name: str, label: str, values: set[tuple[str, ...]]
) -> None:
    picture = draw(next(f for f in mixup.figures if f.name == name), mixup, records)
    rows = list(csv.DictReader(io.StringIO(picture.csv.decode())))
    own = [r for r in rows if r["label"] == label]
    assert {(r["x"], r["y"], r["value"]) for r in own} == values
    assert {r["kind"] for r in own} == {"point" if name == "cost" else "seed"}
    learnt = {(r.task, r.seed) for r in records if r.method == "mixup-convex"}
    assert len(own) == (1 if name == "cost" else len(learnt))


def test_the_heat_map_holds_the_means(axes_of: Callable[[str], list]) -> None:  # type: ignore[type-arg]
    axis = axes_of("alpha")[0]
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.9, 0.95, 1.0]])
