"""The table of processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.executors import family

SLEEP = "import time; time.sleep(600)"
NEST = (
    "import subprocess, sys, time; "
    f"p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True); "
    "print(p.pid, flush=True); time.sleep(600)"
)


@pytest.fixture
def nest() -> Iterator[tuple[int, int]]:
    """A child and its child, which is in a session of its own."""
    with subprocess.Popen([sys.executable, "-c", NEST], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        inner = int(child.stdout.readline())
        yield child.pid, inner
        family.tell([child.pid, inner], signal.SIGKILL)


def test_descendants_are_found_through_sessions(nest: tuple[int, int]) -> None:
    child, inner = nest
    found = family.descendants(os.getpid())
    assert set(nest) <= set(found)
    assert child in family.children(os.getpid())
    assert inner not in family.children(os.getpid())
    assert family.kin(inner).session == inner  # type: ignore[union-attr]
    assert family.kin(child).session == os.getsid(0)  # type: ignore[union-attr]


def test_a_process_that_adopts_ends_its_orphans(nest: tuple[int, int], wait_for: Any) -> None:
    child, inner = nest
    family.adopt()
    try:
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: inner in family.children(os.getpid()))
        family.end(5, lambda process: process == inner)
    finally:
        family.adopt(False)
    assert family.kin(inner) is None


def test_the_kernel_s_kills_are_read_where_it_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vmstat").write_text("nr_free 1\noom_kill 4\n")
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 2\noom_kill 1\noom_group_kill 9\n")
    monkeypatch.setattr(family, "_PROC", tmp_path)
    monkeypatch.setattr(family, "_memory_files", lambda: [counter, tmp_path / "absent"])
    assert family.kernel_kills() == (1, 4)


def test_waiting_for_the_end_of_a_process_has_an_end(nest: tuple[int, int]) -> None:
    began = time.monotonic()
    family.await_end(nest[0], 0.1)
    assert time.monotonic() - began < 5
    assert family.kin(nest[0]) is not None
