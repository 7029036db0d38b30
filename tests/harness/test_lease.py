"""Locks on a shared folder: one holder, whoever dies and whenever the others look."""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import lease
from harness.errors import StoreError
from harness.lease import Held, Lock

Other = Callable[..., "subprocess.Popen[str]"]
WAIT = """
import os, sys, time
from pathlib import Path
from harness import lease
lease.machine.cache_clear()
lease.platform.node = lambda: sys.argv[2]  # a machine of another name
lock = lease.Lock(Path(sys.argv[1]), float(sys.argv[3]))
lock.acquire()
print("held", flush=True)
while sys.stdin.readline():
    print(lock.renew(os.getpid()), flush=True)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "ab"


@pytest.fixture
def other(place: Path) -> Iterator[Other]:
    """`other(host, seconds)`: a process of a machine of that name that holds the lock."""
    processes = []

    def start(host: str = "elsewhere", seconds: float = 60.0) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", WAIT, place, host, str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def renewed(process: "subprocess.Popen[str]") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_lock_leaves_nothing_behind(place: Path) -> None:
    with Lock(place, 60) as lock:
        lock.check()
        assert [p.name.split("-")[:2] for p in place.iterdir()] == [
            [lease.machine(), str(os.getpid())]
        ]
        with pytest.raises(Held, match=rf"at work on it \(.*, process {os.getpid()}\)"):
            Lock(place, 60).acquire()
        lock.check()
    assert list(place.parent.iterdir()) == []


def test_of_this_machine_a_dead_holder_is_replaced_at_once(place: Path, other: Other) -> None:
    holder = other(lease.platform.node(), 3600)
    with pytest.raises(Held):
        Lock(place, 60).acquire()
    holder.kill()
    holder.wait()
    with Lock(place, 60) as lock:
        lock.check()


def test_of_another_machine_silence_decides_and_no_sooner_than_it_said(
    place: Path, other: Other
) -> None:
    holder = other(seconds=100)
    holder.kill()
    holder.wait()
    (file,) = place.iterdir()
    for age, free in ((90, False), (110, True)):
        moment = time.time() - age
        os.utime(file, (moment, moment))
        if free:
            with Lock(place, 1) as lock:
                lock.check()
        else:
            with pytest.raises(Held, match="elsewhere"):
                Lock(place, 1).acquire()
            assert file.exists()


def test_a_holder_that_the_kernel_knows_to_live_keeps_its_lock(place: Path, other: Other) -> None:
    holder = other(seconds=0)
    os.kill(holder.pid, signal.SIGSTOP)
    (file,) = place.iterdir()
    os.utime(file, (0, 0))
    with pytest.raises(Held):
        Lock(place, 0).acquire()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose `flock` is that of each machine alone: it knows of no other's."""

    def flock(_handle: int, _what: int) -> None:
        raise OSError(38, "not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("deaf")
def test_without_flock_the_heartbeat_decides_and_who_was_silent_may_not_commit(
    place: Path, other: Other
) -> None:
    holder = other(seconds=100)
    (file,) = place.iterdir()
    with pytest.raises(Held):
        Lock(place, 100).acquire()
    os.utime(file, (0, 0))
    assert renewed(holder) == "True"
    with pytest.raises(Held):
        Lock(place, 100).acquire()
    os.utime(file, (0, 0))
    with Lock(place, 100) as lock:
        assert renewed(holder) == "False"
        lock.check()
        (new,) = place.iterdir()
        assert time.time() - new.stat().st_mtime < 60
        new.rename(place / file.name)  # as if a third had taken over in turn
        with pytest.raises(Held, match="took it over"):
            lock.check()
        assert lock.renew(os.getpid()) is False
    assert [p.name for p in place.iterdir()] == [file.name], "what is another's stays"


def test_renewing_is_for_a_process_that_holds_the_lock(place: Path) -> None:
    with Lock(place, 60) as lock:
        (file,) = place.iterdir()
        os.utime(file, (0, 0))
        assert not lock.renew(os.getpid() + 1)
        assert file.stat().st_mtime == 0
        assert lock.renew(os.getpid())
        assert time.time() - file.stat().st_mtime < 60
    assert not lock.renew(os.getpid())


def test_who_waits_gets_it(place: Path, other: Other) -> None:
    holder = other(lease.platform.node())
    began = time.monotonic()
    assert holder.stdin is not None
    holder.stdin.close()  # it ends
    lock = Lock(place, 60)
    lock.acquire(wait=True)
    assert time.monotonic() - began < 30
    lock.release()


def _count(place: Path, counter: Path, stale: bool) -> None:
    if stale:
        lease.platform.node = lambda: str(os.getpid())  # type: ignore[assignment]
        lease.machine.cache_clear()
    for _ in range(40):
        lock = Lock(place, 60)
        lock.acquire(wait=True)
        value = int(counter.read_text() or 0)
        counter.write_text(str(value + 1))
        if stale:  # it dies, to the others' eyes, right after its last word
            (file,) = place.iterdir()
            os.close(lock._handle)
            os.utime(file, (0, 0))
        else:
            lock.release()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_want_it_one_has_it(tmp_path: Path, place: Path, stale: bool) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("fork")
    several = [context.Process(target=_count, args=(place, counter, stale)) for _ in range(4)]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert counter.read_text() == "160"


def test_what_a_killed_process_left_is_swept(place: Path) -> None:
    odd = place.parent / f".tmp-{'0' * 32}-ab"
    odd.mkdir(parents=True)
    (odd / "name").write_text("")
    (place.parent / "cd").mkdir()
    assert lease.sweep(place.parent, 60) == 0
    assert lease.sweep(place.parent, 0) == 1
    assert [p.name for p in place.parent.iterdir()] == ["cd"]
    assert lease.sweep(place.parent / "nowhere", 0) == 0


def test_a_place_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*locks: Not a directory"):
        Lock(tmp_path / "locks" / "ab", 60).acquire()
