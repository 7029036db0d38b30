"""The suite's pictures: drawn from whatever records there are, the same bytes each time."""

import pytest

from harness import plan, registry
from harness.record import Cost, Provenance, Record, Series
from harness.report.figure import draw
from harness.suite import Suite


@pytest.fixture(scope="module")
def gate() -> Suite:
    return registry.load("gate")


@pytest.fixture
def records(gate: Suite) -> list[Record]:
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
    wanted = plan.Filters(("gat", "gate"), ("self-er8-l*", "minesweeper-l5*"), (0, 1))
    made = []
    for trial in plan.trials(gate, gate.scale("laptop"), "cpu", wanted)[0]:
        metrics = {name: 50.0 + trial.seed + len(trial.method.name) for name in trial.task.metrics}
        depth = int(str(trial.task.params["depth"]))
        series = {
            "energy-by-layer": Series(
                x=range(depth + 1), y=[float(i + 1) for i in range(depth + 1)]
            )
        }
        for layer in range(1, depth + 1):
            series[f"alpha-layer-{layer}"] = Series(x=(0.0, 0.5), y=(layer, 3.0))
        record = Record(
            id=trial.id,
            suite="gate",
            method=trial.method.name,
            task=trial.task.name,
            seed=trial.seed,
            scale="laptop",
            protocol=trial.task.protocol,
            spec=trial.spec,
            status="ok",
            metrics=metrics,
            series=series,
            cost=cost,
            provenance=provenance,
        )
        made.append(record)
    return made


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
