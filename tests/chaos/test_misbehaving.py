"""Every misbehaving method ends as it is promised to, and harms nobody but itself."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TOY = Path(__file__).parents[1] / "toy"
sys.path.insert(0, str(TOY))
try:
    from toy_suite_package.misbehaving.ending import GROUPS, METHODS, NO_RECORD
    from toy_suite_package.misbehaving.suite import members
finally:
    sys.path.remove(str(TOY))

SECONDS = 60.0
"""A group takes a few seconds; one that is held up takes this long and is ended."""
PATIENCE = "import harness.executors.local as l; l._GRACE_SECONDS = 1.5"
HIDDEN = ("Traceback", 'File "', "\x1b[", "\x00")
LONGEST_LINE = 2000


class Misrun(NamedTuple):
    """One command over the methods of a group."""

    code: int | None
    """None where it had to be ended."""
    text: str
    left: list[int]
    """Processes that were there a second after its end."""


class Aftermath(NamedTuple):
    """What all groups left."""

    project: Any
    runs: dict[str, Misrun]

    def lines(self, method: str) -> list[str]:
        """What the console said of a method's trial."""
        start = f"failed {method} on short, seed 0: "
        text = self.runs[METHODS[method].group].text
        return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]

    def walks(self, group: str) -> list[Any]:
        """Records of the group's well-behaved methods."""
        records = self.project.store.load("*", GROUPS[group].scale).records
        return [record for record in records if record.method.startswith(f"walk-{group}-")]


def words(group: str, *methods: str) -> tuple[str, ...]:
    """The command that runs methods of a group."""
    pick = ("--methods", ",".join(methods or members(group)))
    return ("run", "toy-misbehaving", "--scale", GROUPS[group].scale, "--device", "cpu", *pick)


def start(project: Any, group: str) -> Any:
    """Starts a group, several trials at a time; what it leaves can be told by its mark."""
    env = {"TOY_STEP_SECONDS": "0.01", "TOY_MARK": group}
    return project.start(*words(group), "--jobs", "4", prelude=PATIENCE, env=env)


def finish(project: Any, group: str, process: Any) -> Misrun:
    """Waits for a group's command, and ends what it left."""
    mark = f"TOY_MARK={group}"
    code, text, left = None, "", []
    try:
        text = "".join(process.communicate(timeout=SECONDS))
        code = process.returncode
        left = gone(lambda: [pid for pid in project.alive(mark) if not daemon(pid)])
    except subprocess.TimeoutExpired:
        left = project.alive(mark)
    for pid in project.alive(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if code is None:
        text = "".join(process.communicate(timeout=10))
    return Misrun(code, text, left)


def gone(alive: Callable[[], list[int]], seconds: float = 1.0) -> list[int]:
    """Waits until no process is left; those that are when the time is up."""
    end = time.monotonic() + seconds
    while (left := alive()) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def daemon(pid: int) -> bool:
    """Whether a process is alone in a session whose leader has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    session = int(fields[3])
    return session != pid and not Path(f"/proc/{session}").exists()


@pytest.fixture(scope="module")
def aftermath(make_project: Any) -> Aftermath:
    """All methods have run, the groups side by side."""
    project = make_project()
    started = {group: start(project, group) for group in GROUPS}
    ended = {group: finish(project, group, process) for group, process in started.items()}
    return Aftermath(project, ended)


@pytest.mark.parametrize("method", METHODS)
def test_a_misbehaving_method_ends_as_promised(
    aftermath: Aftermath, method: str, tally: Any
) -> None:
    ending = METHODS[method]
    records = {r.method: r for r in aftermath.project.store.load().records}
    record = records.get(method)
    with tally("misbehaving methods", ending.group):
        assert (record.status if record else NO_RECORD) in ending.statuses
        if record is None:
            return
        lines = aftermath.lines(method)
        assert len(lines) == (record.status != "ok")
        if record.status == "ok":
            assert record.metrics["height"] in (1.0, 1.5)
            return
        assert record.error is not None
        assert re.search(ending.line, record.error)
        assert re.search(ending.line, lines[0])
        assert record.metrics == {}
        assert len(record.error) <= LONGEST_LINE
        assert record.error.isprintable()
        if ending.raised:
            assert re.search(r"\w+\.py:\d+", lines[0]), "the line says where"
            logs = re.findall(r"(/\S+|\S+/trials/\S+)", lines[0])
            assert [path for path in logs if (aftermath.project.root / path).exists()]


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_comes_to_its_end_and_says_so_in_lines(aftermath: Aftermath, group: str) -> None:
    done = aftermath.runs[group]
    assert done.code is not None, f"no end after {SECONDS} s; it waited for {done.left}"
    assert done.code in GROUPS[group].codes
    assert [trace for trace in HIDDEN if trace in done.text] == []
    assert max(map(len, done.text.splitlines())) <= 2 * LONGEST_LINE


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_of_a_group_lives_on(aftermath: Aftermath, group: str) -> None:
    assert aftermath.runs[group].left == []


@pytest.mark.parametrize("group", GROUPS)
def test_well_behaved_methods_are_unharmed(
    aftermath: Aftermath, group: str, project: Any, tally: Any
) -> None:
    last = f"walk-{group}-last"
    assert project.run(*words(group, last)).code == 0
    (alone,) = project.records()
    with tally("misbehaving methods", "well-behaved ones beside them") as row:
        if group == "starving":  # a full disk stops the launching of trials: they stay to be run
            assert aftermath.project.run(*words(group, "walk-*")).code == 0
        walks = aftermath.walks(group)
        good = [
            record
            for record in walks
            if (record.status, record.metrics, record.series)
            == ("ok", alone.metrics, alone.series)
        ]
        wanted = [name for name in members(group) if name.startswith("walk-")]
        row.add(cases=len(good))
        row.add(False, cases=len(wanted) - len(good))
        assert sorted(record.method for record in good) == sorted(wanted)


def test_every_record_is_intact_and_names_its_own_trial(aftermath: Aftermath) -> None:
    assert aftermath.project.store.load().damaged == []
    records = aftermath.project.records()
    assert len(records) > 100
    for record in records:
        if record.method in METHODS:
            assert record.spec["method"]["params"] == {"things": [1, 2, {"deep": [3]}]}
            assert record.spec["task"]["params"] == {"places": [1, 2], "steps": 40}
            assert record.seed == 0


def test_every_record_can_be_read_by_its_owner(aftermath: Aftermath) -> None:
    paths = list(aftermath.project.results.glob("*/*/*.json"))
    assert [path.name for path in paths if path.stat().st_mode & 0o444 != 0o444] == []


def test_what_a_link_points_to_stays(aftermath: Aftermath) -> None:
    assert (aftermath.project.root / "treasure" / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize(
    "words",
    [("doctor",), ("status",), ("claims", "toy-misbehaving"), ("report",), ("gc",), ("plan",)],
    ids=" ".join,
)
def test_every_verb_takes_the_records_of_misbehaving_methods(
    aftermath: Aftermath, words: tuple[str, ...]
) -> None:
    names = ("toy-misbehaving",) if words[0] in ("status", "plan") else ()
    done = aftermath.project.run(*words, *names)
    assert (done.code, done.err) == (0, "")


def test_there_are_at_least_60_and_each_has_an_ending() -> None:
    assert len(METHODS) >= 60
    assert all(ending.statuses for ending in METHODS.values())
    known = {"ok", "failed", "diverged", "oom", "timeout", NO_RECORD}
    assert set().union(*(ending.statuses for ending in METHODS.values())) <= known
