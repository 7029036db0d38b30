"""What a run shows: estimates, lines in a log, a live display on a terminal."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import console, plan
from harness.console import Estimate, Watch
from harness.data import Sources
from harness.executors import Event, Work
from harness.identity import Node, digest
from harness.plan import Plan
from harness.record import Record
from harness.run import BUSY, DONE, FAILED, FULL, INTERRUPTED, Job, Outcome, Progress
from harness.store import MANIFEST, Store
from harness.suite import Artifact


@pytest.fixture
def made(toy_suite: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The toy suite at laptop scale: 3 methods x 4 tasks x 5 seeds, a guess of 10 s each."""
    monkeypatch.setattr(plan.registry, "source_digest", lambda _: "0" * 64)
    suite = toy_suite()
    return plan.make(
        suite, suite.scale("laptop"), [], Store(tmp_path, tmp_path), Sources(None, tmp_path)
    )


def job(made: Plan, index: int, artifact: str | None = None) -> Job:
    """The job of the plan's trial of that index."""
    trial = made.todo[index]
    return Job(
        suite="toy", scale="laptop", settings={}, method=trial.method.name, task=trial.task.name,
        seed=trial.seed, device="cpu", id=trial.id if artifact is None else artifact,
        artifact=artifact, results="", cache="", data=None, threads=1, seconds=1, commit=None,
        dirty=None, source_digest="",
    )  # fmt: skip


def watched(
    made: Plan,
    terminal: bool = False,
    workers: int = 1,
    artifacts: Sequence[str] = (),
    detail: console.Detail = "usual",
) -> tuple[Watch, io.StringIO]:
    """A watch on a console that writes to a string."""
    file = io.StringIO()
    screen = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    first = [Work(job(made, 0, artifact=name)) for name in artifacts]
    work = first + [Work(job(made, index)) for index in range(len(made.todo))]
    return Watch(screen, estimate([], made), work, workers, detail=detail), file


def estimate(records: Sequence[Record], made: Plan, store: Store | None = None) -> Estimate:
    """An estimate from these records and what the store has."""
    return Estimate(
        [r.heading for r in records], [made], store or Store(Path("none"), Path("none"))
    )


# -- Estimate -------------------------------------------------------------------------------------


def test_the_estimate_of_a_plan_is_linear_in_artifacts_and_trials(made: Plan) -> None:
    guess = estimate([], made)
    trials = list(made.todo) * 50
    for number in range(3000):
        guess.add_artifact("toy", f"known-{number}", 2.0)
        guess.add("toy", f"known-{number}", "deep-x", 3.0)
    first = [
        Node(Artifact(name=f"a{number}", make="toy:make"), None, None, {}, "", {})
        for number in range(3000)
    ]
    steps = tuple(plan.Step(trial, "missing", "run", "") for trial in trials)
    start = time.process_time()
    whole = guess.of_plan(made._replace(steps=steps), first)
    assert time.process_time() - start < 0.5
    on_x = sum(trial.task.name == "deep-x" for trial in trials)
    assert whole == 2.0 * 3000 + 3.0 * on_x + 10.0 * (len(trials) - on_x)
    guess.add_artifact("toy", "a0", 8.0)
    guess.add("toy", "ant", "deep-y", 5.0)
    assert guess.of_artifact("toy", "a0") == 8.0
    assert guess.of_artifact("toy", "a1") == 2.0
    assert guess.of("toy", "bee", "deep-y") == 5.0


def test_an_estimate_knows_own_trials_then_kin_then_the_guess(
    made: Plan, toy_suite: Any, make_record: Any
) -> None:
    suite = toy_suite()
    known = estimate([], made)
    assert known.of("toy", "ant", "deep-x") == 10
    for seconds in (1, 2, 30):
        known.add("toy", "ant", "deep-x", seconds)
    known.add("toy", "bee", "deep-x", 4)
    assert known.of("toy", "ant", "deep-x") == 2
    assert known.of("toy", "bee", "deep-x") == 4
    assert known.of("toy", "cat", "deep-x") == 3
    assert known.of("toy", "ant", "deep-y") == 10
    records = [
        make_record(suite, "ant", "deep-x", 0, {"accuracy": 1, "loss": 1}),
        make_record(suite, "ant", "deep-y", 0, {}, status="failed"),
        make_record(suite, "ant", "shallow-y", 0, {"accuracy": 1, "loss": 1}, scale="paper"),
    ]
    known = estimate(records, made)
    assert known.of("toy", "bee", "deep-x") == 1
    assert known.of("toy", "ant", "deep-y") == 10
    assert known.of("toy", "ant", "shallow-y") == 10


def test_counted() -> None:
    assert console.counted({"done": 3, "failed": 0, "missing": 1}) == "3 done, 1 missing"
    assert console.counted({"done": 0}) == "none"


# -- Watch ----------------------------------------------------------------------------------------


def test_a_log_gets_a_line_for_all_that_ends(made: Plan) -> None:
    watch, file = watched(made)
    watch._ended = lambda _: "Accuracy 88.4 %"
    with watch:
        for index, outcome in enumerate(
            (
                Outcome(DONE),
                Outcome(BUSY, "another process"),
                Outcome(FAILED, "failed: [red]it[/] broke"),
                Outcome(FAILED, "not run", recorded=False),
                Outcome(INTERRUPTED),
            )
        ):
            watch(Event(job(made, index)))
            watch(Event(job(made, index), progress=Progress(1, 2), seconds=1))
            watch(Event(job(made, index), outcome=outcome, seconds=2))
    titles = [job(made, index).title for index in range(5)]
    assert file.getvalue() == (
        f"ok {titles[0]}: Accuracy 88.4 %, 2 s\n"
        f"failed {titles[2]}: failed: [red]it[/] broke\nfailed {titles[3]}: not run\n"
    )
    assert [j.title for j, _ in watch.failures] == titles[2:4]
    assert [j.title for j in watch.busy] == titles[1:2]


def test_a_watch_names_what_a_stopped_run_did_not_save(made: Plan) -> None:
    watch, file = watched(made)
    for index, outcome in enumerate((Outcome(INTERRUPTED), Outcome(DONE))):
        watch(Event(job(made, index), outcome=outcome))
    assert (watch.kept(), watch.full) == ("everything is saved", "")
    titles = [job(made, index).title for index in range(5)]
    watch(Event(job(made, 2), outcome=Outcome(INTERRUPTED, "it saves no state")))
    watch(Event(job(made, 3), outcome=Outcome(FULL, "no space", recorded=False)))
    watch(Event(job(made, 4), outcome=Outcome(FULL, "no more space", recorded=False)))
    assert watch.kept() == f"everything is saved but {'; '.join(titles[2:])}"
    assert watch.full == "no space"
    assert watch.failures == []
    assert file.getvalue() == f"ok {titles[1]}, 0 s\n"


def test_what_another_process_did_says_so_and_teaches_nothing_about_time(made: Plan) -> None:
    watch, file = watched(made, artifacts=("stone",))
    before = watch.remaining()
    there = Outcome(DONE, elsewhere=True)
    watch(Event(job(made, 0, artifact="stone"), outcome=there, seconds=0.07))
    watch(Event(job(made, 0), outcome=there, seconds=0.07))
    assert file.getvalue().splitlines()[:2] == [
        "ok artifact stone, by another process",
        f"ok {job(made, 0).title}, by another process",
    ]
    assert watch.remaining() == before - 2 * 10


def test_a_log_gets_a_line_now_and_then(made: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    watch, file = watched(made)
    for index in range(40):
        now[0] += 2
        watch(Event(job(made, index)))
        watch(Event(job(made, index), outcome=Outcome(DONE), seconds=2))
    every = file.getvalue().splitlines()
    assert sum(line.startswith("ok ") for line in every) == 40
    lines = [line for line in every if not line.startswith("ok ")]
    assert len(lines) == 2
    assert lines[0].startswith("15 of 60 trials, about ")
    assert lines[1] == "31 of 60 trials, about 58 s left"


def test_a_log_gets_its_lines_while_nothing_ends(
    made: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that takes an hour and tells nothing would leave an hour of silence."""
    monkeypatch.setattr(console, "_LINE_SECONDS", 0.02)
    watch, file = watched(made)
    with watch:
        watch(Event(job(made, 0)))
        end = time.monotonic() + 30
        while file.getvalue().count("\n") < 2 and time.monotonic() < end:
            time.sleep(0.01)
    said = file.getvalue()
    assert set(said.splitlines()) == {"0 of 60 trials, about 10 min left"}
    time.sleep(0.1)
    assert file.getvalue() == said  # the clock has stopped


def test_quiet_and_terminals_have_no_clock(made: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_LINE_SECONDS", 0.01)
    quiet, file = watched(made, detail="quiet")
    with quiet, watched(made, terminal=True)[0] as live:
        quiet(Event(job(made, 0)))
        assert not any(watch._clock.is_alive() for watch in (quiet, live))
        quiet(Event(job(made, 0), outcome=Outcome(DONE), seconds=2))
    assert file.getvalue() == ""


def test_verbose_says_what_begins(made: Plan) -> None:
    watch, file = watched(made, detail="verbose")
    watch(Event(job(made, 0)))
    assert file.getvalue() == f"begins {job(made, 0).title}\n"


def test_remaining_time_counts_what_runs_what_waits_and_who_works(made: Plan) -> None:
    watch, _ = watched(made, workers=2)
    assert watch.remaining() == 60 * 10 / 2
    watch(Event(job(made, 0)))
    assert watch.remaining() == 60 * 10 / 2
    watch(Event(job(made, 0), progress=Progress(25, 100), seconds=10))
    assert watch.remaining() == (59 * 10 + 30) / 2
    watch(Event(job(made, 0), outcome=Outcome(DONE), seconds=40))
    kin = [t for t in made.todo[1:] if t.task.name == made.todo[0].task.name]
    assert watch.remaining() == (len(kin) * 40 + (59 - len(kin)) * 10) / 2
    watch(Event(job(made, 1), outcome=Outcome(FAILED, "x"), seconds=1))
    assert watch.remaining() == ((len(kin) - 1) * 40 + (59 - len(kin)) * 10) / 2


def test_artifacts_are_shown_and_counted_in_time_alone(made: Plan) -> None:
    watch, file = watched(made, terminal=True, artifacts=("stone", "water"))
    with watch:
        assert watch.remaining() == 620
        watch(Event(job(made, 0, artifact="stone")))
        assert watch.remaining() == 620
        watch(Event(job(made, 0, artifact="stone"), outcome=Outcome(DONE), seconds=500))
        assert watch.remaining() == 1100
        watch._bars.refresh()
    assert "ok artifact stone, 8 min 20 s" in file.getvalue()
    assert "0/60" in file.getvalue()


def test_an_estimate_of_artifacts_knows_its_own_then_kin_then_the_guess(
    made: Plan, tmp_path: Path
) -> None:
    known = estimate([], made)
    assert known.of_artifact("toy", "stone") == 10
    store = Store(tmp_path / "results", tmp_path / "cache")
    for n, (scale, seconds) in enumerate((("laptop", 3), ("laptop", 5), ("paper", 900))):
        spec = {"artifact": {"name": "stone"}, "scale": {"name": scale}, "n": n}
        (tmp_path / "work").mkdir()
        folder = store.artifact_folder("toy", "stone", digest(spec))
        store.commit_artifact(folder, tmp_path / "work", spec, {"cost": {"wall_seconds": seconds}})
    (next(store.artifacts()).parent / "stone-torn").mkdir()
    (next(store.artifacts()).parent / "stone-torn" / MANIFEST).write_text("{")
    known = estimate([], made, store)
    assert known.of_artifact("toy", "stone") == known.of_artifact("toy", "water") == 4
    known.add_artifact("toy", "water", 1)
    assert known.of_artifact("toy", "water") == 1
    assert known.of("toy", "ant", "deep-x") == 10


def test_an_estimate_of_a_plan_counts_the_artifacts_that_are_not_made(
    made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "results", tmp_path / "cache")
    nodes = [
        Node(Artifact(name=name, make="toy:make"), None, None, {"n": name}, name * 64, {})
        for name in "ab"
    ]
    made = made._replace(nodes={node.id: node for node in nodes})
    assert plan.unmade(made, store) == nodes
    assert estimate([], made, store).of_plan(made, plan.unmade(made, store)) == 10 * (60 + 2)
    (tmp_path / "work").mkdir()
    folder = store.artifact_folder("toy", nodes[0].artifact.name, nodes[0].id)
    store.commit_artifact(folder, tmp_path / "work", nodes[0].spec, {"source_digest": "0" * 64})
    assert plan.unmade(made, store) == nodes[1:]
    assert estimate([], made, store).of_plan(made, plan.unmade(made, store)) == 10 * (60 + 1)
    monkeypatch.setattr(plan.registry, "source_digest", lambda _: "1" * 64)  # the code changed
    assert plan.unmade(made, store) == nodes


def test_a_terminal_gets_a_line_for_every_trial_and_the_bars(made: Plan) -> None:
    watch, file = watched(made, terminal=True)
    with watch:
        watch(Event(job(made, 0)))
        watch(Event(job(made, 0), progress=Progress(3, 7), seconds=1))
        watch._bars.refresh()
        watch(Event(job(made, 0), outcome=Outcome(DONE), seconds=2))
    shown = file.getvalue()
    assert f"ok {job(made, 0).title}, 2 s\n" in shown
    assert "trials" in shown
    assert "3/7" in shown
    assert "0/60" in shown
    assert "left" in shown


def test_a_table_shows_brackets_as_they_are_and_folds_what_is_long() -> None:
    file = io.StringIO()
    console.table(
        ("a", "b [95 %]"), [("[bold]x[/]", 1), ("y" * 50, "")], Console(file=file, width=40)
    )
    lines = file.getvalue().splitlines()
    assert lines[0].split() == ["a", "b", "[95", "%]"]
    assert lines[1].split() == ["[bold]x[/]", "1"]
    assert sum(line.count("y") for line in lines) == 50
