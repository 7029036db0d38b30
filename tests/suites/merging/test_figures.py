"""The suite's pictures: drawn from whatever records there are, the same bytes each time."""

import pytest

from harness import plan, registry
from harness.record import Cost, Provenance, Record, Series
from harness.report.figure import draw
from harness.suite import Suite

NAMES = ["path", "merged", "information", "recovery"]


@pytest.fixture(scope="module")
def merging() -> Suite:
    return registry.load("merging")


@pytest.fixture
def records(merging: Suite) -> list[Record]:
    cost = Cost(wall_seconds=1, cpu_seconds=1, peak_memory_bytes=1)
    provenance = Provenance(
        started="2025-01-01T00:00:00+00:00",
        finished="2025-01-01T00:00:01+00:00",
        commit=None,
        dirty=None,
        source_digest="0" * 64,
        python="3.11",
        packages={},
        platform="Linux",
        processor="toy",
        cores=1,
        memory_bytes=1,
        accelerator=None,
        threads=1,
        flags={},
        command=("harness",),
    )
    methods = ("individual", "average-attn", "path-*", "fisher-*", "mff", "frozen-random")
    wanted = plan.Filters(methods, ("hopper", "walker2d"), (0, 1, 2))
    made = []
    for trial in plan.trials(merging, merging.scale("laptop"), "cpu", wanted)[0]:
        score = 10.0 * trial.seed + len(trial.method.name)
        series = {}
        if trial.method.name.startswith("path"):
            series["path"] = Series(x=(0.0, 0.5, 1.0), y=(score, 20.0, 1.0))
        if trial.method.name.startswith("fisher"):
            for group in ("attn", "mlp", "ln"):
                series[f"information-{group}"] = Series(x=(0, 1, 2), y=(-3.0, -4.0, -score))
        if trial.method.name in ("mff", "frozen-random"):
            series["recovery"] = Series(x=(0, 500, 1000), y=(0.0, score, 2 * score))
        record = Record(
            id=trial.id,
            suite="merging",
            method=trial.method.name,
            task=trial.task.name,
            seed=trial.seed,
            scale="laptop",
            protocol=trial.task.protocol,
            spec=trial.spec,
            status="ok",
            metrics={"score": score, "return": 10 * score},
            series=series,
            cost=cost,
            provenance=provenance,
        )
        made.append(record)
    return made


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


def test_bars_show_every_seed_and_controls_are_grey(merging: Suite, records: list[Record]) -> None:
    from suites.merging import figures

    figure = next(f for f in merging.figures if f.name == "merged")
    drawing = figures.merged(records, merging, figure)
    assert drawing is not None
    axis = drawing.axes[0]
    assert [label.get_text() for label in drawing.axes[-1].get_xticklabels()] == [
        m.name for m in merging.methods if m.name in {r.method for r in records}
    ]
    own = [r for r in records if (r.method, r.task) == ("individual", "hopper")]
    individual = [r.metrics["score"] for r in own]
    assert axis.patches[0].get_height() == pytest.approx(sum(individual) / 3)
    assert sorted(axis.lines[0].get_ydata()) == sorted(individual)
    assert figures._colour(merging.method("frozen-random")) == figures.GREY
