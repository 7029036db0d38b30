"""Processes and their descendants, as the kernel lists them: to signal all, whoever left whom."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PDEATHSIG, _SUBREAPER = 1, 36
"""Options of Linux's prctl."""
_PROC = Path("/proc")


class Kin(NamedTuple):
    """One process of the table."""

    state: str
    """`T` is stopped, `Z` ended and not waited for."""
    parent: int
    session: int


def adopt(orphans: bool = True) -> None:
    """Makes this process the parent of descendants that lose theirs; Linux alone can."""
    _prctl(_SUBREAPER, int(orphans))


def die_with_parent(parent: int) -> None:
    """Lets the kernel kill this process as soon as its parent, of that id, is gone."""
    _prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before
        os._exit(1)


def kin(process: int) -> Kin | None:
    """What the kernel says of a process; None where there is none, or no such table."""
    try:
        text = (_PROC / str(process) / "stat").read_text(errors="replace")
    except OSError:
        return None
    state, parent, _, session = text.rpartition(")")[2].split()[:4]
    return Kin(state, int(parent), int(session))


def descendants(root: int) -> list[int]:
    """Processes that descend from `root`, without it."""
    children: dict[int, list[int]] = {}
    for name in _numbers():
        if (found := kin(name)) is not None:
            children.setdefault(found.parent, []).append(name)
    line, place = list(children.get(root, ())), 0
    while place < len(line):
        line += children.get(line[place], ())
        place += 1
    return line


def children(parent: int) -> list[int]:
    """Processes whose parent is `parent`."""
    return [n for n in _numbers() if (found := kin(n)) is not None and found.parent == parent]


def tell(processes: list[int], number: int) -> None:
    """Sends a signal to those of the processes that are still there."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def end(seconds: float, which: Callable[[int], bool] = lambda _: True) -> None:
    """Kills children of this process with all their descendants, and waits for them.

    For so many seconds at most, and those children alone that `which` picks. A process that has
    adopted its orphans finds them here wherever they have gone, by group or by session.
    """
    until, me = time.monotonic() + seconds, os.getpid()
    while time.monotonic() < until:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # it has none: nearly always
            return
        if not (left := [child for child in children(me) if which(child)]):
            return
        for child in left:
            tell([child, *descendants(child)], signal.SIGKILL)
        time.sleep(0.002)
        for child in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


def await_end(process: int, seconds: float) -> None:
    """Waits until a process has ended, for so long at most."""
    until = time.monotonic() + seconds
    while (found := kin(process)) and found.state not in "ZX" and time.monotonic() < until:
        time.sleep(0.002)


def from_fork_server(process: int, variable: str) -> bool:
    """Whether a process descends from a fork server's child, or was started by one.

    The first by its command line and a session that is not ours; the second by a variable in the
    environment that it was started with.
    """
    found = kin(process)
    if found is None or found.session == os.getsid(0):
        return False
    try:
        words = (_PROC / str(process) / "cmdline").read_bytes()
        environment = (_PROC / str(process) / "environ").read_bytes()
    except OSError:
        return False
    started = f"{variable}=".encode()
    return b"multiprocessing.forkserver" in words or any(
        entry.startswith(started) for entry in environment.split(b"\0")
    )


def kernel_kills() -> tuple[int, ...]:
    """How often the kernel has killed for lack of memory: in this cgroup, and on this machine."""
    found = []
    for file in (*_memory_files(), _PROC / "vmstat"):
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill":
                    found.append(int(number))
    return tuple(found)


def _memory_files() -> list[Path]:
    """Where the kernel counts what it kills in this process's cgroup, of either version."""
    found = []
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds:
                found.append(root / path.lstrip("/") / "memory.events")
            elif "memory" in kinds.split(","):
                found.append(root / "memory" / path.lstrip("/") / "memory.oom_control")
    return found


def _numbers() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    except OSError:  # no Linux
        return []


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
