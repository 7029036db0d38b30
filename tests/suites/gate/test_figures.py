"""The suite's pictures: drawn from whatever records there are, the same bytes each time."""

from collections.abc import Callable

import pytest

from harness import plan, registry
from harness.record import Record, Series
from harness.report.figure import draw
from harness.suite import Suite

RecordOf = Callable[..., Record]


@pytest.fixture(scope="module")
def gate() -> Suite:
    return registry.load("gate")


@pytest.fixture
def records(gate: Suite, record_of: RecordOf) -> list[Record]:
    wanted = plan.Filters(("gat", "gate"), ("self-er8-l*", "minesweeper-l5*"), (0, 1))
    trials = plan.trials(gate, gate.scale("laptop"), "cpu", wanted)[0]
    return [_record(record_of, trial) for trial in trials]


def _record(record_of: RecordOf, trial: plan.Trial) -> Record:
    depth = int(str(trial.task.params["depth"]))
    energies = Series(x=range(depth + 1), y=[float(i + 1) for i in range(depth + 1)])
    alphas = {
        f"alpha-layer-{layer}": Series(x=(0.0, 0.5), y=(layer, 3.0))
        for layer in range(1, depth + 1)
    }
    score = 50.0 + trial.seed + len(trial.method.name)
    return record_of(
        trial,
        metrics=dict.fromkeys(trial.task.metrics, score),
        series={"energy-by-layer": energies, **alphas},
    )


def test_a_method_added_by_one_line_is_drawn(gate: Suite, record_of: RecordOf) -> None:
    mine = gate.methods[0].model_copy(update={"name": "mine", "label": "Mine"})
    suite = gate.model_copy(update={"methods": (*gate.methods, mine)})
    scale = suite.scale("laptop").model_copy(update={"methods": ("gat", "mine")})
    wanted = plan.Filters((), ("self-er8-l*", "minesweeper-l5*"), (0, 1))
    records = [_record(record_of, t) for t in plan.trials(suite, scale, "cpu", wanted)[0]]
    for figure in suite.figures:
        assert draw(figure, suite, records).problem == "", figure.name


@pytest.mark.parametrize("name", ["depth", "alpha", "energy", "protocols"])
def test_figures_are_drawn_and_repeat(gate: Suite, records: list[Record], name: str) -> None:
    figure = next(f for f in gate.figures if f.name == name)
    picture = draw(figure, gate, records)
    assert picture.problem == ""
    assert picture.svg == draw(figure, gate, records).svg


@pytest.mark.parametrize("name", ["depth", "alpha", "energy", "protocols"])
def test_a_figure_with_nothing_to_show_says_so(
    gate: Suite, records: list[Record], name: str
) -> None:
    figure = next(f for f in gate.figures if f.name == name)
    bare = [r.model_copy(update={"series": {}}) for r in records if r.task == "self-er8-l1"]
    assert draw(figure, gate, []).problem == "no records to draw"
    few = draw(figure, gate, bare)
    assert few.problem == "no records to draw" or few.svg
