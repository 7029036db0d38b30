"""Records, artifacts and checkpoints on disk: atomic, checksummed, locked, checked.

    results/<suite>/<scale>/<record>.json          records, kept in git
    <cache>/artifacts/<suite>/<name>-<id>/         files and `artifact.json`
    <cache>/trials/<id>/                           checkpoints, log, traceback of unfinished trials
    <cache>/locks/<id>.lock                        held by the process that works on it

A file is either whole or absent: it is written beside its place, flushed to the disk and renamed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from filelock import FileLock, Timeout
from pydantic import JsonValue, ValidationError

from harness.errors import MethodError, StoreError
from harness.record import SCHEMA_VERSION, Record, canonical, digest

MANIFEST = "artifact.json"
_KEPT_CHECKPOINTS = 2


class Damaged(NamedTuple):
    """A file in the results folder that is not an intact record."""

    path: Path
    reason: str


class Loaded(NamedTuple):
    """What a results folder holds."""

    records: list[Record]
    damaged: list[Damaged]


class Checkpoint(NamedTuple):
    """A verified state of a half-finished trial."""

    step: int
    tensors: Path
    """A safetensors file."""
    meta: dict[str, JsonValue]


def write_atomic(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, whole or not at all, and on the disk when this returns.

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
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # there is none, or its folder is no folder
            temporary.unlink()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_record(data: bytes) -> Record:
    """The record in `data`, verified.

    Raises:
        StoreError: in one line, what is wrong with it.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"not JSON ({type(error).__name__})") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise StoreError(f"schema version {version!r}, this harness reads {SCHEMA_VERSION}")
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise StoreError(f"field {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    try:
        intact = record.intact()
    except ValueError as error:
        raise StoreError(str(error)) from None
    if not intact:
        raise StoreError("checksum does not match the content")
    return record


class Store:
    """The results folder and the cache folder of one project."""

    def __init__(self, results: Path, cache: Path) -> None:
        self.results = results
        self.cache = cache

    def commit(self, record: Record) -> Path:
        """Writes a record; one with the same identity is replaced (git keeps the old)."""
        path = self.results / record.suite / record.scale / record.file_name
        sealed = record.sealed()
        text = json.dumps(json.loads(canonical(sealed.model_dump(mode="json"))), indent=1)
        write_atomic(path, (text + "\n").encode())
        return path

    def probe(self, suite: str, scale: str) -> None:
        """Fails early, before any training, where records could not be written.

        Raises:
            StoreError: the results or the cache folder is full or not writable.
        """
        for folder in (self.results / suite / scale, self.cache):
            path = folder / ".probe"
            write_atomic(path, bytes(65536))
            path.unlink(missing_ok=True)  # another process may be probing too

    def load(self, suite: str = "*", scale: str = "*") -> Loaded:
        """All records below the results folder, in the order of their file names."""
        records, damaged = [], []
        for path in sorted(self.results.glob(f"{suite}/{scale}/[!.]*.json")):
            try:
                records.append(_read_record(path))
            except (StoreError, OSError) as error:
                damaged.append(Damaged(path, str(error)))
        return Loaded(records, damaged)

    def find(self, identity: str, suite: str, scale: str) -> Record | None:
        """The intact record of one identity, without reading the others."""
        for path in self.results.glob(f"{suite}/{scale}/[!.]*--{identity[:12]}.json"):
            try:
                record = _read_record(path)
            except (StoreError, OSError):
                continue
            if record.id == identity:
                return record
        return None

    def quarantine(self, path: Path) -> Path:
        """Moves a damaged file out of the way, keeping its content; returns the new place."""
        for number in range(1, 10_000):
            aside = path.with_name(f"{path.name}.corrupt-{number}")
            if not aside.exists():
                try:
                    path.replace(aside)
                except OSError as error:
                    raise StoreError(f"cannot move {path} aside: {error.strerror}") from None
                return aside
        raise StoreError(f"{path}: ten thousand damaged copies beside it; remove some")

    def lock(self, identity: str) -> FileLock:
        """The lock of a trial or artifact; the kernel frees it when its holder dies."""
        folder = self.cache / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot write {folder}: {error.strerror}; set HARNESS_CACHE"
            ) from None
        return FileLock(folder / f"{identity[:32]}.lock", timeout=0)

    def locked(self, identity: str) -> bool:
        """Whether a living process works on it."""
        lock = self.lock(identity)
        try:
            with lock:
                return False
        except Timeout:
            return True

    # -- artifacts ------------------------------------------------------------------------------

    def artifact_folder(self, suite: str, name: str, identity: str) -> Path:
        """Where an artifact lives."""
        return self.cache / "artifacts" / suite / f"{name}-{identity[:12]}"

    def artifact(self, suite: str, name: str, identity: str) -> Path | None:
        """The folder of a finished artifact with every file verified, or None.

        Raises:
            StoreError: it is there, but a file does not match its checksum.
        """
        folder = self.artifact_folder(suite, name, identity)
        if not (folder / MANIFEST).exists():
            return None
        self.check_artifact(folder)
        return folder

    def artifact_source(self, suite: str, name: str, identity: str) -> str | None:
        """Digest of the source that made a finished artifact, None without one; verifies nothing.

        It is empty where the manifest does not say, or cannot be read.
        """
        try:
            content = json.loads(
                (self.artifact_folder(suite, name, identity) / MANIFEST).read_bytes()
            )
            return str(content["info"]["source_digest"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError):
            return ""

    def artifact_contents(self, folder: Path) -> dict[str, str]:
        """What went into a verified artifact that no identity holds; see `Context.contents`."""
        found = json.loads((folder / MANIFEST).read_bytes())["info"].get("contents", {})
        return {str(name): str(state) for name, state in found.items()}

    def artifact_seconds(self, suite: str, scale: str) -> list[tuple[str, float]]:
        """What each finished artifact of a suite's scale is named and took by the wall clock.

        Damaged manifests are passed over: who needs the artifact will say so.
        """
        found = []
        for path in self.cache.glob(f"artifacts/{suite}/*/{MANIFEST}"):
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                content = json.loads(path.read_bytes())
                if content["spec"]["scale"]["name"] == scale:
                    seconds = float(content["info"]["cost"]["wall_seconds"])
                    found.append((content["spec"]["artifact"]["name"], seconds))
        return found

    def check_artifact(self, folder: Path) -> None:
        """Verifies every file of an artifact folder.

        Raises:
            StoreError: one is damaged or missing, or the artifact was never finished.
        """
        manifest = folder / MANIFEST
        try:
            content = json.loads(manifest.read_bytes())
            checksum = content.pop("checksum")
            files = dict(content["files"])
            whole = digest(content) == checksum and folder.name.endswith(f"-{content['id'][:12]}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            raise StoreError(self._artifact_advice(manifest, "unreadable")) from None
        if not whole:
            raise StoreError(self._artifact_advice(manifest, "damaged"))
        for file, expected in files.items():
            path = folder / file
            if not path.is_file() or file_digest(path) != expected:
                raise StoreError(self._artifact_advice(path, "damaged or missing"))

    @staticmethod
    def _artifact_advice(path: Path, what: str) -> str:
        return f"{path}: {what}; `harness doctor --repair` removes it, `harness run` remakes it"

    def commit_artifact(
        self, folder: Path, work: Path, spec: dict[str, JsonValue], info: dict[str, JsonValue]
    ) -> None:
        """Turns a finished working folder into the artifact at `folder`, whole or not at all.

        Raises:
            MethodError: `info` holds something that is not JSON, a NaN for instance.
            StoreError: the disk is full, the folder is not writable, ...
        """
        try:
            files = {
                path.relative_to(work).as_posix(): file_digest(path)
                for path in sorted(work.rglob("*"))
                if path.is_file()
            }
            manifest = {"id": digest(spec), "spec": spec, "files": files, "info": info}
            text = json.dumps({**manifest, "checksum": digest(manifest)}, indent=1)
            write_atomic(work / MANIFEST, (text + "\n").encode())
            if folder.exists():
                (folder / MANIFEST).unlink(missing_ok=True)  # half removed it is no artifact
                shutil.rmtree(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            work.replace(folder)
            _sync_folder(folder.parent)
        except ValueError as error:
            raise MethodError(f"artifact {folder.name}: {error}") from None
        except OSError as error:
            raise _cannot_write(folder, error) from error

    def artifacts(self) -> Iterator[Path]:
        """Every artifact folder, finished or not."""
        return iter(sorted(self.cache.glob("artifacts/*/*")))

    # -- checkpoints ----------------------------------------------------------------------------

    def trial_folder(self, identity: str) -> Path:
        """Working folder of a trial or artifact in the making; removed when it is finished."""
        return self.cache / "trials" / identity[:32]

    def unfinished(self) -> Iterator[Path]:
        """Every working folder."""
        return iter(sorted(self.cache.glob("trials/*")))

    def open_log(self, identity: str) -> BinaryIO:
        """What libraries print while a trial runs, to be added to; for the holder of its lock.

        Raises:
            StoreError: the disk is full, the folder is not writable, ...
        """
        path = self.trial_folder(identity) / "log.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        except OSError as error:
            raise _cannot_write(path, error) from error

    def save_checkpoint(
        self, identity: str, step: int, tensors: bytes, meta: dict[str, JsonValue]
    ) -> None:
        """Commits a state; the one before it is kept until this one is on the disk."""
        folder = self.trial_folder(identity)
        stem = folder / f"checkpoint-{step:012d}"
        write_atomic(stem.with_suffix(".safetensors"), tensors)
        body = {"step": step, "tensors": hashlib.sha256(tensors).hexdigest(), "meta": meta}
        text = json.dumps({**body, "checksum": _sum(body)})
        write_atomic(stem.with_suffix(".json"), text.encode())
        for old in sorted(folder.glob("checkpoint-*.json"))[:-_KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def checkpoint(self, identity: str) -> Checkpoint | None:
        """The newest intact state of a trial; damaged ones are moved aside."""
        folder = self.trial_folder(identity)
        for path in sorted(folder.glob("checkpoint-*.json"), reverse=True):
            tensors = path.with_suffix(".safetensors")
            try:
                content = json.loads(path.read_bytes())
                checksum = content.pop("checksum")
                whole = _sum(content) == checksum and file_digest(tensors) == content["tensors"]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
                whole = False
            if whole:
                return Checkpoint(int(content["step"]), tensors, content["meta"])
            self.quarantine(path)
            if tensors.exists():
                self.quarantine(tensors)
        return None

    def clear_checkpoints(self, identity: str) -> None:
        """Forgets how far a trial or artifact had come."""
        for path in self.trial_folder(identity).glob("checkpoint-*"):
            path.unlink(missing_ok=True)

    def clear_trial(self, identity: str) -> None:
        """Removes a finished trial's working folder; for the holder of its lock."""
        shutil.rmtree(self.trial_folder(identity), ignore_errors=True)

    def sweep(self, age: float = 0.0) -> int:
        """Removes temporary files that killed writers left behind; returns how many.

        `age`: seconds that a file must have lain untouched; living writers need a moment.
        """
        count = 0
        for root in (self.results, self.cache):
            for path in root.glob("**/.tmp-*"):
                with contextlib.suppress(OSError):  # its writer lives and has just finished
                    if time.time() - path.stat().st_mtime >= age:
                        path.unlink()
                        count += 1
        return count


def _read_record(path: Path) -> Record:
    """The verified record of a plain file that bears the record's own name."""
    if path.is_symlink() or not path.is_file():
        raise StoreError("not a plain file")
    record = parse_record(path.read_bytes())
    home = (path.parent.parent.name, path.parent.name, path.name)
    if home != (record.suite, record.scale, record.file_name):
        raise StoreError("the record in it belongs under another name")
    return record


def _sum(body: Mapping[str, object]) -> str:
    """sha256 of a checkpoint's JSON, which may hold infinities: a best score before the first."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; "
        "free space or make the folder writable, then run the same command again"
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
