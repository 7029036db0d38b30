"""External datasets: where a suite's datasets lie, whether they are intact, how to get them.

Order of sources: a local folder (`--data` or `HARNESS_DATA`), then what `harness data prepare`
fetched from the public hub into the cache. A trial never fetches by itself.

A file whose digest a suite does not know is held to the digest that it had when it was first seen:
beside a fetched file (`<file>.origin.json`, with the revision that it was fetched from), in the
cache for files of the local folder, which is not ours to write to.
"""

import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from harness import download, registry
from harness.cache import Cache
from harness.errors import DataError, HarnessError, brief, described
from harness.files import file_digest, is_file, write_atomic
from harness.identity import digest
from harness.suite import REBUILT, Dataset

ORIGIN = ".origin.json"
"""Ending of the file beside a fetched one that says what it was when it arrived."""


class Found(NamedTuple):
    """A dataset that is there."""

    folder: Path
    """The folder that the dataset's file paths are relative to."""
    origin: str
    """`local`, `hub`, or `plugin` for the folder of one that brought it."""


class Snapshot(NamedTuple):
    """Files of a repository on the hub, at one revision."""

    folder: Path
    revision: str
    """The hash of the commit."""
    digest: str
    """sha256 of the canonical JSON of file -> sha256."""

    @property
    def state(self) -> str:
        """Revision and digest, as `Provenance.packages` holds them."""
        return f"{self.revision} sha256:{self.digest}"


class Sources(NamedTuple):
    """The places where data may lie."""

    local: Path | None
    hub: Path
    """Folder inside the cache that `harness data prepare` fills."""

    @classmethod
    def of(cls, local: Path | None, cache: Path) -> "Sources":
        """From the `--data` option, else `HARNESS_DATA`, and the cache folder."""
        if local is None and (given := os.environ.get("HARNESS_DATA")):
            local = Path(given)
        if local is not None and not local.is_dir():
            raise DataError(
                f"data folder {local} does not exist; set --data or HARNESS_DATA, or leave both out"
            )
        return cls(local, cache / "data")

    def find(self, dataset: Dataset) -> Found | None:
        """Where all of a dataset's files are, without reading them; None where they are not.

        Raises:
            Unreadable: that cannot be told: no permission, a failing disk, ...
        """
        places: tuple[tuple[Path | None, str], ...] = (
            ((Path(dataset.folder), "plugin"),)
            if dataset.folder
            else ((self.local, "local"), (self.hub, "hub"))
        )
        for place, origin in places:
            folder = None if place is None else place / dataset.edition
            if folder is not None and all(
                is_file(folder / file, strict=False) for file in dataset.files
            ):
                return Found(folder, origin)
        return None

    def verified(self, dataset: Dataset) -> Found:
        """Where a dataset is, every file checked against its digest.

        Raises:
            DataError: it is missing or corrupt; one line says which file and what to do.
        """
        found = self.find(dataset)
        if found is None:
            raise DataError(f"dataset {dataset.name}: {self.missing(dataset)}")
        for file, expected in dataset.files.items():
            actual = file_digest(found.folder / file)
            if expected is None:
                self._hold(dataset, found, file, actual)
            elif actual != expected:
                raise DataError(
                    f"dataset {dataset.name}: {found.folder / file} is corrupt (sha256 "
                    f"{actual[:12]}..., expected {expected[:12]}...); replace it by the original"
                )
        return found

    def first_seen(self, dataset: Dataset) -> dict[str, str]:
        """sha256 of those files of a verified dataset whose digest the suite does not know."""
        found = self.find(dataset)
        unknown = [file for file, expected in dataset.files.items() if expected is None]
        notes = {file: read_note(self._note(dataset, found, file)) for file in unknown if found}
        return {file: str(note["sha256"]) for file, note in notes.items() if note}

    def file(self, dataset: Dataset, file: str) -> Path:
        """A file that a dataset has without naming it, held to the digest it was first seen with.

        Raises:
            DataError: it is not there, or it has changed since.
        """
        found = self.find(dataset.model_copy(update={"files": {file: None}}))
        if found is None:
            missing = self.missing(dataset.model_copy(update={"files": {file: None}}))
            raise DataError(f"dataset {dataset.name}: {missing}")
        self._hold(dataset, found, file, file_digest(found.folder / file))
        return found.folder / file

    def recheck(self, dataset: Dataset) -> None:
        """Compares the files that `file` has handed out of a dataset with what they were then.

        Raises:
            DataError: one has changed or is gone, or what was noted about it is corrupt.
        """
        for path in sorted((self.hub.parent / "digests").glob(f"{dataset.name}-????????????.json")):
            note = read_note(path) or {}
            if note.get("dataset") == dataset.name and note["file"] not in dataset.files:
                self.file(dataset, note["file"])

    def _hold(self, dataset: Dataset, found: Found, file: str, actual: str) -> None:
        """Compares a file with what it was when it was first seen; keeps that where it is new."""
        path, note = found.folder / file, self._note(dataset, found, file)
        if (first := read_note(note)) is None:
            write_note(note, {"dataset": dataset.name, "file": file, "sha256": actual})
        elif first.get("sha256") != actual:
            raise DataError(
                f"dataset {dataset.name}: {path} is not what it was when it was first seen "
                f"(sha256 {actual[:12]}..., then {str(first.get('sha256'))[:12]}...); restore it, "
                f"or remove {note} to take it as it is"
            )

    def _note(self, dataset: Dataset, found: Found, file: str) -> Path:
        if found.origin == "hub":
            return _beside(found.folder / file)
        what = "\0".join(filter(None, (dataset.name, file, dataset.edition)))
        key = hashlib.sha256(what.encode()).hexdigest()[:12]
        return self.hub.parent / "digests" / f"{dataset.name}-{key}.json"

    def fetch(self, dataset: Dataset) -> Found:
        """Gets a dataset from its public hub, verified; a corrupt one leaves nothing behind.

        Raises:
            DataError: offline, or not what its entry says.
        """
        if not dataset.fetchable:
            raise DataError(f"dataset {dataset.name}: cannot be fetched; {self.missing(dataset)}")
        Cache(self.hub.parent).claim()
        place = self.hub / dataset.edition
        place.mkdir(parents=True, exist_ok=True)
        try:
            facts = _arrived(dataset, place)
        except HarnessError:
            raise
        except (Exception, SystemExit) as error:  # whatever the network's libraries come up with
            raise DataError(
                f"dataset {dataset.name}: not fetched ({described(error)}); go online and try again"
            ) from error
        fresh = []
        try:
            for file, expected in dataset.files.items():
                path, note = place / file, _beside(place / file)
                if expected is None and path.is_file() and read_note(note) is None:
                    fresh.append(note)
                    what = {"dataset": dataset.name, "file": file, "sha256": file_digest(path)}
                    write_note(note, {**what, **(facts or {})})
            return self.verified(dataset)
        except DataError:
            for path in (*(place / file for file in dataset.files), *fresh):
                path.unlink(missing_ok=True)
            raise

    def adopt(self, dataset: Dataset) -> bool:
        """Takes a rebuilt edition for the dataset itself, where it is that byte for byte.

        Raises:
            Unreadable: a file of it cannot be read.
            StoreError: the disk is full, the folder is not writable, ...
        """
        built = self.find(dataset.rebuilt)
        if dataset.rebuild is None or built is None or self.find(dataset) is not None:
            return False
        if any(file_digest(built.folder / f) != sha256 for f, sha256 in dataset.files.items()):
            return False
        for file in dataset.files:
            write_atomic(self.hub / file, (built.folder / file).read_bytes())
        return True

    def snapshot(self, repository: str, *patterns: str) -> "Snapshot":
        """Files of a Hugging Face repository, always of the revision that was fetched first.

        Args:
            repository: e.g. `google-bert/bert-large-cased`.
            patterns: globs of the files to get.

        Raises:
            DataError: offline, no such repository, or a file that is not what it was.
        """
        note = self.hub.parent / "digests" / f"hub-{repository.replace('/', '--')}.json"
        first = read_note(note)
        hub = library("huggingface_hub", repository)
        try:
            revision = first["revision"] if first else None
            wanted = {"revision": revision, "allow_patterns": list(patterns)}
            folder = Path(hub.snapshot_download(repository, **wanted))
        except Exception as error:  # whatever the network and its libraries come up with
            raise DataError(
                f"{repository}: not to be had from the hub ({brief(error)}); go online"
            ) from None
        files = {
            path.relative_to(folder).as_posix(): file_digest(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and any(path.match(pattern) for pattern in patterns)
        }
        if first is None:
            first = {"repository": repository, "revision": folder.name, "files": files}
            write_note(note, first)
        for file in sorted({*files, *first["files"]}):
            if files.get(file) != first["files"].get(file):
                raise DataError(
                    f"{folder / file}: not what it was when {repository} was first fetched; remove "
                    f"it and go online, or remove {note} to take it as it is"
                )
        return Snapshot(folder, str(first["revision"]), digest(files))

    def missing(self, dataset: Dataset) -> str:
        """What to do about a dataset that is not there."""
        file = next(iter(dataset.files), dataset.name)
        if dataset.folder:
            return f"{Path(dataset.folder) / file} not found; its plugin says that it is there"
        prepare = f"`harness data prepare {dataset.name}"
        way = ""
        if dataset.fetchable:
            way = f", or {prepare}{' --rebuilt' if dataset.edition else ''}` online"
        elif dataset.rebuild is not None:
            way = f"; {prepare} --rebuilt` builds an equivalent, which scales `*{REBUILT}` read"
        elif dataset.note:
            way = f". {dataset.note}"
        place = (Path(dataset.edition) / file).as_posix()
        return f"{place} not found; point --data or HARNESS_DATA at a folder that has it{way}"


def _arrived(dataset: Dataset, folder: Path) -> dict[str, JsonValue] | None:
    """Gets a dataset's files by its own function, or from their addresses; facts about them."""
    if dataset.fetch is not None:
        found: dict[str, JsonValue] | None = registry.call(dataset.fetch)(dataset, folder)
        return found
    for file, url in dataset.urls.items():
        download.get(url, folder / file, dataset.files[file])
    return {"urls": dict(dataset.urls)}


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ORIGIN)


def pinned(path: Path) -> str | None:
    """The revision that a file was first fetched from; None where it never was.

    Raises:
        DataError: what is noted beside it is corrupt.
    """
    revision = (read_note(_beside(path)) or {}).get("revision")
    return revision if isinstance(revision, str) else None


def newest(repository: str, dataset: str) -> str:
    """The hash of the newest commit of a data set on the Hugging Face hub.

    Raises:
        DataError: the package `huggingface_hub` is missing.
    """
    return str(library("huggingface_hub", dataset).HfApi().dataset_info(repository).sha)


def read_note(path: Path) -> dict[str, Any] | None:
    """What was noted about a file, None where nothing was.

    Raises:
        DataError: the note is corrupt.
    """
    try:
        content = json.loads(path.read_bytes())
        whole = content.pop("checksum") == digest(content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
        whole = False
    if not whole:
        raise DataError(
            f"{path}: corrupt; restore it, or remove it to take the file that it speaks of as it is"
        )
    return dict(content)


def write_note(path: Path, content: Mapping[str, JsonValue]) -> None:
    """Keeps what is known about a file, with a checksum.

    Raises:
        StoreError: the disk is full, the folder is not writable, ...
    """
    text = json.dumps({**content, "checksum": digest(dict(content))}, indent=1)
    write_atomic(path, (text + "\n").encode())


@contextmanager
def arriving(path: Path) -> Iterator[Path]:
    """Where to write a file that is fetched; it becomes `path` once the block ends well.

    A block that raises leaves nothing behind, and an older file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as scratch:
        whole = Path(scratch) / path.name
        yield whole
        whole.replace(path)


def library(name: str, dataset: str) -> Any:
    """The package that fetching a dataset needs, imported.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise DataError(
            f"{dataset}: package {name} is not installed; run `pip install {name}`"
        ) from None
