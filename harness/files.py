"""Files that are written whole or not at all, and read whole or not at all.

Reading tells three things apart: what is there, what is absent, and what cannot be judged (no
permission, a failing disk, something else in its place), which is an error and never "absent".
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import DataError, StoreError, Unreadable, brief

TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{32}-.+", re.DOTALL)
"""Names of the files that `write_atomic` fills before it renames them."""
_CHUNK = 1 << 18
"""Bytes read back at a time: there may be little memory left where a failure is written down."""


def write_atomic(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, whole or not at all, and on the disk when this returns.

    What was written is read back before it gets its name.

    Raises:
        StoreError: the disk is full, the folder is not writable, ...; an older file is untouched.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}"[:200])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        check_written(temporary, data, path)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # there is none, or its folder is no folder
            temporary.unlink()


def write_verified(path: Path, data: bytes) -> None:
    """As `write_atomic`, and read back under its name: what cannot be verified does not stay.

    For the holder of a lock: nobody else writes to `path` meanwhile.

    Raises:
        StoreError: the disk is full, it gives back something else, ...
    """
    write_atomic(path, data)
    try:
        check_written(path, data)
    except (StoreError, OSError) as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) if isinstance(error, OSError) else error from None


def check_written(path: Path, data: bytes, named: Path | None = None) -> None:
    """Compares a file with what was written to it; `named` is what an error calls it.

    Raises:
        StoreError: it holds something else.
    """
    rest = memoryview(data)
    with path.open("rb") as file:
        while chunk := file.read(min(_CHUNK, len(rest) + 1)):
            if chunk != rest[: len(chunk)]:
                break
            rest = rest[len(chunk) :]
    if chunk or rest:
        raise StoreError(
            f"cannot write {named or path}: what is read back is not what was written; "
            "check the disk, then run the same command again"
        )


@contextlib.contextmanager
def publish(target: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `target`, whole and on the disk, once the block ends well.

    A block that raises leaves nothing behind.

    Raises:
        StoreError: the disk is full, the folder is not writable, `target` is there already, ...
    """
    work = target.absolute().parent / f".tmp-{uuid.uuid4().hex}-{target.name}"[:200]
    try:
        work.mkdir(parents=True)
        yield work
        for path in sorted(work.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        work.replace(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def read_plain(path: str | Path) -> bytes | None:
    """The bytes of a plain file; None where nothing is there.

    Raises:
        Unreadable: it cannot be read, or is a folder, a link, a pipe, ...
    """
    try:
        # A link is not followed, the other end of a pipe not waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                kind = _kind(state.st_mode)
                raise Unreadable(cannot_read(Path(path), f"{kind}, not a plain file"))
            data = os.read(handle, state.st_size + 1)
            while len(data) != state.st_size and (more := os.read(handle, _CHUNK)):
                data += more  # it grew meanwhile, or is larger than one call reads
            return data
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        path = Path(path)
        if error.errno == errno.ENOTDIR and is_absent(path.parent):
            return None
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            kind = _kind(path.lstat().st_mode)
            raise Unreadable(cannot_read(path, f"{kind}, not a plain file")) from error
        raise Unreadable(cannot_read(path, error)) from error


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes.

    Raises:
        Unreadable: it cannot be read, or is not there.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(cannot_read(path, error)) from error


def read_json(path: Path) -> Any:
    """What a JSON file of somebody else's holds.

    Raises:
        DataError: it is missing, no plain file, or not JSON; in one line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({brief(error)}); get it again") from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = instead(data) or f"not JSON: {brief(error)}"
        raise DataError(f"{path} is corrupt ({reason}); get it again") from None


def instead(data: bytes) -> str | None:
    """What stands in the place of a file that should have been downloaded, by its first bytes."""
    start = data[:200].lstrip().lower()
    if not data:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer and not the file itself; run `git lfs pull`"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page and not the file itself"
    if data.startswith(b"PK\x03\x04"):
        return "a zip archive, such as torch.save writes"
    return None


def is_file(path: Path, strict: bool = True) -> bool:
    """Whether a file is there, itself or behind a link.

    `strict`: a folder, a pipe, ... in its place is an error too, else it is no file.

    Raises:
        Unreadable: that cannot be told, or a link leads nowhere.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if is_absent(path):
            return False
        raise Unreadable(cannot_read(path, error)) from error
    if strict and not stat.S_ISREG(mode):
        raise Unreadable(cannot_read(path, f"{_kind(mode)}, not a plain file"))
    return stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """Whether what is there is a folder, itself or behind a link.

    Raises:
        Unreadable: that cannot be told, or a link leads nowhere.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise Unreadable(cannot_read(path, error)) from error


def is_absent(path: Path) -> bool:
    """Whether nothing is there, not even a broken link.

    Raises:
        Unreadable: that cannot be told.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise Unreadable(cannot_read(path, error)) from error
    return False


def entries(folder: Path) -> list[os.DirEntry[str]] | None:
    """What is in a folder, by name; None where there is no such folder.

    Raises:
        Unreadable: it cannot be listed, or is no folder.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and is_absent(folder):
            return None
        raise Unreadable(cannot_read(folder, error)) from error


def folders(folder: Path, linked: bool = False) -> list[Path]:
    """The folders in a folder, by name; hidden ones and, unless `linked`, links are left out.

    Raises:
        Unreadable: it cannot be listed, or a link leads nowhere.
    """
    found = []
    for entry in entries(folder) or ():
        if entry.name.startswith("."):
            continue
        try:
            if linked and entry.is_symlink():
                Path(entry.path).stat()
            if entry.is_dir(follow_symlinks=linked):
                found.append(folder / entry.name)
        except OSError as error:
            raise Unreadable(cannot_read(folder / entry.name, error)) from error
    return found


def quarantine(path: Path) -> Path:
    """Moves a corrupt file out of the way, keeping its content; returns the new place."""
    for number in range(1, 10_000):
        aside = path.with_name(f"{path.name}.corrupt-{number}")
        if not aside.exists():
            try:
                path.replace(aside)
            except OSError as error:
                raise StoreError(f"cannot move {path} aside: {error.strerror}") from None
            return aside
    raise StoreError(f"{path}: ten thousand corrupt copies beside it; remove some")


def sync_folder(folder: Path) -> None:
    """Returns once the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error of a write that failed."""
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; "
        "free space or make the folder writable, then run the same command again"
    )


def cannot_read(path: Path, reason: OSError | str) -> str:
    """One line about what is there and cannot be read."""
    why = reason if isinstance(reason, str) else reason.strerror or str(reason)
    return (
        f"cannot read {path}: {why}; make it readable or move it away, then run the same command "
        "again (nothing was changed)"
    )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a device or socket")
