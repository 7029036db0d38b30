"""Cells: mean, interval, n, failures, references, marks and ids."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness.analysis import cells, frame
from harness.record import Record
from harness.report.selection import sort_out
from harness.report.table import Cell, Comparison, compare, planned
from harness.stats import mean_interval
from harness.suite import Mark, Method, Reference, Suite, Table, Task

Lab = Callable[..., Suite]
Make = Callable[..., Record]


def table(
    suite: Suite,
    records: Sequence[Record],
    name: str = "accuracy",
    references: Sequence[Reference] = (),
    scale: str = "laptop",
    **options: Any,
) -> Comparison:
    chosen = sort_out(suite, records, **options)
    printed: dict[tuple[str, str, str], list[Reference]] = {}
    for r in references:
        printed.setdefault((r.task, r.method, r.metric), []).append(r)
    spec = next(t for t in suite.tables if t.name == name)
    grouped = cells(frame(chosen.used, suite))
    made = compare(spec, suite, suite.scale(scale), chosen, grouped, printed)
    assert made is not None
    return made


def cell(made: Comparison, method: str, task: str) -> Cell:
    return next(c for c in made.cells if (c.method, c.task) == (method, task))


def test_a_cell_is_the_mean_of_its_records(lab: Lab, records: list[Record]) -> None:
    made = table(lab(), records)
    own = [r for r in records if (r.method, r.task) == ("gate", "deep")]
    edge = mean_interval([r.metrics["acc"] for r in own])
    got = cell(made, "gate", "deep")
    assert (got.mean, got.low, got.high, got.n) == (edge.mean, edge.low, edge.high, 6)
    assert [t.id for t in got.trials] == [r.short for r in own]
    assert got.parts(1).n == "n=6"


def test_failures_are_counted_and_left_out_of_the_mean(lab: Lab, records: list[Record]) -> None:
    made = table(lab(), records)
    got = cell(made, "plain", "deep")
    assert (got.n, got.failures, len(got.trials)) == (4, 2, 6)
    assert got.statuses == {"ok": 4, "diverged": 1, "oom": 1, "timeout": 0, "failed": 0}
    assert got.parts(1).n == "n=4, 4/6 ok"
    assert "Means leave failed trials out: 2 of 66 trials (1 diverged, 1 oom)." in made.notes


def test_all_failed_has_no_mean(lab: Lab, record: Make) -> None:
    suite = lab()
    made = table(suite, [record(suite, "gate", "deep", s, "oom") for s in range(3)])
    parts = cell(made, "gate", "deep").parts(1)
    assert (parts.mean, parts.interval, parts.n) == ("—", "", "n=0, 0/3 ok")


def test_a_single_seed_has_no_interval(lab: Lab, record: Make) -> None:
    suite = lab()
    made = table(suite, [record(suite, "gate", "deep", 0)])
    got = cell(made, "gate", "deep")
    assert (got.low, got.high, got.n) == (None, None, 1)
    assert got.parts(1).interval == ""
    assert got.parts(1).n == "n=1"


def test_a_training_that_was_measured_again_is_counted_once(lab: Lab, record: Make) -> None:
    suite = lab()
    same = [record(suite, "gate", "deep", s, metrics={"acc": 80.0, "steps": 1.0}) for s in range(5)]
    same.append(record(suite, "gate", "deep", 5, "oom"))
    made = table(suite, [*same, *(record(suite, "plain", "deep", s) for s in range(6))])
    got = cell(made, "gate", "deep")
    assert (got.mean, got.low, got.high, got.n, got.measured, got.failures) == (
        80.0, None, None, 1, 5, 1,
    )  # fmt: skip
    assert got.parts(1).n == "n=1, 5/6 ok"
    assert any(note.startswith("n counts distinct trainings") for note in made.notes)
    apart = table(suite, [record(suite, "gate", "deep", s) for s in range(5)])
    assert not any("distinct trainings" in note for note in apart.notes)


def test_a_missing_cell_keeps_the_printed_number(lab: Lab, printed: dict[str, Any]) -> None:
    made = table(lab(), [], references=printed["lab"])
    parts = cell(made, "gate", "shallow").parts(1)
    assert (parts.mean, parts.interval, parts.n, parts.marks) == ("—", "", "", "")
    assert parts.paper == "81.25 ± 1.1 (n=10)"
    assert cell(made, "odd", "made").parts(1) == ("—", "", "", "", "")


def test_numbers_of_others_stand_below(
    lab: Lab, records: list[Record], printed: dict[str, Any]
) -> None:
    made = table(lab(), records, references=printed["lab"])
    assert cell(made, "plain", "shallow").references == ()
    assert made.anchors == (
        "<script>alert(1)</script> on shallow: 77.0 (DGL, its README), its own split",
        "stranger on shallow: 70.0 (paper, Table 2)",
    )


def test_the_head_says_what_the_number_is(lab: Lab, records: list[Record]) -> None:
    made = table(lab(), records)
    assert made.head == (
        "Accuracy (%)",
        "↑ higher is better",
        "split: test",
        "selection: best-val",
        "protocols: code, standard",
    )
    assert made.columns[2] == "deep-code (code)"
    assert made.columns[3] == "Made (standard, synthetic fallback)"
    steps = table(lab(), records, "steps")
    assert steps.head[:2] == ("Steps", "↓ lower is better")
    assert steps.head[-1] == "protocol: standard"
    assert (steps.corner, len(steps.columns), len(steps.rows)) == ("Task", 3, 2)


def values(suite: Suite, record: Make, numbers: dict[str, Sequence[float]]) -> list[Record]:
    return [
        record(suite, method, "shallow", seed, metrics={"acc": value, "steps": value})
        for method, column in numbers.items()
        for seed, value in enumerate(column)
    ]


def test_best_and_not_separated_follow_the_paired_difference(lab: Lab, record: Make) -> None:
    """Both differ by one on average; only for `plain` does every seed agree."""
    suite = lab()
    base = [50.0, 60.0, 70.0, 80.0]
    numbers = {
        "gate": base,
        "plain": [b - 1 - 0.01 * i for i, b in enumerate(base)],
        "odd": [40.0, 70.0, 60.0, 86.0],
    }
    made = table(suite, values(suite, record, numbers))
    marks = {c.method: (c.best, c.close) for c in made.cells if c.task == "shallow"}
    assert marks == {"gate": (True, False), "plain": (False, False), "odd": (False, True)}
    lower = table(suite, values(suite, record, numbers), "steps")
    assert cell(lower, "plain", "shallow").best is True
    assert cell(lower, "gate", "shallow").best is False


def test_ties_are_all_best_and_one_shared_seed_separates_nothing(lab: Lab, record: Make) -> None:
    suite = lab()
    made = table(suite, values(suite, record, {"gate": [2.0], "plain": [2.0], "odd": [1.0]}))
    marks = [(c.best, c.close) for c in made.cells if c.task == "shallow"]
    assert marks == [(True, False), (True, False), (False, True)]


def test_nothing_is_best_alone_or_without_direction(lab: Lab, record: Make) -> None:
    suite = lab()
    alone = table(suite, values(suite, record, {"gate": [1.0, 2.0]}))
    assert not any(c.best or c.close for c in alone.cells)
    neutral = lab(metrics=tuple(m.model_copy(update={"better": "neither"}) for m in suite.metrics))
    made = table(neutral, values(neutral, record, {"gate": [1.0, 2.0], "plain": [3.0, 4.0]}))
    assert not any(c.best or c.close for c in made.cells)
    assert made.head[1] == "split: test"


def test_stale_records_leave_a_mark_and_a_count(lab: Lab, records: list[Record]) -> None:
    made = table(lab(), records, stale={records[0].id, records[1].id})
    assert cell(made, "gate", "shallow").parts(1).marks == "*"
    assert any("2 of 66 records" in note for note in made.notes)


def test_only_methods_and_tasks_of_the_scale_are_shown(lab: Lab, record: Make) -> None:
    suite = lab()
    narrow = suite.scale("laptop").model_copy(
        update={"methods": ("gate", "plain"), "exclude": ("*/deep*", "plain/made")}
    )
    small = lab(scales=(narrow,))
    assert planned(small, narrow) == {
        ("gate", "shallow"), ("gate", "made"), ("plain", "shallow"),
    }  # fmt: skip
    made = table(small, [])
    assert [name for name, _ in made.rows] == ["Gate", "<script>alert(1)</script>"]
    assert made.columns == ("shallow", "Made (synthetic fallback)")
    kept = table(small, [record(suite, "odd", "shallow", 0)])
    assert len(kept.rows) == 3


def test_a_table_that_the_scale_leaves_out_is_none(lab: Lab) -> None:
    suite = lab()
    narrow = suite.scale("laptop").model_copy(update={"tasks": ("made",)})
    spec = next(t for t in suite.tables if t.name == "steps")
    empty = sort_out(suite, [])
    assert compare(spec, suite, narrow, empty, cells(frame([], suite)), {}) is None


def test_equal_labels_are_told_apart(lab: Lab) -> None:
    suite = lab(
        methods=(
            Method(name="gate", run="x:run", label="Same"),
            Method(name="plain", run="x:run", label="Same"),
            Method(name="odd", run="x:run"),
        )
    )
    names = [name for name, _ in table(suite, []).rows]
    assert names == ["Same [gate]", "Same [plain]", "odd"]


def test_deleting_one_record_changes_exactly_its_cells(lab: Lab, records: list[Record]) -> None:
    """Other cells of the task may only gain or lose a mark, as they are compared with it."""
    whole = table(lab(), records)
    for gone in records[::9]:
        less = table(lab(), [r for r in records if r is not gone])
        changed = {
            (a.method, a.task)
            for a, b in zip(whole.cells, less.cells, strict=True)
            if a._replace(best=False, close=False) != b._replace(best=False, close=False)
        }
        assert changed == {(gone.method, gone.task)}
        marks = {
            a.task
            for a, b in zip(whole.cells, less.cells, strict=True)
            if (a.best, a.close) != (b.best, b.close)
        }
        assert marks <= {gone.task}


def test_a_metric_that_is_absent_is_a_failure(lab: Lab, record: Make) -> None:
    suite = lab()
    made = table(suite, [record(suite, "gate", "deep", 0, metrics={"steps": 1.0})])
    got = cell(made, "gate", "deep")
    assert (got.n, got.failures, got.statuses["ok"]) == (0, 1, 1)


@pytest.mark.parametrize("rows", ["methods", "tasks"])
def test_rows_and_columns_swap(lab: Lab, records: list[Record], rows: Any) -> None:
    suite = lab(tables=(Table(name="accuracy", title="T", metric="acc", rows=rows),))
    made = table(suite, records)
    for name, row in made.rows:
        for column, got in zip(made.columns, row, strict=True):
            assert (got.row, got.column) == (name, column)


def test_task_labels_name_the_protocol_only_where_they_differ(lab: Lab) -> None:
    suite = lab(
        tasks=(Task(name="shallow", metrics=("acc", "steps")), Task(name="deep", metrics=("acc",))),
        claims=(),
    )
    assert table(suite, []).columns == ("shallow", "deep")


def test_a_table_sets_off_the_cells_whose_other_metric_is_below_its_bound(
    lab: Lab, records: list[Record]
) -> None:
    suite = lab()
    plain = table(suite, records)
    assert not any(c.set_off for c in plain.cells)
    means = sorted(c.mean for c in plain.cells if c.mean is not None)
    mark = Mark(metric="acc", below=means[len(means) // 2], text="No better than guessing.")
    tables = [
        t.model_copy(update={"mark": mark} if t.name == "accuracy" else {}) for t in suite.tables
    ]
    made = table(suite.model_copy(update={"tables": tuple(tables)}), records)
    for c in made.cells:
        below = c.mean is not None and c.mean < mark.below
        assert c.set_off == below == ("‡" in c.parts(1).marks)
    assert {c.set_off for c in made.cells} == {True, False}
    assert "‡ No better than guessing." in made.notes


def test_a_mark_names_a_metric_that_exists(lab: Lab) -> None:
    mark = Mark(metric="luck", below=1.0, text="")
    given = lab().model_dump()
    given["tables"][0]["mark"] = mark
    with pytest.raises(ValueError, match="luck"):
        Suite.model_validate(given)
