"""Several commands on one results folder: each trial runs once, and nobody is in the way."""

from collections import Counter
from typing import Any

SLOW = {"TOY_STEP_SECONDS": "0.01", "TOY_CHECKPOINT_SECONDS": "0.05"}


def test_two_commands_run_each_trial_once(project: Any) -> None:
    pick = ("run", "toy", "--jobs", "2")
    started = [project.start(*pick, env=SLOW) for _ in range(2)]
    done = [project.finish(process) for process in started]
    assert [d.code for d in done] == [0, 0]
    assert [d.err for d in done] == ["", ""]
    assert Counter(project.logged("start")).most_common(1)[0][1] == 1
    assert len(project.logged("start")) == 8
    assert [r.status for r in project.records()] == ["ok"] * 8
    assert any("run by another process" in d.out for d in done)
    third = project.run(*pick)
    assert (third.code, third.err) == (0, "")
    assert "toy at smoke scale on cpu: 8 done; nothing to do\n8 already there; " in third.out
    assert len(project.logged("start")) == 8
    assert project.leftovers() == []


def test_two_commands_make_each_artifact_once(project: Any) -> None:
    pick = ("run", "toy-chain", "--jobs", "2", "--methods", "read-seed,read-task,read-both")
    slow = SLOW | {"TOY_STEP_SECONDS": "0.1"}  # an artifact takes two seconds
    started = [project.start(*pick, env=slow) for _ in range(2)]
    done = [project.finish(process) for process in started]
    assert [(d.code, d.err) for d in done] == [(0, ""), (0, "")]
    assert "failed" not in done[0].out + done[1].out
    made = Counter(project.logged("make"))
    assert len(made) == 8
    assert set(made.values()) == {1}
    assert Counter(project.logged("start")).most_common(1)[0][1] == 1
    assert len(project.records()) == 12
    assert project.leftovers() == []


def test_tidying_up_leaves_a_running_command_alone(project: Any, wait_for: Any) -> None:
    pick = ("run", "toy", "--jobs", "2", "--seeds", "0")
    running = project.start(*pick, env=SLOW | {"TOY_STEP_SECONDS": "1"})
    wait_for(lambda: len(list(project.cache.glob("trials/*/checkpoint-*.json"))) > 1)
    done = project.run("gc")
    assert (done.code, done.out) == (0, "0 folders, 0 temporary files\n")
    assert running.poll() is None
    running.terminate()
    assert project.finish(running).code == 130
    assert project.run(*pick).code == 0
    assert sorted(r.cost.sessions for r in project.records()) == [1, 1, 2, 2]
    assert project.leftovers() == []
