"""Every misbehaving method ends as it is promised to, and harms nobody but itself."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TOY = Path(__file__).parents[1] / "toy"
sys.path.insert(0, str(TOY))
try:
    from toy_suite_package.misbehaving.ending import CORRUPT, GROUPS, METHODS, NO_RECORD
    from toy_suite_package.misbehaving.suite import members
finally:
    sys.path.remove(str(TOY))

SECONDS = 60.0
"""A group takes a few seconds; one that is held up takes this long and is ended."""
PATIENCE = {
    f"HARNESS_{name}_SECONDS": seconds
    for name, seconds in (("GRACE", "1.5"), ("EXIT", "1"), ("SUSPENDED", "2"))
}
HIDDEN = ("Traceback", 'File "', "\x1b[", "\x00")
LONGEST_LINE = 2000
GIVEN = {"things": [1, 2, {"deep": [3]}]}
"""Parameters of every misbehaving method."""


class Misrun(NamedTuple):
    """One command over the methods of a group."""

    code: int | None
    """None where it had to be ended."""
    text: str
    left: list[int]
    """Processes that were there a second after its end."""


def words(group: str, *methods: str) -> tuple[str, ...]:
    """The command that runs methods of a group."""
    pick = ("--methods", ",".join(methods or members(group)))
    return ("run", "toy-misbehaving", "--scale", GROUPS[group].scale, "--device", "cpu", *pick)


def start(project: Any, group: str) -> Any:
    """Starts a group, several trials at a time; what it leaves can be told by its mark."""
    env = {"TOY_STEP_SECONDS": "0.01", "TOY_MARK": group} | PATIENCE
    return project.start(*words(group), "--jobs", "4", env=env)


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


def broken_promises(method: str, record: Any, lines: list[str], root: Path) -> Iterator[str]:
    """What a method's ending is not, that it was promised to be.

    Args:
        record: what it left, None where there is nothing, CORRUPT where it cannot be read.
        lines: what the console said of its trial.
        root: the folder that the command ran in.
    """
    ending = METHODS[method]
    status = getattr(record, "status", record) or NO_RECORD
    if status not in ending.statuses:
        yield f"it is {status}, not {' or '.join(sorted(ending.statuses))}: {lines}"[:500]
    if record in (None, CORRUPT):
        return
    if record.seed != 0 or record.spec["method"]["params"] != GIVEN:
        yield f"its record is of something else: {record.spec['method']}, seed {record.seed}"
    if status == "ok":
        if record.metrics["height"] not in (1.0, 1.5):
            yield f"its height is another process's: {record.metrics}"
        if lines:
            yield f"all is well, but the console says {lines}"
        return
    line = record.error or ""
    if len(lines) != 1 or not all(re.search(ending.line, text) for text in (line, *lines)):
        yield f"it is told as {line[:200]!r} and {[text[:200] for text in lines]}"
    if len(line) > LONGEST_LINE or not line.isprintable():
        yield f"its record's line is {len(line)} characters long, or not printable"
    if ending.raised:
        told = "".join(lines)[-LONGEST_LINE:]
        if not re.search(r"\w\.py:\d+", told):
            yield f"no file and line of code in {told[-200:]!r}"
        if not [path for path in re.findall(r"\S*/\S+", told) if (root / path).exists()]:
            yield f"no log that exists in {told[-200:]!r}"


def said_of(method: str, text: str) -> list[str]:
    """Lines of a command's output about a method's trial."""
    start = f"failed {method} on short, seed 0: "
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("group", GROUPS)
def test_misbehaving_methods_end_as_promised_and_harm_nobody(
    project: Any, make_project: Any, group: str, tally: Any
) -> None:
    done = finish(project, group, start(project, group))
    loaded = project.store.load()
    records: dict[str, Any] = {record.method: record for record in loaded.records}
    records |= {item.path.name.partition("--")[0]: CORRUPT for item in loaded.damaged}
    wrong = list(broken_run(group, done))
    with tally("misbehaving methods", group) as row:
        for method in members(group):
            if method in METHODS:
                lines = said_of(method, done.text)
                found = list(broken_promises(method, records.get(method), lines, project.root))
                row.add(not found)
                wrong += [f"{method}: {promise}" for promise in found]
    wrong += [
        f"{path.name} cannot be read by its owner"
        for path in project.results.glob("*/*/*.json")
        if path.stat().st_mode & 0o400 == 0
    ]
    if (treasure := project.root / "treasure").exists() and not (treasure / "kept.txt").exists():
        wrong.append("what a link pointed to was removed")
    if CORRUPT in records.values():
        assert project.run("doctor", "--repair").code == 0
    if group == "starving":  # a full disk stops the launching of trials: they stay to be run
        assert project.run(*words(group, "walk-*")).code == 0
    with tally("misbehaving methods", "well-behaved ones beside them") as row:
        harmed = harmed_walks(project, make_project(), group)
        row.add(cases=sum(name not in METHODS for name in members(group)) - len(harmed))
        row.add(False, cases=len(harmed))
    wrong += [f"{name}: harmed" for name in harmed]
    wrong += [f"{verb}: {text}" for verb, text in broken_verbs(project, group)]
    assert not wrong, "\n".join(wrong)


def broken_run(group: str, done: Misrun) -> Iterator[str]:
    """What is wrong with the command itself."""
    if done.code is None:
        yield f"the run had not ended after {SECONDS} s"
    elif done.code not in GROUPS[group].codes:
        yield f"the run ended with code {done.code}: {done.text[-2000:]}"
    if done.left:
        yield f"{len(done.left)} processes were there a second after its end"
    shown = [trace for trace in HIDDEN if trace in done.text]
    if shown and group != "attacking":  # what is killed may say so
        yield f"it shows {shown}: {done.text[-2000:]}"
    if max(map(len, done.text.splitlines())) > 2 * LONGEST_LINE:
        yield "it prints a line that nobody can read"


def harmed_walks(project: Any, quiet: Any, group: str) -> list[str]:
    """Well-behaved methods whose record is not that of a run in which they are alone."""
    last = f"walk-{group}-last"
    assert quiet.run(*words(group, last)).code == 0
    (alone,) = quiet.records()
    whole = {
        record.method
        for record in project.store.load().records
        if (record.status, record.metrics, record.series) == ("ok", alone.metrics, alone.series)
    }
    return [name for name in members(group) if name not in METHODS and name not in whole]


def broken_verbs(project: Any, group: str) -> Iterator[tuple[str, str]]:
    """Commands that cannot live with what a group left, and what they say."""
    verbs: list[tuple[str, ...]] = [("doctor",)]
    if group == "many":
        suite = "toy-misbehaving"
        verbs += [("status", suite), ("claims", suite), ("plan", suite), ("report",), ("gc",)]
    for verb in verbs:
        done = project.run(*verb)
        if (done.code, done.err) != (0, ""):
            yield " ".join(verb), f"code {done.code}, {done.err[-1000:]}"


def test_there_are_at_least_60_and_each_has_an_ending() -> None:
    assert len(METHODS) >= 60
    assert all(ending.statuses for ending in METHODS.values())
    known = {"ok", "failed", "diverged", "oom", "timeout", NO_RECORD, CORRUPT}
    assert set().union(*(ending.statuses for ending in METHODS.values())) <= known
    assert {ending.group for ending in METHODS.values()} == set(GROUPS)


def test_the_check_sees_each_kind_of_broken_promise(project: Any, make_project: Any) -> None:
    """A method with two endings, held to promises that neither keeps."""
    pick = words("many", "raises-lines", "walk-many-last")
    assert project.run(*pick).code == 1
    good, bad = sorted(project.records(), key=lambda r: r.status, reverse=True)
    assert (good.method, bad.method) == ("walk-many-last", "raises-lines")
    line = "failed: ValueError: one (a.py:3); log: ./."
    assert list(broken_promises("raises-lines", bad, [line], project.root)) == []

    def broken(method: str, record: Any, *lines: str) -> str:
        return "\n".join(broken_promises(method, record, list(lines), project.root))

    assert "it is no record, not failed" in broken("raises-lines", None)
    assert "it is failed, not ok" in broken("prints-bytes", bad, line)
    assert "told as" in broken("raises-lines", bad)
    assert "told as" in broken("raises-nothing", bad.model_copy(update={"error": "other"}), line)
    assert "no file and line" in broken("raises-lines", bad, "failed: ValueError: one; log: ./.")
    assert "no log" in broken("raises-lines", bad, "failed: ValueError: one (a.py:3); /nowhere")
    assert "characters" in broken(
        "raises-lines", bad.model_copy(update={"error": "x" * 9999}), line
    )
    other = good.model_copy(update={"method": "prints-bytes", "metrics": {"height": 2.0}})
    assert "another process's" in broken("prints-bytes", other)
    assert "of something else" in broken("prints-bytes", other)
    assert harmed_walks(project, make_project(), "starving") == [
        name for name in members("starving") if name.startswith("walk-")
    ]
