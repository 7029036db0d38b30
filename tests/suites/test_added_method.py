"""A method added by one line stands in a table and in every figure, with a look of its own."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.text import Text

from harness import plan, registry
from harness.analysis import cells, frame
from harness.drawing import styles
from harness.errors import UsageError
from harness.record import Record, Series
from harness.report.selection import sort_out
from harness.report.table import compare
from harness.suite import Suite, Task

MINE = "mine"
LINE = Series(x=(0.0, 1.0, 2.0), y=(0.5, 0.4, 0.3))
DOMAINS = ("general", "law")


def _gate(task: Task) -> dict[str, Series]:
    layers = range(1, int(str(task.params["depth"])) + 1)
    return {"energy-by-layer": LINE} | {f"alpha-layer-{n}": LINE for n in layers}


def _bam(task: Task) -> dict[str, Series]:
    routed = {f"{kind}-{d}-layer1": LINE for kind in ("load", "gate") for d in DOMAINS}
    return (
        {"loss": LINE, "loss-flops": LINE} | routed | {f"gate-entropy-{d}": LINE for d in DOMAINS}
    )


def _mixup(task: Task) -> dict[str, Series]:
    return {"alpha-query": LINE}


def _merging(task: Task) -> dict[str, Series]:
    groups = {f"information-{group}": LINE for group in ("attn", "mlp", "ln")}
    return {"path": LINE, "recovery": LINE} | groups


SUITES: dict[str, tuple[Callable[[Task], dict[str, Series]], tuple[str, ...], str]] = {
    "gate": (_gate, ("self-er8-l*", "minesweeper-l5*"), "gat"),
    "bam": (_bam, ("general", "law", "mean"), "btx"),
    "mixup": (_mixup, ("sst-2-n*",), "vanilla"),
    "merging": (_merging, ("hopper", "hopper-hidden"), "individual"),
}
"""What its methods leave in a record, some tasks, and a method that is there already."""


@pytest.fixture(params=sorted(SUITES))
def added(request: pytest.FixtureRequest, record_of: Any) -> tuple[Suite, list[Record]]:
    """A suite with one more method, and records of that and another one."""
    series, tasks, other = SUITES[request.param]
    suite = registry.load(request.param)
    mine = suite.method(other).model_copy(
        update={"name": MINE, "label": "", "kind": "baseline", "note": ""}
    )
    suite = suite.model_copy(update={"methods": (*suite.methods, mine)})
    scale = suite.scale("laptop").model_copy(update={"methods": (other, MINE), "exclude": ()})
    suite = suite.model_copy(update={"scales": (scale,)})
    wanted = plan.Filters((), tasks, (0, 1))
    records = [
        record_of(
            trial,
            metrics=dict.fromkeys(trial.task.reports, 50.0 + trial.seed),
            series=series(trial.task),
        )
        for trial in plan.trials(suite, scale, "cpu", wanted)[0]
    ]
    return suite, records


def _said(drawing: Artist) -> list[str]:
    return [text.get_text() for text in drawing.findobj(Text)]  # type: ignore[attr-defined]


def test_it_is_in_every_figure(added: tuple[Suite, list[Record]]) -> None:
    suite, records = added
    for figure in suite.figures:
        drawing = registry.call(figure.draw)(records, suite, figure)
        assert drawing is not None, figure.name
        assert any(re.search(rf"\b{MINE}\b", text) for text in _said(drawing)), figure.name


def test_it_looks_like_no_other(added: tuple[Suite, list[Record]]) -> None:
    suite, _ = added
    look = styles(m.name for m in suite.methods)
    assert sum((s.color, s.marker) == look[MINE][:2] for s in look.values()) == 1
    before = styles(m.name for m in suite.methods[:-1])
    assert before == {name: style for name, style in look.items() if name != MINE}
    assert to_hex(look[MINE].color) == look[MINE].color


def test_it_is_in_a_table(added: tuple[Suite, list[Record]]) -> None:
    suite, records = added
    (scale,) = suite.scales
    selection = sort_out(suite, records)
    grouped = cells(frame(records, suite))
    shown = [compare(table, suite, scale, selection, grouped, {}) for table in suite.tables]
    heads = {word for table in shown if table for word in (*table.columns, *dict(table.rows))}
    assert MINE in heads


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_scale_that_does_not_run_it_says_so(name: str) -> None:
    suite = registry.load(name)
    mine = suite.methods[0].model_copy(update={"name": MINE})
    scale = suite.scale("smoke").model_copy(update={"methods": (suite.methods[0].name,)})
    suite = suite.model_copy(update={"methods": (*suite.methods, mine), "scales": (scale,)})
    with pytest.raises(UsageError) as error:
        plan.pairs(suite, scale, plan.Filters(methods=(MINE,)))
    assert str(error.value).startswith(f"scale smoke of suite {name} does not run method {MINE!r}")
