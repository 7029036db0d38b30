"""Slurm through submitit's local executor, and what is asked of sbatch; no Slurm is needed.

`scripts/slurm-test` tries a real one.
"""

import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import executors, plan, registry
from harness.data import Sources
from harness.errors import UsageError
from harness.executors import queue, slurm
from harness.store import Store

ON = ("--executor", "slurm", "--slurm", "cluster=local")
SLOW = {"TOY_STEP_SECONDS": "0.05", "TOY_CHECKPOINT_SECONDS": "0.1"}


def saved(project: Any) -> int:
    """How many unfinished trials have a checkpoint."""
    return len({path.parent for path in project.cache.glob("trials/*/checkpoint-*.json")})


@pytest.fixture(scope="module")
def undisturbed(make_project: Any) -> dict[str, str]:
    """Outcomes of a run on this machine."""
    project = make_project()
    assert project.run("run", "toy", "--tasks", "short", "--seeds", "0").code == 0
    found: dict[str, str] = project.outcomes()
    return found


def test_options_are_read_and_what_is_none_is_one_line() -> None:
    pairs = ("partition=gpu", "account=lab", "time=4h", "gpus=2", "mail-user=me", "mem-gb=8")
    assert slurm.options(pairs) == slurm.Options(
        "slurm",
        0,
        {
            "partition": "gpu", "account": "lab", "time": 240, "gpus_per_node": 2,
            "mail_user": "me", "mem": "8GB",
        },
    )  # fmt: skip
    assert slurm.options(("per-job=50", "cluster=local")).per_job == 50
    for pair, message in (
        ("partition", "give key=value"), ("=x", "give key=value"), ("a=", "give key=value"),
        ("gpus=some", "a whole number above 0"), ("time=soon", "^time 'soon'"),
        ("cluster=other", "allowed are slurm, local"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            slurm.options((pair,))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--slurm", "partition=x"), "--slurm belongs to --executor slurm"),
        (("--address", "auto"), "--address belongs to --executor ray"),
        (("--executor", "slurm", "--jobs", "2"), "--jobs is for this machine"),
        (("--executor", "slurm", "--slurm", "x"), "give key=value"),
        (("--shard", "3/2"), "--shard '3/2': give i/n"),
    ],
)
def test_options_that_do_not_belong_together(project: Any, words: Any, message: str) -> None:
    done = project.run("run", "toy", *words)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_without_slurm_it_says_where_to_go(project: Any) -> None:
    done = project.run("run", "toy", "--executor", "slurm", env={"PATH": "/nowhere"})
    assert done.code == 2
    assert "run this where jobs are submitted from" in done.err


def test_artifacts_come_level_by_level_and_failures_stay_with_what_needs_them(
    project: Any,
) -> None:
    pick = ("toy-chain", "--methods", "read-both,read-broken", "--seeds", "0", "--tasks", "short")
    done = project.run("run", *pick, *ON)
    assert done.code == 1
    assert done.out.count("not run: an artifact that it needs failed") == 2
    assert set(Counter(project.logged("make")).values()) == {1}
    assert [r.method for r in project.records()] == ["read-both"]
    assert queue.noted(project.cache), "logs stay for a while"
    assert "no job of" in project.run("cancel").out


def test_a_signal_before_the_end_saves_and_the_element_is_submitted_again(
    project: Any, undisturbed: dict[str, str], wait_for: Any
) -> None:
    pick = ("run", "toy", "--tasks", "short", "--seeds", "0", *ON)
    running = project.start(*pick, env=SLOW)
    wait_for(lambda: saved(project) == 2)
    for pid in project.alive():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"submitit.core._submit" in words and b"submitit.local._local" not in words:
            os.kill(pid, signal.SIGUSR2)
    done = project.finish(running)
    assert (done.code, done.err) == (0, "")
    assert project.outcomes() == undisturbed
    assert [r.cost.sessions for r in project.records()] == [2, 2]
    assert {r.provenance.command[:3] for r in project.records()} == {("harness", "run", "toy")}
    assert project.leftovers() == []


def test_ctrl_c_stops_watching_alone_and_the_same_command_watches_on(
    project: Any, undisturbed: dict[str, str], wait_for: Any
) -> None:
    pick = ("run", "toy", "--tasks", "short", "--seeds", "0", *ON)
    project.results.mkdir()
    slow = SLOW | {"TOY_STEP_SECONDS": "0.2"}
    text = project.root / "said.txt"
    with text.open("w") as file:  # what is in the queue has it too, a pipe would not end
        running = project.start(*pick, env=slow, stdout=file, stderr=file)
    wait_for(lambda: saved(project) == 2)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert "what is in the queue goes on" in text.read_text()
    assert "local: 2 running" in project.run("status").out
    done = project.run(*pick, env=slow)
    assert (done.code, done.err) == (0, "")
    assert project.outcomes() == undisturbed
    assert [r.cost.sessions for r in project.records()] == [1, 1], "nothing was submitted twice"


def test_a_lock_of_the_dead_is_waited_for(project: Any, toys: None, wait_for: Any) -> None:
    suite = registry.load("toy")
    trial = plan.trials(suite, suite.scale("smoke"))[0][0]
    pick = (trial.method.name, trial.task.name, str(trial.seed))
    words = (
        w for pair in zip(("--methods", "--tasks", "--seeds"), pick, strict=True) for w in pair
    )
    with project.store.lock(trial.id):
        running = project.start("run", "toy", *words, *ON)
        wait_for(lambda: list(project.cache.glob("queue/*/began-*")))
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(2)
    done = project.finish(running)
    assert (done.code, done.err) == (0, "")
    assert len(project.records()) == 1


def test_cancel_saves_and_ends(project: Any, wait_for: Any) -> None:
    project.results.mkdir()
    slow = SLOW | {"TOY_STEP_SECONDS": "0.5"}
    running = project.start("run", "toy", "--tasks", "short", "--seeds", "0", *ON, env=slow)
    wait_for(lambda: saved(project) == 2)
    assert project.run("cancel").out.startswith("2 jobs of ")
    assert project.finish(running).code == 130
    assert project.records() == []
    assert saved(project) == 2
    assert "no job of" in project.run("cancel").out


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", tmp_path / "cache")


def test_the_script_asks_for_what_the_scale_needs_and_waits_for_the_level_before(
    toys: None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, sources = registry.load("toy-chain"), Sources(None, store.cache)
    scale = suite.scale("smoke").model_copy(update={"threads": 3, "memory_gib": 1.5})
    made = plan.make(
        suite, scale, [], store, sources,
        filters=plan.Filters(("read-both",), ("short",), (0,)),
    )  # fmt: skip
    work = [w._replace(job=w.job._replace(gpus=0.5)) for w in executors.work(made, store, sources)]
    texts: list[str] = []

    def submit(self: Any, command: str) -> Any:
        from submitit.slurm.slurm import SlurmJob

        texts.append(self._make_submission_file_text(command, "x"))
        return SlurmJob(self.folder, job_id=str(100 + len(texts)), tasks=[0])

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    from submitit.slurm.slurm import SlurmExecutor

    monkeypatch.setattr(SlurmExecutor, "_submit_command", submit)
    given = slurm.options(("partition=gpu", "mail-user=me", "time=2h"))
    batches = list(slurm.Slurm(store, given)._submitted(work, work, []))
    assert [len(batch) for batch in batches] == [2, 1, 1]
    lines = [set(text.splitlines()) for text in texts]
    common = {
        "#SBATCH --partition=gpu", "#SBATCH --mail-user=me", "#SBATCH --time=120",
        "#SBATCH --requeue", "#SBATCH --cpus-per-task=6", "#SBATCH --mem=1536M",
        "#SBATCH --gpus-per-node=1", "#SBATCH --job-name=harness-toy-chain",
    }  # fmt: skip
    assert all(common <= found for found in lines)
    assert "#SBATCH --array=0-1%2" in lines[0]
    assert not any("dependency" in line for line in lines[0])
    assert "#SBATCH --dependency=afterany:101" in lines[1]
    assert "#SBATCH --dependency=afterany:102" in lines[2]
    noted = {element.number: len(element.jobs) for element in queue.noted(store.cache)}
    assert noted == {"101_0": 1, "101_1": 1, "102": 1, "103": 1}


def test_an_element_runs_together_what_shares_its_gpu_or_has_cpus_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty: dict[str, Any] = dict.fromkeys(slurm.Job._fields, "")
    job = slurm.Job(**(empty | {"threads": 2, "gpus": 0.0}))
    assert slurm._together(job) == 1
    assert [slurm._together(job._replace(gpus=g)) for g in (0.125, 1.0, 4.0)] == [8, 1, 1]
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "9")
    assert slurm._together(job) == 4
    assert slurm._together(job._replace(gpus=1.0)) == 1


def test_the_states_are_those_of_the_queue(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = queue.location(store.cache) / "run"
    elements = [queue.Element(run, "slurm", n, (f"{n}a", f"{n}b")) for n in ("7_0", "7_1", "9")]
    queue.note(run, "slurm", elements)
    assert queue.noted(store.cache) == elements
    damaged = queue.location(store.cache) / "damaged" / "note.json"
    damaged.parent.mkdir()
    for text in ("[" * 200_000, '{"cluster": "local", "elements": []}', "{", "1"):
        damaged.write_text(text)
        assert queue.noted(store.cache) == elements
    shutil.rmtree(damaged.parent)
    said: list[tuple[str, ...]] = []

    def answer(*words: str) -> str:
        said.append(words)
        return "7_0 RUNNING\n7_1 PENDING\n8 RUNNING\n"

    monkeypatch.setattr(queue, "_said", answer)
    assert queue.states(elements) == {"7_0": "RUNNING", "7_1": "PENDING"}
    (run / "ended-7_0a").touch()
    assert queue.counted(store.cache) == {("slurm", "running"): 1, ("slurm", "pending"): 2}
    said.clear()
    assert queue.cancel(elements) == 2
    assert said[-1] == ("scancel", "7_0", "7_1")
    os.utime(run, (0, 0))
    queue.tidy(store.cache)
    assert run.exists(), "it is in the queue"
    monkeypatch.setattr(queue, "_said", lambda *_: "")
    queue.tidy(store.cache)
    assert not run.exists()


def test_a_number_that_another_process_has_now_is_none_of_the_queue(store: Store) -> None:
    element = queue.Element(store.cache / "queue" / "run", "local", str(os.getpid()), ("a",))
    assert queue.states([element]) == {}
    assert queue.cancel([element]) == 0
