"""Two commands on one results folder, and everything that they consist of is killed in turn.

After each series a command that nobody disturbs must end in the records of an undisturbed run.
"""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMANDS = (
    ("run", "toy", "--scale", "laptop", "--jobs", "2"),
    ("run", "toy-chain", "--jobs", "2", "--methods", "read-seed,read-task,read-both,walk"),
)
"""Trials that resume from checkpoints; artifacts that need one another."""
SLOW = {COMMANDS[0]: "0.1", COMMANDS[1]: "0.02"}
"""How long a step takes; an artifact takes 20 without asking whether it should stop."""
VICTIMS = ("command", "whole group", "fork server", "supervisor", "trial", "group of a trial")
SECONDS = 1.0
"""How long a killed command's trials may live on."""
PATIENCE = 20.0
"""How long to wait for a trial to kill."""


class Command:
    """A command that runs, and the processes that belong to it."""

    number = 0

    def __init__(self, project: Any, words: tuple[str, ...]) -> None:
        Command.number += 1
        self.mark = f"TOY_MARK={Command.number}"
        self._project = project
        env = {"TOY_MARK": str(Command.number), "TOY_STEP_SECONDS": SLOW[words]}
        self.process = project.start(*words, env=env | {"TOY_CHECKPOINT_SECONDS": "0.1"})

    def alive(self) -> list[int]:
        """All its processes."""
        found: list[int] = self._project.alive(self.mark)
        return found

    def server(self) -> int | None:
        """The process that trials are forked from."""
        return next((p for p in self.alive() if parent(p) == self.process.pid and forks(p)), None)

    def below(self) -> dict[str, list[int]]:
        """Supervisors, and the trials below them."""
        server, alive = self.server(), self.alive()
        above = [pid for pid in alive if server is not None and parent(pid) == server]
        return {"supervisor": above, "trial": [pid for pid in alive if parent(pid) in above]}

    def ended(self) -> bool:
        """Whether it has come to its end by itself."""
        return self.process.poll() is not None

    def said(self) -> str:
        """All that it printed; only where it has ended."""
        done = self._project.finish(self.process, 10)
        return str(done.text)


def parent(pid: int) -> int:
    """Of a process; 0 where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def forks(pid: int) -> bool:
    """Whether a process is a fork server."""
    try:
        return b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(command: Command, victim: str, rng: random.Random) -> bool:
    """Kills one part of a command; False where it has no such part."""
    if command.ended():
        return False
    if victim == "command":
        command.process.kill()
        return True
    if victim == "whole group":
        os.killpg(command.process.pid, signal.SIGKILL)
        return True
    if victim == "fork server":
        pid = command.server()
    else:
        pids = command.below()["supervisor" if victim == "supervisor" else "trial"]
        pid = rng.choice(pids) if pids else None
    if pid is None:
        return False
    try:
        if victim == "group of a trial":
            os.killpg(pid, signal.SIGKILL)  # which the trial leads
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has just ended
        return False
    return True


def vanished(command: Command) -> bool:
    """Whether all processes of a killed command are gone in time."""
    # A second of the machine: where others use its cores too, it takes longer.
    end = time.monotonic() + SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    while command.alive():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def end(command: Command) -> None:
    """Ends what is left of a command."""
    for pid in command.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.process.communicate(timeout=5)


def disturb(
    project: Any, words: tuple[str, ...], kills: int, rng: random.Random, count: Callable[..., None]
) -> list[str]:
    """Runs two commands at once and kills parts of them until enough are killed or all is done.

    Returns what went wrong.
    """
    wrong: list[str] = []
    running = [Command(project, words), Command(project, words)]
    killed = 0
    try:
        while killed < kills:
            time.sleep(rng.uniform(0.0, 0.5))
            for index, command in enumerate(running):
                if command.ended():
                    if "Traceback" in (said := command.said()):
                        wrong.append(said)
                    running[index] = Command(project, words)
                    if "nothing to do" in said:
                        return wrong
            command = rng.choice(running)
            victim = rng.choice(VICTIMS)
            wait = time.monotonic() + PATIENCE
            while not (hit := kill(command, victim, rng)) and not command.ended():
                assert time.monotonic() < wait, f"no {victim} to kill in {PATIENCE} s"
                time.sleep(0.02)
            if not hit:
                continue
            killed += 1
            held = victim not in ("command", "whole group") or vanished(command)
            if not held:
                wrong.append(f"alive {SECONDS} s after the {victim} was killed: {command.alive()}")
            count(victim, held)
    finally:
        for command in running:
            end(command)
    return wrong


@pytest.fixture(scope="module")
def undisturbed(make_project: Any) -> dict[tuple[str, ...], dict[str, str]]:
    """Outcomes of each command when nothing happens to it."""
    found = {}
    for words in COMMANDS:
        project = make_project()
        assert project.run(*words).code == 0
        found[words] = project.outcomes()
    return found


def files(project: Any) -> dict[Path, bytes]:
    """Content of every record."""
    return {path: path.read_bytes() for path in project.results.glob("*/*/*.json")}


def test_whatever_is_killed_two_commands_leave_the_records_of_one(
    undisturbed: dict[tuple[str, ...], dict[str, str]],
    make_project: Any,
    kills: tuple[int, int],
    tally: Any,
) -> None:
    first, count = kills
    rng = random.Random(first)  # noqa: S311
    wrong: list[str] = []
    done = 0
    with contextlib.ExitStack() as stack:
        rows = {name: stack.enter_context(tally("SIGKILL", name)) for name in sorted({*VICTIMS})}

        def note(victim: str, held: bool) -> None:
            nonlocal done
            done += 1
            rows[victim].add(held)

        series = stack.enter_context(tally("series resumed", "bit for bit as undisturbed"))
        turn = itertools.cycle(COMMANDS if first % 80 == 0 else reversed(COMMANDS))
        while done < count and not wrong:
            words = next(turn)
            project = make_project()
            wrong += disturb(project, words, count - done, rng, note)
            wrong += resumed(project, words, undisturbed[words])
            series.add(not wrong)
    assert wrong == []


def resumed(project: Any, words: tuple[str, ...], wanted: dict[str, str]) -> list[str]:
    """Runs the command to its end; what differs from the undisturbed run."""
    wrong = []
    intact = {r.file_name for r in project.records() if r.status == "ok"}
    before = {path: text for path, text in files(project).items() if path.name in intact}
    project.run(*words)
    done = project.run(*words, "--rerun", "failed")
    if (done.code, done.err) != (0, ""):
        wrong.append(f"resumed: exit code {done.code}: {done.text}")
    if project.outcomes() != wanted:
        wrong.append("resumed: other outcomes than undisturbed")
    after = files(project)
    if {path: after.get(path) for path in before} != before:
        wrong.append("resumed: an intact record was written again")
    for path in project.root.glob("*/**/.tmp-*"):  # as if their writers had been dead for long
        os.utime(path, (0, 0))
    for verb in ("gc", "doctor"):
        if project.run(verb).code:
            wrong.append(f"resumed: {verb} finds something")
    return wrong + [f"left: {item}" for item in project.leftovers()]
