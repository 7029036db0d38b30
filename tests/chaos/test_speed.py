"""Time budgets of the command line, in seconds of processor time: waiting for others is free."""

import os
from typing import Any

import pytest

from harness import plan, registry
from harness.record import Cost, Provenance, Record


def cpu_seconds(project: Any, *words: str) -> tuple[float, Any]:
    """User and system time of a command and what it started."""
    before = os.times()
    done = project.run(*words)
    after = os.times()
    return (
        after.children_user - before.children_user + after.children_system - before.children_system,
        done,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_a_finished_suite_of_a_thousand_trials(project: Any) -> None:
    suite = registry.load("toy-many")
    trials, _ = plan.trials(suite, suite.scale("smoke"))
    digest = registry.source_digest(trials[0].method.run)
    for trial in trials:
        project.store.commit(
            Record(
                id=trial.id, suite=suite.name, method=trial.method.name, task=trial.task.name,
                seed=trial.seed, scale="smoke", protocol="standard", spec=trial.spec, status="ok",
                metrics={"height": trial.seed + 0.5},
                cost=Cost(wall_seconds=1, cpu_seconds=1, peak_memory_bytes=1),
                provenance=Provenance(
                    started="2025-01-01T00:00:00+00:00", finished="2025-01-01T00:00:01+00:00",
                    commit=None, dirty=None, source_digest=digest, python="3.11", packages={},
                    platform="Linux", processor="toy", cores=1, memory_bytes=1, accelerator=None,
                    threads=1, flags={}, command=("harness", "run"),
                ),
            )
        )  # fmt: skip
    seconds, done = cpu_seconds(project, "run", "toy-many")
    assert (done.code, done.err) == (0, "")
    assert "toy-many at smoke scale on cpu: 1000 done; nothing to do\n1000 already" in done.out
    assert seconds < 3
    seconds, done = cpu_seconds(project, "status")
    assert "1000 done" in done.out
    assert seconds < 4


@pytest.mark.slow
def test_a_list_imports_nothing_heavy(project: Any) -> None:
    heavy = "import atexit, sys; atexit.register(lambda: print(sorted({'torch', 'pandas', 'scipy', "
    heavy += "'numpy', 'matplotlib', 'sklearn'} & set(sys.modules))))"
    seconds, done = cpu_seconds(project, "list")
    assert done.code == 0
    assert seconds < 1.5
    for words in (("list",), ("plan", "toy", "--help"), ("status",), ("show", "toy")):
        assert project.run(*words, prelude=heavy).out.splitlines()[-1] == "[]"
