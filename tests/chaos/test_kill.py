"""Runs that are killed, interrupted and resumed end in the records of an undisturbed run."""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SLOW_STEPS = {"TOY_STEP_SECONDS": "0.02", "TOY_CHECKPOINT_SECONDS": "0.05"}
"""Eight trials of 40 or 120 steps: 13 s of one core, of which a kill costs little."""
RUN = ("run", "toy", "--jobs", "2")
SHORT = (*RUN, "--tasks", "short")
RESUME = "stopped; everything is saved, resume with: harness run"


@pytest.fixture(scope="module")
def undisturbed(make_project: Any) -> dict[str, str]:
    """Outcomes of the toy suite when nothing happens to it."""
    project = make_project()
    assert project.run(*RUN).code == 0
    outcomes: dict[str, str] = project.outcomes()
    assert len(outcomes) == 8
    assert project.leftovers() == []
    return outcomes


def short(outcomes: dict[str, str]) -> dict[str, str]:
    """Those of the short task."""
    return {title: text for title, text in outcomes.items() if " short " in title}


def kill_group(process: Any, number: int = signal.SIGKILL) -> None:
    """Signals a command, its fork server and its trials at once, as a terminal does."""
    os.killpg(process.pid, number)


def training(project: Any, trials: int = 1) -> Callable[[], bool]:
    """Whether so many more trials than now have started."""
    before = len(project.pids())
    return lambda: len(project.pids()) >= before + trials


def files(project: Any) -> dict[Path, tuple[int, bytes]]:
    """Inode and content of every record file."""
    return {p: (p.stat().st_ino, p.read_bytes()) for p in project.results.glob("*/*/*.json")}


def flip_a_bit(project: Any, rng: random.Random) -> bool:
    """Damages one checkpoint file; False where there is none."""
    found = sorted(project.cache.glob("trials/*/checkpoint-*.*"))
    found = [path for path in found if path.suffix in (".json", ".safetensors")]
    if not found:
        return False
    path = rng.choice(found)
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    return True


def age(project: Any) -> None:
    """Lets temporary files look as if their writers had been dead for long."""
    for path in project.root.glob("*/**/.tmp-*"):
        os.utime(path, (0, 0))


@pytest.mark.parametrize(
    ("times", "seed"), [(10, 0), pytest.param(50, 1, marks=[pytest.mark.slow])]
)
def test_any_number_of_kills_leaves_the_same_records(
    undisturbed: dict[str, str], project: Any, wait_for: Any, times: int, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311
    known: dict[Path, tuple[int, bytes]] = {}
    slow = SLOW_STEPS | {"TOY_STEP_SECONDS": str(0.02 * times / 10)}
    flipped = 0
    for kill in range(times):
        started = training(project)
        process = project.start(*RUN, env=slow)
        if kill % 4 == 3:
            time.sleep(rng.uniform(0, 0.6))  # perhaps before anything runs
        else:
            wait_for(lambda p=process, s=started: s() or p.poll() is not None)
            time.sleep(rng.uniform(0, 0.6))
        assert process.poll() is None, "it ended before it was killed: too few steps"
        kill_group(process)
        project.finish(process)
        wait_for(lambda: project.alive() == [])
        now = files(project)
        assert {path: now[path] for path in known} == known, "a record was written twice"
        known = now
        if kill % 2:
            flipped += flip_a_bit(project, rng)
    done = project.run(*RUN)
    assert (done.code, done.err) == (0, "")
    assert project.outcomes() == undisturbed
    now = files(project)
    assert {path: now[path] for path in known} == known
    assert flipped >= times / 4
    assert max(r.cost.sessions for r in project.records()) > 2
    age(project)
    assert "8 done; nothing to do" in project.run(*RUN).out
    assert project.run("gc").code == 0
    assert project.leftovers() == []
    assert project.run("doctor").code == 0


def test_trials_end_when_only_the_command_is_killed(
    undisturbed: dict[str, str], project: Any, wait_for: Any
) -> None:
    process = project.start(*SHORT, env=SLOW_STEPS)
    wait_for(training(project, 2))
    time.sleep(0.3)
    process.kill()
    process.wait()
    wait_for(lambda: project.alive() == [], 30)
    assert {r.status for r in project.records()} <= {"ok"}
    assert len(list(project.cache.glob("trials/*/checkpoint-*.json"))) >= 2
    plan = project.run("plan", "toy").out
    assert re.search(r"run +2 +interrupted: interrupted; resumes from its checkpoint", plan)
    assert project.run(*SHORT).code == 0
    assert project.outcomes() == short(undisturbed)
    assert sorted(r.cost.sessions for r in project.records())[-2:] == [2, 2]
    project.finish(process)


def test_even_a_trial_that_hangs_ends_when_the_command_is_killed(
    project: Any, wait_for: Any
) -> None:
    process = project.start(
        "run", "toy-faults", "--scale", "gpu", "--device", "cpu", "--methods", "hangs",
        "--seeds", "0", env={"TOY_GRACE_SECONDS": "0.5"},
    )  # fmt: skip
    wait_for(training(project))
    process.kill()
    process.wait()
    assert len(project.alive()) > 0
    wait_for(lambda: project.alive() == [], 30)
    assert project.records() == []
    project.finish(process)


def test_one_killed_trial_is_a_failure_and_the_others_go_on(
    undisturbed: dict[str, str], project: Any, wait_for: Any
) -> None:
    process = project.start(*SHORT, env=SLOW_STEPS)
    wait_for(training(project))
    time.sleep(0.2)
    os.kill(project.pids()[0], signal.SIGKILL)
    done = project.finish(process)
    assert done.code == 1
    method, task, seed = project.logged("start")[0].split()
    (line,) = done.failures
    assert line.partition("; log: ")[0] == (
        f"failed {method} on {task}, seed {seed}: failed: killed by signal 9 (by the system or "
        "another process)"
    )
    assert "Traceback" not in done.text
    records = {r.status: r for r in project.records()}
    assert set(records) == {"ok", "failed"}
    assert (records["failed"].method, records["failed"].task) == (method, task)
    assert len(project.records()) == 4
    assert project.run(*SHORT, "--rerun", "failed").code == 0
    assert project.outcomes() == short(undisturbed)
    assert project.leftovers() == []


def _serves(pid: int, command: int) -> bool:
    """Whether a process is the fork server of a command (its trials have the same words)."""
    folder = Path("/proc") / str(pid)
    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parent == command and b"forkserver" in (folder / "cmdline").read_bytes()


def test_trials_survive_the_fork_server(
    undisturbed: dict[str, str], project: Any, wait_for: Any
) -> None:
    process = project.start(*SHORT, env=SLOW_STEPS)
    wait_for(training(project, 2))
    time.sleep(0.2)
    # All are found before one is killed: orphans of the server become children of the command.
    for pid in [pid for pid in project.alive() if _serves(pid, process.pid)]:
        os.kill(pid, signal.SIGKILL)
    done = project.finish(process)
    assert (done.code, done.err) == (0, "")
    assert project.outcomes() == short(undisturbed)
    assert project.leftovers() == []


# -- asked to stop --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)],
)
def test_one_signal_saves_and_says_how_to_go_on(
    undisturbed: dict[str, str], project: Any, wait_for: Any, number: int, group: bool
) -> None:
    process = project.start(*SHORT, env=SLOW_STEPS | {"TOY_CHECKPOINT_SECONDS": "1000"})
    wait_for(training(project, 2))
    time.sleep(0.3)
    (kill_group if group else os.kill)(process if group else process.pid, number)
    began = time.monotonic()
    done = project.finish(process)
    assert time.monotonic() - began < 45  # and not the minute after which it would be killed
    assert done.code == 130
    assert done.err == f"{RESUME} toy --jobs 2 --tasks short\n"
    assert re.fullmatch(r"reading .*\ntoy at .*\n(\d ran, )?\d left; .*\n", done.out)
    assert len(list(project.cache.glob("trials/*/checkpoint-*.json"))) == 2
    assert project.alive() == []
    assert {r.status for r in project.records()} <= {"ok"}
    assert project.run(*SHORT).code == 0
    assert project.outcomes() == short(undisturbed)
    assert project.leftovers() == []


def test_a_second_signal_ends_at_once(project: Any, wait_for: Any) -> None:
    process = project.start(
        "run", "toy-faults", "--scale", "gpu", "--device", "cpu", "--methods", "hangs",
        "--jobs", "2",
    )  # fmt: skip
    wait_for(training(project, 2))
    kill_group(process, signal.SIGINT)
    time.sleep(0.7)
    assert process.poll() is None
    kill_group(process, signal.SIGINT)
    began = time.monotonic()
    done = project.finish(process)
    assert time.monotonic() - began < 45
    assert done.code == 130
    assert "Traceback" not in done.text
    assert project.alive() == []
    assert project.records() == []


def test_the_time_limit_of_a_run_stops_and_resumes(
    undisturbed: dict[str, str], project: Any
) -> None:
    began = time.monotonic()
    done = project.run(*RUN, "--time", "2s", env=SLOW_STEPS)
    assert time.monotonic() - began < 45
    assert (done.code, done.err) == (0, "")
    assert "; stopped as asked after 2 s, resumes where it was\n" in done.out
    assert done.out.endswith("next: harness run toy --jobs 2 --time 2s\n")
    assert len(project.records()) < 8
    done = project.run(*RUN, "--time", "1h")
    assert done.code == 0
    assert project.outcomes() == undisturbed


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(600)",
        """
        def warm_up():
            import time
            with open("warming", "w"):
                time.sleep(2)
        def suite():
            return _walk_suite(preload=("written_package:warm_up",))
        """,
    ],
    ids=["planning", "warming up"],
)
def test_a_signal_before_anything_runs(
    project: Any, wait_for: Any, write_suite: Any, source: str
) -> None:
    env = write_suite('open("planning", "w").close()\n' + source.replace("\n        ", "\n"))
    process = project.start("run", "written", env=env | {"TOY_STEP_SECONDS": "2"})
    last = "warming" if "warming" in source else "planning"
    wait_for((project.root / last).exists)
    time.sleep(0.1)
    kill_group(process, signal.SIGINT)
    done = project.finish(process)
    assert done.code == 130
    assert "Traceback" not in done.text
    assert project.records() == []


# -- GATE -----------------------------------------------------------------------------------------

GATE = ("run", "gate", "--methods", "gate,gat", "--tasks", "self-er8-l2", "--seeds", "0")


@pytest.fixture(scope="module")
def gate(make_project: Any) -> dict[str, str]:
    """Outcomes of two GATE trials at smoke scale in a process of their own."""
    project = make_project()
    assert project.run(*GATE).code == 0
    return project.outcomes()  # type: ignore[no-any-return]


@pytest.mark.slow
def test_gate_repeats_bit_for_bit_in_other_processes(gate: dict[str, str], project: Any) -> None:
    strange = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "COLUMNS": "40"}
    assert project.run(*GATE, "--jobs", "1", env=strange).code == 0
    assert len(gate) == 2
    assert project.outcomes() == gate


@pytest.fixture
def torch_as_it_was() -> Any:
    """Puts torch's global switches back after trials ran in this process."""
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize("method", ["gate", "gat"])
def test_gate_resumes_bit_for_bit(
    gate: dict[str, str], project: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from harness import executors, plan, registry, run
    from harness.data import Sources

    class Stopping(run.Context):
        """Is asked to stop at a step, or never."""

        at = -1

        def tick(self, step: int, total: int, state: Any = None) -> None:
            if step == self.at:
                self.stopping.set()
            super().tick(step, total, state)

    monkeypatch.setattr(run, "Context", Stopping)
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    suite = registry.load("gate")
    made = plan.make(
        suite, suite.scale("smoke"), [], project.store, Sources(None, project.cache),
        filters=plan.Filters((method,), ("self-er8-l2",), (0,)),
    )  # fmt: skip
    ((job, _),) = executors.work(made, project.store, Sources(None, project.cache))
    for stop in (1, 7, 20):
        Stopping.at = stop
        assert run.execute(job).code == run.INTERRUPTED
        assert project.records() == []
        checkpoint = project.store.checkpoint(job.id)
        assert checkpoint is not None
        assert checkpoint.step == stop
    Stopping.at = -1
    assert run.execute(job).code == run.DONE
    (outcome,) = project.outcomes().items()
    assert outcome[1] == gate[outcome[0]]
    assert project.records()[0].cost.sessions == 4
    assert project.leftovers() == []
