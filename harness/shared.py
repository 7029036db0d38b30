"""What several machines assume of the folder that they share, each thing tried out.

    1. A file that is renamed over another is seen whole, the old or the new, and never missing.
    2. Of several renames of one file, one succeeds. (A lock changes hands; see `harness.lease`.)
    3. Of several folders that are renamed to one name, one succeeds, over an empty one too.
    4. The time of a file's last change is set by the clock of the file system.
    5. `flock` works, at least between the processes of one machine. Where it does not, a lock whose
       holder died here is free only once its lease has run out.

All of it from one machine; run on two at once, it also shows that each sees what the other writes.
"""

import contextlib
import errno
import fcntl
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from harness.files import cannot_write, write_atomic

_ROUNDS = 25
_RIVALS = 4
_SIGNS = ".harness-machines"
"""Folder in which each machine that has looked leaves a file of its name."""
_RECENT = 600.0
"""Seconds for which such a file counts."""


class Finding(NamedTuple):
    """One assumption, and what contradicts it."""

    what: str
    fault: str
    """Empty where it holds."""
    fatal: bool = True


def probe(folder: Path) -> Iterator[Finding]:
    """Tries every assumption in a working folder of its own, which is removed again.

    Raises:
        StoreError: the folder cannot be written to.
    """
    work = folder / f".harness-probe-{uuid.uuid4().hex}"
    try:
        work.mkdir(parents=True)
        yield Finding("a file is replaced in one piece", _replaced(work / "file"))
        yield Finding("a file is renamed by one of several", _races(work, _file))
        yield Finding("a folder is renamed by one of several", _races(work, _folder))
        yield Finding("a folder replaces an empty one alone", _over(work))
        yield Finding("times are those of the file system's clock", _clock(work / "time"))
        yield Finding("flock keeps processes of one machine apart", _flock(work / "lock"), False)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def others(folder: Path) -> list[str]:
    """Leaves a sign of this machine; names of the others that left theirs a moment ago."""
    signs, own = folder / _SIGNS, platform.node()
    write_atomic(signs / own, b"")
    now = (signs / own).stat().st_mtime
    found = [p for p in signs.iterdir() if not p.name.startswith(".") and p.name != own]
    return sorted(p.name for p in found if now - p.stat().st_mtime < _RECENT)


def _replaced(path: Path) -> str:
    """One writer, and one reader who must always find all of something."""
    states = (b"a" * 10_000, b"b" * 10_000)
    write_atomic(path, states[0])

    def write() -> None:
        for number in range(_ROUNDS):
            write_atomic(path, states[number % 2])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            try:
                if path.read_bytes() not in states:
                    return "a reader saw half of it"
            except FileNotFoundError:
                return "a reader saw none for a moment"
        writing.result()
    return ""


def _races(work: Path, prepare: Callable[[Path, int], list[tuple[Path, Path]]]) -> str:
    with ThreadPoolExecutor(_RIVALS) as pool:
        for number in range(_ROUNDS):
            moves = prepare(work / f"{prepare.__name__}-{number}", number)
            won = sum(pool.map(_renamed, moves))
            if won != 1:
                return f"{won} of {len(moves)} that tried at once succeeded"
    return ""


def _file(place: Path, _number: int) -> list[tuple[Path, Path]]:
    """One file, and what each rival would call it."""
    place.mkdir()
    (place / "from").write_text("")
    return [(place / "from", place / f"to-{rival}") for rival in range(_RIVALS)]


def _folder(place: Path, number: int) -> list[tuple[Path, Path]]:
    """A folder of each rival, and the one name; every other time an empty folder has it."""
    (place / "to" if number % 2 else place).mkdir(parents=True)
    for rival in range(_RIVALS):
        (place / f"from-{rival}").mkdir()
        (place / f"from-{rival}" / "file").write_text("")
    return [(place / f"from-{rival}", place / "to") for rival in range(_RIVALS)]


def _renamed(move: tuple[Path, Path]) -> bool:
    try:
        move[0].rename(move[1])
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _over(work: Path) -> str:
    for name in ("full", "other", "empty"):
        (work / name).mkdir()
    (work / "full" / "file").write_text("")
    (work / "other" / "file").write_text("")
    if _renamed((work / "other", work / "full")):
        return "it replaced one that was not"
    return "" if _renamed((work / "other", work / "empty")) else "it did not"


def _clock(path: Path) -> str:
    """A file that is touched is as new as one that has just been made."""
    path.write_text("")
    os.utime(path, (0, 0))
    os.utime(path)
    fresh = path.with_name("fresh")
    fresh.write_text("")
    apart = abs(fresh.stat().st_mtime - path.stat().st_mtime)
    return "" if apart < 2 else f"two changes at once are {apart:.0f} s apart"


def _flock(path: Path) -> str:
    first, second = (os.open(path, os.O_CREAT | os.O_RDWR, 0o644) for _ in range(2))
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "two had one lock"
    except OSError as error:
        return f"there is none ({error.strerror}): locks of the dead stay for their lease"
    else:
        return ""
    finally:
        os.close(first)
        os.close(second)
