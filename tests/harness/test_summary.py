"""What a run says at its end: counts, table, verdicts, page, next command."""

import re
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from harness import console, plan, registry, summary
from harness.record import Record
from harness.store import Loaded, Store
from harness.suite import Beats, Suite, Table
from harness.summary import Round, command, tell

Say = Callable[..., list[str]]


@pytest.fixture
def suite(toy_suite: Any) -> Suite:
    """The toy suite with a headline table, two others, and a primary claim."""
    claim = Beats(
        name="better", text="T.", source="S", metric="accuracy", a="ant", b="bee", margin=1,
        role="primary", tasks=("*",),
    )  # fmt: skip
    tables = (
        Table(name="losses", title="Loss", metric="loss", methods=("cat",)),
        Table(name="main", title="Accuracy", metric="accuracy", methods=("ant", "bee")),
        Table(name="turned", title="Loss", metric="loss", rows="tasks"),
    )
    made: Suite = toy_suite([claim], tables=tables, headline="main")
    return made


@pytest.fixture
def records(suite: Suite, make_record: Any) -> list[Record]:
    """Of two methods on all tasks at laptop scale, five seeds."""
    return [
        make_record(
            suite, method, task.name, seed, {"accuracy": base + slope * seed, "loss": seed / 3}
        )
        for method, base, slope in (("ant", 80, 1), ("bee", 60, 1.1))
        for task in suite.tasks
        for seed in range(5)
    ]


@pytest.fixture
def say(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Say:
    """`say(records, fresh=..., scale=..., words=..., **of_round)`: the lines of a summary."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        plan, "standing", lambda suites, records: ({"toy": {r.id for r in records}}, {})
    )
    monkeypatch.setattr(registry, "references", lambda _: ())

    def run(
        records: Iterable[Record], fresh: Iterable[Record] = (), scale: str = "laptop",
        results: str = "results", limit: float | None = None, words: str = "run toy",
        beside: tuple[str, ...] = (), **of_round: Any,
    ) -> list[str]:  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["harness", *shlex.split(words)])
        known = list(records)
        monkeypatch.setattr(Store, "load", lambda *_: Loaded(known, []))
        places = frozenset((r.suite, r.scale) for r in known)
        ended = Round(0, {"ran": 3}, places, {r.id: r for r in fresh})
        store = Store(Path(results), tmp_path)
        sizes = [(suite, suite.scale(scale))]
        tell(ended._replace(**of_round), sizes, store, 200, limit, beside=beside)
        found: list[str] = capsys.readouterr().out.splitlines()
        return found

    return run


def test_a_run_ends_with_counts_table_verdicts_page_and_command(
    say: Say, records: list[Record]
) -> None:
    counts = {"ran": 40, "failed": 0, "already there": 2}
    lines = say(records, records, counts=counts)
    assert lines[0] == "40 ran, 2 already there; 3 min 20 s"
    assert lines[1] == "toy at laptop scale, Accuracy, %, mean ± half of its 95 % interval, n=5:"
    assert lines[2].split() == ["shallow-x", "deep-x", "shallow-y", "deep-y"]
    assert lines[3].split() == ["ant", *["82.0", "±2.0"] * 4]
    assert lines[4].split() == ["bee", *["62.2", "±2.2"] * 4]
    assert lines[5] == "toy, primary claims at laptop scale:"
    assert re.match(r"  better  holds +\+19.8 .*%  n=5$", lines[6])
    assert lines[7:] == [
        "page: reports/toy/laptop/report.html, once `harness report` has written it",
        "next: harness report",
    ]


def test_the_table_shows_what_changed_and_no_more(say: Say, records: list[Record]) -> None:
    fresh = [r for r in records if (r.method, r.task) == ("bee", "deep-x")]
    lines = say(records, fresh)
    assert [line.split() for line in lines[2:4]] == [["deep-x"], ["bee", "62.2", "±2.2"]]


def test_methods_that_were_asked_for_stand_beside_what_is_new(
    say: Say, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = [r for r in records if (r.method, r.task) == ("bee", "deep-x")][:3]
    known = [r for r in records if r.method != "bee" or r in fresh]
    lines = say(known, fresh, beside=("ant", "b*"))
    assert lines[1].endswith(", n=3 to 5:")
    assert [line.split() for line in lines[2:5]] == [
        ["deep-x"], ["ant", "82.0", "±2.0"], ["bee", "61.1", "±2.7"],
    ]  # fmt: skip
    assert lines[5].startswith("toy, primary claims")
    assert len(say(known, fresh)) == len(lines) - 1
    monkeypatch.setattr(summary, "_BESIDE", 1)
    assert len(say(known, fresh, beside=("*",))) == len(lines) - 1


def test_another_table_stands_where_the_headline_did_not_change(
    say: Say, suite: Suite, make_record: Any
) -> None:
    own = [make_record(suite, "cat", "deep-y", 0, {"accuracy": 1, "loss": 2}, scale="smoke")]
    lines = say(own, own, "smoke")
    assert lines[1] == "toy at smoke scale, Loss, nats, n=1:"
    assert [line.split() for line in lines[2:4]] == [["deep-y"], ["cat", "2.0"]]
    assert len(lines) == 6, "smoke scale has no verdicts"


def test_a_long_table_is_cut(
    say: Say, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "ROWS", 1)
    lines = say(records, records)
    assert lines[4] == "  and 1 row more in the report"


def test_a_narrow_terminal_gets_means_alone(
    say: Say, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary.out, "width", 43)
    lines = say(records, records)
    assert lines[1] == "toy at laptop scale, Accuracy, %, n=5:"
    assert lines[3].split() == ["ant", *["82.0"] * 4]


def test_where_nothing_ran_the_page_and_the_verdicts_are_named(
    say: Say, records: list[Record]
) -> None:
    """They cost two libraries and the statistics of all records: not for a run without work."""
    lines = say(records, counts={"already there": 40})
    assert lines == [
        "40 already there; 3 min 20 s",
        "page: reports/toy/laptop/report.html, once `harness report` has written it",
        "next: harness report",
    ]
    page = Path("reports/toy/laptop/report.html")
    page.parent.mkdir(parents=True)
    page.touch()
    assert say(records)[1:] == [f"page: {page}", "next: harness claims toy --scale laptop"]


def test_a_time_limit_is_no_failure_and_the_same_command_comes_next(
    say: Say, records: list[Record]
) -> None:
    words = "run toy --methods 'a*,b c' --time 90m"
    lines = say(records, records[:1], stopped="time", limit=5400, words=words)
    assert lines[0] == "3 ran; stopped as asked after 1 h 30 min, resumes where it was"
    assert lines[-1] == f"next: harness {words}"
    assert command() == f"harness {words}"


def test_a_signal_is_answered_in_one_line(say: Say, records: list[Record]) -> None:
    assert say(records, records, stopped="signal") == ["3 ran; 3 min 20 s"]


def test_failures_come_first_in_what_is_next(say: Say, records: list[Record]) -> None:
    lines = say(records, records, counts={"ran": 1, "failed": 1})
    assert lines[-1] == "next: harness run toy --rerun failed  # with the cause fixed"
    lines = say(records, records, counts={"failed": 1}, words="run toy --until decided")
    assert lines[-1] == "next: harness report"


def test_other_folders_are_in_the_next_command(say: Say, records: list[Record]) -> None:
    lines = say(records, records, results="my runs/results")
    assert lines[-2].startswith("page: my runs/reports/toy/laptop/report.html, once ")
    assert lines[-1] == (
        "next: harness report --results 'my runs/results' --reports 'my runs/reports'"
    )


def test_data_that_are_missing_come_last(say: Say, records: list[Record]) -> None:
    page = Path("reports/toy/laptop/report.html")
    page.parent.mkdir(parents=True)
    page.touch()
    counts = {"already there": 3, "without data": 2}
    assert say(records, counts=counts)[-1] == "next: harness data prepare toy"


def test_rounds_add_up(records: list[Record]) -> None:
    one, two, three = records[:3]
    here, there = frozenset([("toy", "laptop")]), frozenset([("toy", "smoke")])
    first = Round(1, {"ran": 2, "failed": 1, "already there": 4}, here, {one.id: one, two.id: two})
    second = Round(0, {"ran": 3, "already there": 7}, there, {three.id: three})
    both = first.then(second._replace(stopped="time"))
    assert both == Round(
        1, {"ran": 5, "already there": 7, "failed": 1}, here | there,
        {r.id: r for r in (one, two, three)}, "time",
    )  # fmt: skip


def test_a_score_is_the_headline_metric_or_the_first(
    suite: Suite, toy_suite: Any, make_record: Any
) -> None:
    record = make_record(suite, "ant", "deep-x", 0, {"loss": 0.25, "accuracy": 88.44})
    assert console.score(suite, record) == "Accuracy 88.4 %"
    assert console.score(toy_suite(), record) == "Loss 0.2 nats"
    assert console.score(suite, record.model_copy(update={"metrics": {"loss": 1.0}})) == (
        "Loss 1.0 nats"
    )
    assert console.score(suite, record.model_copy(update={"metrics": {}})) == ""
