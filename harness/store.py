"""Records, artifacts and checkpoints on disk: atomic, checksummed, locked, checked.

    results/<suite>/<scale>/<record>.json          records, kept in git
    <cache>/...                                    see `harness.cache`

A file is either whole or absent: it is written beside its place, flushed to the disk, read back
and renamed. What is there and cannot be read is an error, never "absent" and never "corrupt".
"""

import contextlib
import gc
import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from harness import lease
from harness.artifacts import Artifacts
from harness.cache import MANIFEST, location
from harness.checkpoints import Checkpoint, Checkpoints
from harness.errors import StoreError, Unreadable, brief
from harness.files import (
    TEMPORARY,
    cannot_read,
    cannot_write,
    entries,
    file_digest,
    folders,
    is_absent,
    is_folder,
    publish,
    quarantine,
    read_json,
    read_plain,
    write_atomic,
    write_verified,
)
from harness.headings import Headings
from harness.identity import canonical, digest
from harness.record import READABLE, Heading, Record, Shared
from harness.settings import fault
from harness.verified import Verified, finding, rules

__all__ = [
    "MANIFEST",
    "Checkpoint",
    "Corrupt",
    "Loaded",
    "Store",
    "file_digest",
    "location",
    "parse_record",
    "publish",
    "read_json",
    "write_atomic",
]

MANY = 10_000
"""Records from which on a search for cycles among them takes longer than what it could find."""
_PLAIN = re.compile(r"[a-z0-9_+-]+")
"""Names without an ending: those of suites and scales, not those of a `README.md` beside them."""


class Corrupt(NamedTuple):
    """A file in the results folder that was read whole and is not an intact record."""

    path: Path
    reason: str


class Loaded(NamedTuple):
    """What a results folder holds."""

    records: list[Record]
    damaged: list[Corrupt]


class Headed(NamedTuple):
    """What a plan asks of what a results folder holds."""

    headings: list[Heading]
    damaged: list[Corrupt]


class _File(NamedTuple):
    """A file that should be a record."""

    folder: Path
    name: str
    data: bytes
    found: bytes
    """The finding that it is an intact record of that name."""

    @property
    def path(self) -> Path:
        return self.folder / self.name


def parse_record(data: bytes) -> Record:
    """The record in `data`, verified.

    Raises:
        Unreadable: a newer harness wrote it.
        StoreError: in one line, what is wrong with it.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"not JSON ({type(error).__name__})") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    number = version if isinstance(version, int) and not isinstance(version, bool) else 0
    readable = ", ".join(map(str, READABLE))
    if number > max(READABLE):
        raise Unreadable(
            f"schema version {str(number)[:20]}, this harness reads {readable}; upgrade the "
            "harness or move the file away, then run the same command again (nothing was changed)"
        )
    if number not in READABLE:
        raise StoreError(f"schema version {version!r}, this harness reads {readable}")
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise StoreError(f"field {fault(error)}") from None
    try:
        intact = record.intact()
    except ValueError as error:
        raise StoreError(str(error)) from None
    if not intact:
        raise StoreError("checksum does not match the content")
    if line := record.contradiction():
        raise StoreError(line)
    return record


class Store(Artifacts, Checkpoints):
    """The results folder and the cache folder of one project."""

    def __init__(self, results: Path, cache: Path) -> None:
        super().__init__(cache)
        self.results = results

    def is_new(self) -> bool:
        """Whether there is no results folder yet.

        Raises:
            Unreadable: it is no folder, or cannot be listed.
        """
        return entries(self.results) is None

    def existing(self) -> Self:
        """The store itself, for commands that read records: an absent folder is not an empty one.

        Raises:
            StoreError: there is no results folder, or it cannot be listed.
        """
        if self.is_new():
            raise StoreError(
                f"results folder {self.results} does not exist; name another with --results, or "
                "make records with `harness run`"
            )
        return self

    def commit(self, record: Record) -> Path:
        """Writes a record; one with the same identity is replaced (git keeps the old).

        Raises:
            Unreadable: what stands in its place cannot be read; it stays.
            StoreError: it would not verify when it is read, or cannot be written.
        """
        data = _verified_bytes(record)
        path = self.results / record.suite / record.scale / record.file_name
        try:
            _read_record(path)
        except Unreadable:
            raise
        except StoreError:
            pass  # corrupt: there is nothing to lose
        write_verified(path, data)
        return path

    def remove(self, record: Record) -> None:
        """Removes a record whose content now stands under another identity.

        Raises:
            StoreError: the folder is not writable.
        """
        path = self.results / record.suite / record.scale / record.file_name
        try:
            path.unlink()
        except OSError as error:
            raise cannot_write(path, error) from error

    def probe(self, suite: str, scale: str) -> None:
        """Fails early, before any training, where records could not be written.

        Raises:
            StoreError: the results or the cache folder is full, not writable, or the cache
                folder is not the harness's own.
        """
        self.claim()
        for folder in (self.results / suite / scale, self.cache):
            path = folder / ".probe"
            write_atomic(path, bytes(65536))
            path.unlink(missing_ok=True)  # another process may be probing too
        self.note_suite(suite)

    def load(self, suite: str = "*", scale: str = "*") -> Loaded:
        """All records below the results folder, in the order of their file names.

        Every file is read. Of one suite, those that were verified before are known by the digest of
        their bytes; of all suites (`harness doctor`), each one is verified in full.

        Raises:
            Unreadable: a folder or a record cannot be read, or a newer harness wrote it.
        """
        known = None if suite == "*" else Verified(self, f"records-{suite}")
        loaded, shared = Loaded([], []), Shared()
        with _without_collection():
            for file in _files(self._record_folders(suite, scale)):
                record = _parsed(file, known, shared)
                if isinstance(record, Corrupt):
                    loaded.damaged.append(record)
                else:
                    loaded.records.append(record)
            if len(loaded.records) >= MANY:
                gc.freeze()  # later searches leave alone what is there now
        if known is not None:
            known.save()
        return loaded

    def headings(self, suite: str) -> Headed:
        """The headings of a suite's records, in the order of `load`.

        Every file is read; those whose heading was noted before are not parsed.

        Raises:
            Unreadable: as `load`.
        """
        noted, known, shared = Headings(self, suite), Verified(self, f"records-{suite}"), Shared()
        headings, damaged = [], []
        with _without_collection():
            for file in _files(self._record_folders(suite, "*")):
                heading = noted.get(file.found)
                if heading is None:
                    record = _parsed(file, known, shared)
                    if isinstance(record, Corrupt):
                        damaged.append(record)
                        continue
                    heading = record.heading
                    noted.add(file.found, heading)
                headings.append(heading)
            if len(headings) >= MANY:
                gc.freeze()
        known.save()
        noted.save()
        return Headed(headings, damaged)

    def specs(self) -> list[Mapping[str, Any]]:
        """Specifications of all artifacts, coordinates of unfinished trials in the cache."""
        return [*self.artifact_specs(), *self.checkpoint_specs()]

    def at(self, suite: str, scale: str, name: str, identity: str) -> Record | None:
        """The intact record of one identity in the file of that name; nothing is listed.

        Raises:
            Unreadable: what stands there cannot be read.
        """
        try:
            record = _read_record(self.results / suite / scale / name)
        except Unreadable:
            raise
        except StoreError:
            return None
        return record if record is not None and record.id == identity else None

    def starting(self, digits: str, suite: str = "*", scale: str = "*") -> list[Record]:
        """The intact records whose id begins with these digits, without reading the others.

        Raises:
            Unreadable: a folder or a file that may be one of them cannot be read.
        """
        found = []
        for folder in self._record_folders(suite, scale):
            for name in _record_names(folder):
                if Path(name).stem.rpartition("--")[2].startswith(digits[:12]):
                    try:
                        found.append(_read_record(folder / name))
                    except Unreadable:
                        raise
                    except StoreError:
                        continue
        return [r for r in found if r is not None and r.id.startswith(digits)]

    def quarantine(self, path: Path) -> Path:
        """Moves a corrupt file out of the way, keeping its content; returns the new place."""
        return quarantine(path)

    def sweep(self, age: float = 0.0) -> int:
        """Removes temporary files that killed writers left behind; returns how many.

        `age`: seconds that a file must have lain untouched; living writers need a moment.

        Raises:
            StoreError: the cache is not the harness's own.
        """
        count, suites = 0, folders(self.results, linked=True)
        places = [self.results, *suites, *(s for suite in suites for s in folders(suite, True))]
        if self.owned():
            count += lease.sweep(self.cache / "locks", age)
            places += [Path(place) for place, _, _ in os.walk(self.cache)]
        for place in places:
            with contextlib.suppress(OSError, StoreError):  # its owner has just removed it
                for entry in entries(place) or ():
                    if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        count += _removed(place / entry.name, age)
        return count

    def suites(self) -> set[str]:
        """Names of the suites that have records."""
        return {folder.name for folder in folders(self.results, linked=True)}

    def _record_folders(self, suite: str, scale: str) -> list[Path]:
        if self.is_new():
            return []
        suites = _named(self.results, suite)
        return [folder for parent in suites for folder in _named(parent, scale)]


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Records hold no cycles; a search for some would visit those again that are there already."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _named(parent: Path, name: str) -> list[Path]:
    """The folder of that name in another one, or all of them for `*`.

    Raises:
        Unreadable: something else stands where a folder should be, or it cannot be told.
    """
    if name == "*":
        found = folders(parent, linked=True)
        names = {entry.name for entry in entries(parent) or () if _PLAIN.fullmatch(entry.name)}
        odd = sorted(names - {folder.name for folder in found})
    else:
        found = [] if is_absent(parent / name) else [parent / name]
        odd = [folder.name for folder in found if not is_folder(folder)]
    if odd:
        raise Unreadable(cannot_read(parent / odd[0], "not a folder"))
    return found


def _record_names(folder: Path) -> list[str]:
    """Names of the files in a folder that should be records."""
    names = [entry.name for entry in entries(folder) or ()]
    return [name for name in names if name.endswith(".json") and not name.startswith(".")]


def _files(folders: Iterable[Path]) -> Iterator[_File]:
    """The files in some folders that should be records, read one after the other.

    Raises:
        Unreadable: one cannot be read.
    """
    for folder in folders:
        place = os.fsencode("/".join(folder.parts[-2:]))
        for name in _record_names(folder):
            data = read_plain(f"{folder}/{name}")
            if data is not None:  # else moved aside since it was listed
                found = finding(rules(), b"%b/%b" % (place, os.fsencode(name)), data)
                yield _File(folder, name, data, found)


def _parsed(file: _File, known: Verified | None, shared: Shared) -> Record | Corrupt:
    """The record in a file, verified in full unless it was before.

    Raises:
        Unreadable: a newer harness wrote it.
    """
    if known is not None and file.found in known:
        return shared.read(file.data)
    try:
        record = _record_in(file.path, file.data)
    except Unreadable:
        raise
    except StoreError as error:
        return Corrupt(file.path, str(error))
    if not record.is_exact(json.loads(file.data)):
        return record
    if known is not None:
        known.add(file.found)
    return shared.read(file.data)


def _read_record(path: Path) -> Record | None:
    """The verified record of a plain file that bears the record's own name; None without one.

    Raises:
        Unreadable: it cannot be read, or a newer harness wrote it.
        StoreError: it is corrupt.
    """
    data = read_plain(path)
    return None if data is None else _record_in(path, data)


def _record_in(path: Path, data: bytes) -> Record:
    """The verified record in the bytes of a file that bears the record's own name.

    Raises:
        Unreadable: a newer harness wrote it.
        StoreError: it is corrupt.
    """
    try:
        record = parse_record(data)
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from None
    if path.parts[-3:] != (record.suite, record.scale, record.file_name):
        raise StoreError("the record in it belongs under another name")
    return record


def _verified_bytes(record: Record) -> bytes:
    """The bytes of a record's file, sealed, which read back as that record.

    Raises:
        StoreError: they do not: a method has changed what it was given, for instance.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # they are told below, as an error
            if digest(record.spec) != record.id:
                raise StoreError("its specification has changed since it was identified")
            sealed = record.sealed()
            text = json.dumps(json.loads(canonical(sealed.content())), indent=1)
        data = (text + "\n").encode()
        read = parse_record(data)
        if (read.checksum, read.file_name) != (sealed.checksum, sealed.file_name):
            raise StoreError("it reads back as another record")
    except (ValueError, TypeError, AttributeError, RecursionError, StoreError) as error:
        reason = fault(error) if isinstance(error, ValidationError) else brief(error)
        raise StoreError(
            f"record of {record.method} on {record.task}, seed {record.seed}, not written: "
            f"{reason}; a method must leave what it is given as it is and return plain numbers"
        ) from None
    return data


def _removed(path: Path, age: float) -> bool:
    """Removes a temporary file that has lain for so many seconds; whether it did."""
    if time.time() - path.lstat().st_mtime < age:
        return False
    path.unlink()
    return True
