"""Locks in a folder that several machines may share; they survive the death of any of them.

A lock is a folder with one file, whose name says who holds it. It changes hands by one `rename`,
which succeeds for one process alone, whatever the others do at that moment:

    taken       a folder that holds the holder's file gets the lock's name, where nothing or an
                empty folder has it
    taken over  the file of a holder that is gone gets the name of the next one
    released    the holder's file is removed, then the empty folder

The holder keeps its file locked (`flock`), so that the kernel knows whether it lives: one that died
on this machine is replaced at once. Of another machine the kernel may not know; there a heartbeat
decides, the age of the file by the clock of the file system, which is the same for all. A holder
that was out of touch for longer than its lease finds its file gone, and must not commit.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import StoreError
from harness.files import TEMPORARY

_LONGEST_PAUSE = 1.0
"""Seconds between two attempts to get a lock that is waited for."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Held(Exception):
    """Somebody else holds the lock; its text says who. No fault of anybody."""


@functools.cache
def machine() -> str:
    """Twelve digits that name this machine since it was started."""
    boot = _BOOT.read_text() if _BOOT.exists() else ""
    return hashlib.sha256(f"{boot}\0{platform.node()}".encode()).hexdigest()[:12]


class Lock:
    """One lock; `with lock:` takes it, or raises `Held`."""

    def __init__(self, place: Path, seconds: float) -> None:
        """`place`: of the lock's folder. `seconds`: how long its holder may be out of touch."""
        self._place = place
        self._seconds = seconds
        self._name = ""
        self._handle = -1

    def acquire(self, wait: bool = False) -> None:
        """Takes the lock; with `wait` as soon as it is free.

        Raises:
            Held: somebody else has it.
            StoreError: the folder cannot be written to.
        """
        pause = 0.01
        try:
            while holder := self._attempt():
                if not wait:
                    raise Held(f"another process is at work on it ({holder})")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except OSError as error:
            raise StoreError(
                f"cannot write {self._place.parent}: {error.strerror or error}; set HARNESS_CACHE"
            ) from None

    def release(self) -> None:
        """Gives the lock back, if it is still one's own."""
        with contextlib.suppress(OSError):  # taken over, or another has it by now
            (self._place / self._name).unlink()
            self._place.rmdir()
        self._close(self._handle)
        self._handle = -1

    def check(self) -> None:
        """To be called right before a commit.

        Raises:
            Held: the lease ran out meanwhile, and another machine has taken over.
        """
        try:  # opened, for a server is then asked, and no cache
            os.close(os.open(self._place / self._name, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            raise Held(
                "out of touch for longer than its lease; another process took it over"
            ) from None

    def renew(self, process: int) -> bool:
        """The heartbeat of a process of this machine; False where it does not hold the lock."""
        try:
            for path in _inside(self._place):
                if path.name.startswith(f"{machine()}-{process}-"):
                    os.utime(path)
                    return True
        except FileNotFoundError:  # it was taken over in this moment
            pass
        except OSError:  # the file system is out of reach: nobody can have taken over either
            return True
        return False

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _attempt(self) -> str:
        """Takes the lock and returns nothing, or returns who has it."""
        name = f"{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        work = self._place.with_name(f".tmp-{uuid.uuid4().hex}-{self._place.name}")
        work.mkdir(parents=True)
        handle = os.open(work / name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            _fill(handle, self._seconds)
            _flock(handle)
            now = os.fstat(handle).st_mtime
            try:
                work.rename(self._place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            if (self._place / name).exists():  # a server may repeat a rename and call it failed
                self._name, self._handle, handle = name, handle, -1
                return ""
        finally:
            shutil.rmtree(work, ignore_errors=True)
            self._close(handle)
        return self._take_over(name, now)

    def _take_over(self, name: str, now: float) -> str:
        """As `_attempt`, from a holder that is gone; `now` by the clock of the file system."""
        there = next(iter(_inside(self._place)), self._place / "nobody")
        try:
            handle = os.open(there, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # it has just been released
            return "a moment ago"
        try:
            who, seconds = _read(handle, self._seconds)
            known = _flock(handle)
            if known is False:
                return who
            here = known and there.name.startswith(f"{machine()}-")
            if not here and now - os.fstat(handle).st_mtime <= seconds:
                return who
            os.utime(handle)  # before it has our name, so that it is never ours and old
            try:
                there.rename(self._place / name)
            except FileNotFoundError:  # somebody else was faster
                return who
            _fill(handle, self._seconds)
            self._name, self._handle, handle = name, handle, -1
            return ""
        finally:
            self._close(handle)

    @staticmethod
    def _close(handle: int) -> None:
        if handle >= 0:
            with contextlib.suppress(OSError):  # a method has closed it
                os.close(handle)


def sweep(folder: Path, age: float) -> int:
    """Removes what killed processes left as they took a lock of a folder; returns how many."""
    count = 0
    for path in _inside(folder):
        with contextlib.suppress(OSError):
            if TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime >= age:
                shutil.rmtree(path)
                count += 1
    return count


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _fill(handle: int, seconds: float) -> None:
    """Writes who holds the lock, for people, and how long its silence is to be borne."""
    note = {"host": platform.node(), "process": os.getpid(), "seconds": seconds}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(note).encode(), 0)


def _read(handle: int, seconds: float) -> tuple[str, float]:
    """What `_fill` wrote; unknown while it is being written."""
    try:
        note = json.loads(os.pread(handle, 4096, 0))
        return f"{note['host']}, process {note['process']}", float(note["seconds"])
    except (ValueError, KeyError, TypeError):
        return "unknown", seconds


def _flock(handle: int) -> bool | None:
    """Locks an open file; False where somebody else has, None where the file system cannot."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
