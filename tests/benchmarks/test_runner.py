"""The runner of all benchmarks, and the records that the engine's benchmark makes."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import __main__ as runner  # noqa: E402
from benchmarks import engine  # noqa: E402
from harness import plan  # noqa: E402
from harness.store import Store  # noqa: E402


def test_a_printed_line_has_cells():
    assert runner.cells("| `run`, 10 | 1.5 |  |") == ["`run`, 10", "1.5", ""]
    assert runner.cells("   64  GATv2Conv     3.25   1.00") == ["64", "GATv2Conv", "3.25", "1.00"]
    assert runner.cells("|---|:-:|") == runner.cells("") == []


def test_all_rows_are_one_table():
    done = [
        {"name": "one", "rows": [["a", "b"], ["a|b", "1"]]},
        {"name": "two", "rows": [["a", "b", "c"]]},
    ]
    text = runner.markdown(done, {"cores": 2})
    assert text.splitlines() == [
        "cores 2",
        "",
        "| benchmark |  |  |  |",
        "| --- | --- | --- | --- |",
        "| one | a | b |  |",
        "| one | a\\|b | 1 |  |",
        "| two | a | b | c |",
    ]


def test_every_benchmark_can_be_named():
    assert {"engine", "bam", "mixup"} <= set(runner.there())
    assert set(runner.ALONE) <= set(runner.there())


def test_one_that_is_unknown_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "speed"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "no benchmark 'speed'; there are: bam," in capsys.readouterr().err


def test_the_records_are_those_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.setenv(engine.SIZE, "1000")
    suite = engine.suite()
    trials, _ = plan.trials(suite, suite.scale("laptop"))
    assert len(trials) == 1000
    store = Store(tmp_path / "results", tmp_path / "cache")
    for trial in trials[:3]:
        path = store.commit(engine.record_of(trial, "0" * 64))
        assert 2000 < path.stat().st_size < 2500
    assert {r.id for r in store.load(engine.NAME).records} == {t.id for t in trials[:3]}
