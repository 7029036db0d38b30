"""`import harness`: records, verdicts, tables and figures as a user of pandas gets them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness import plan, registry
from harness.errors import HarnessError
from harness.frames import CLAIMS, QUANTITIES, RESULTS
from harness.record import Series

CURVE = Series(x=(1.0, 2.0), y=(0.5, 0.25))


def height(method: str, task: str, seed: int) -> float:
    """Of trials that never ran; the gain of walk over drift scatters around 1."""
    base = {"short": 2.0, "long": 3.0}[task] + 0.01 * seed**2
    return base + 1.0 + 0.02 * (seed % 3 - 1) if method == "walk" else base


@pytest.fixture
def folder(project: Any, toys: None, record_of: Any, monkeypatch: Any) -> Iterator[Any]:
    """A project with the toy suite's records at laptop scale, and an old one of `drift`."""
    suite = registry.load("toy")
    wanted, _ = plan.trials(suite, suite.scale("laptop"))
    for trial in wanted:
        name, task, seed = trial.method.name, trial.task.name, trial.seed
        failed = (name, task, seed) == ("drift", "long", 5)
        numbers: dict[str, Any] = {"metrics": {"height": height(name, task, seed)}}
        if failed:
            numbers = {"status": "failed", "error": "it broke"}
        project.store.commit(record_of(trial, series={"loss": CURVE}, **numbers))
    older = suite.model_copy(
        update={
            "methods": tuple(
                m.model_copy(update={"params": {"lift": 0.2}}) if m.name == "drift" else m
                for m in suite.methods
            )
        }
    )
    old = plan.trials(
        older, suite.scale("laptop"), "cpu", plan.Filters(("drift",), ("short",), (0,))
    )
    project.old = record_of(old[0][0], metrics={"height": -1.0})
    project.store.commit(project.old)
    monkeypatch.chdir(project.root)
    yield project
    registry.use(None)


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import json, sys, harness\n"
        "print(json.dumps([dir(harness), sorted(m for m in sys.modules if m[:8] == 'harness.'),"
        " 'pandas' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ["along", "claims", "figure", "record", "results", "table"]
    assert json.loads(done.stdout) == [names, ["harness.lazy"], False]


def test_names_that_modules_have_too_stay_functions(folder: Any) -> None:
    import harness.claims as module
    from harness.record import Record

    assert module.judge
    assert isinstance(harness.record(folder.old.short), Record)
    assert len(harness.claims("toy")) == 1


def test_results_are_current_and_tidy(folder: Any) -> None:
    runs = harness.results("toy", scale="laptop")
    assert tuple(runs.columns) == RESULTS
    assert folder.old.short not in set(runs["id"])
    heights = runs[runs["metric"] == "height"]
    assert len(heights) == 24
    assert not heights.duplicated(["method", "task", "seed"]).any()
    for row in heights.itertuples():
        if row.status == "ok":
            assert row.value == height(row.method, row.task, row.seed)
        else:
            assert (row.method, row.task, row.seed) == ("drift", "long", 5)
            assert np.isnan(row.value)
    assert set(heights["unit"]) == {"m"}
    assert set(heights["better"]) == {"higher"}
    assert heights["stale"].dtype == bool
    assert str(heights["finished"].dtype).endswith("UTC]")
    assert heights["training"].nunique() == 24
    grid = heights.pivot_table(index="method", columns="task", values="value")
    assert grid.loc["walk", "short"] == pytest.approx(
        np.mean([height("walk", "short", s) for s in range(6)])
    )
    pd.testing.assert_frame_equal(harness.results("toy"), runs)


def test_claims_say_what_the_command_says(folder: Any) -> None:
    verdicts = harness.claims("toy")
    assert tuple(verdicts.columns) == CLAIMS
    (row,) = verdicts.itertuples()
    assert (row.claim, row.outcome, row.n, row.failures) == ("higher", "holds", 5, 1)
    assert row.estimate == pytest.approx(1.0, abs=0.02)
    assert (row.margin, row.unit, row.text) == (0.05, "m", "The walk ends higher than the drift.")
    told = folder.run("claims", "toy").out
    assert f"+{row.estimate:.3g} [{row.low:.3g}, {row.high:.3g}] m  n={row.n}" in told


def test_a_table_has_the_numbers_of_the_report(folder: Any) -> None:
    table = harness.table("toy", "heights")
    assert list(table.columns.levels[0]) == sorted(QUANTITIES)
    assert list(table.index) == ["walk", "drift"]
    assert list(table["mean"].columns) == ["short", "long"]
    values = [height("walk", "short", s) for s in range(6)]
    assert table["mean"].loc["walk", "short"] == pytest.approx(np.mean(values))
    half = 2.570582 * np.std(values, ddof=1) / np.sqrt(6)  # t of 5 degrees of freedom
    assert table["half_width"].loc["walk", "short"] == pytest.approx(half, rel=1e-6)
    assert table["n"].loc["drift"].to_list() == [6, 5]
    references = {(r.method, r.task): r.value for r in registry.references(registry.load("toy"))}
    for (method, task), value in references.items():
        if method in table.index and task in table["paper"]:
            assert table["paper"].loc[method, task] == value


def test_a_figure_is_drawn_and_one_without_records_refused(folder: Any) -> None:
    from matplotlib.figure import Figure

    assert isinstance(harness.figure("toy", "paths"), Figure)


def test_a_record_is_found_by_its_first_digits(folder: Any) -> None:
    short = harness.results("toy")["id"].iloc[0]
    found = harness.record(short[:10])
    assert found.short == short
    loss = found.curves["loss"]
    assert (loss.index.name, list(loss.index), list(loss["loss"])) == ("step", [1, 2], [0.5, 0.25])
    assert harness.record(found.id) == found
    assert harness.record(folder.old.id).metrics == {"height": -1.0}


PLUGIN = """
from harness.plugins import Plugin
from harness.suite import Method

def plugin():
    method = Method(name="mine", run=f"{__name__}:run")
    return Plugin(suite="toy", methods=(method,), scales=("laptop",))

def run(ctx):
    return {"height": 1.0}
"""


def test_a_plugin_counts_for_the_call_that_names_it(folder: Any) -> None:
    (folder.root / "brought.py").write_text(PLUGIN)
    with_it = harness.table("toy", "heights", plugin="brought.py")
    assert list(with_it.index) == ["walk", "drift", "mine"]
    assert list(with_it["n"].loc["mine"]) == [0, 0]
    assert list(harness.table("toy", "heights").index) == ["walk", "drift"]


WRONG = [
    (lambda: harness.results("tox"), r"unknown suite 'tox': did you mean 'toy'\? .*"),
    (lambda: harness.results("toy", "lap"), r"unknown scale 'lap': did you mean 'laptop'\? .*"),
    (lambda: harness.results("toy", "smoke"), "no current records of toy at smoke scale in re.*"),
    (lambda: harness.results("toy", results="no"), "results folder no does not exist; .*"),
    (lambda: harness.results("toy", plugin="no.py"), ".*no.py.*"),
    (lambda: harness.table("toy", "height"), "unknown table of suite toy 'height': did you .*"),
    (lambda: harness.figure("toy", "path"), "unknown figure of suite toy 'path': did you .*"),
    (lambda: harness.record("ABC"), "record 'ABC': an id is of the digits 0-9 and a-f"),
    (lambda: harness.record(""), "record '': an id is of the digits 0-9 and a-f"),
    (lambda: harness.record("0" * 64), "no record in results has an id that begins with 0+"),
    (lambda: harness.record("0" * 65), "record '0+.*': an id is of the .*"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[m[:30] for _, m in WRONG])
def test_what_is_wrong_is_one_line(folder: Any, call: Any, message: str) -> None:
    with pytest.raises(HarnessError, match=f"^{message}$") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_digits_of_several_records_and_corrupt_records_are_refused(folder: Any) -> None:
    first = {r.id[0] for r in folder.records()}
    several = next(d for d in first if sum(r.id[0] == d for r in folder.records()) > 1)
    with pytest.raises(HarnessError, match=r"records begin with .: give more digits|\): give more"):
        harness.record(several)
    path = next(folder.results.glob("toy/laptop/walk*.json"))
    path.write_text("{}")
    with pytest.raises(HarnessError, match="1 corrupt records, `harness doctor --repair`"):
        harness.results("toy")
