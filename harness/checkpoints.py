"""Checkpoints on disk: the two newest states of each trial or artifact that is not finished."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import JsonValue

from harness.cache import Cache
from harness.errors import StoreError
from harness.files import (
    cannot_write,
    entries,
    file_digest,
    is_file,
    quarantine,
    read_plain,
    write_verified,
)

KEPT = 2
_STATE = re.compile(r"checkpoint-(\d{12,})\.json")
_PARTS = re.compile(r"checkpoint-\d{12,}\.(json|safetensors)(\.corrupt-\d+)?")


class Checkpoint(NamedTuple):
    """A verified state of a half-finished trial."""

    step: int
    tensors: Path
    """A safetensors file."""
    meta: dict[str, JsonValue]


class Checkpoints(Cache):
    """The checkpoints of one cache folder."""

    def open_log(self, identity: str) -> BinaryIO:
        """What libraries print while a trial runs, to be added to; for the holder of its lock.

        Raises:
            StoreError: the disk is full, the folder is not writable, ...
        """
        self.claim()
        path = self.trial_folder(identity) / "log.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        except OSError as error:
            raise cannot_write(path, error) from error

    def save_checkpoint(
        self, identity: str, step: int, tensors: bytes, meta: dict[str, JsonValue]
    ) -> None:
        """Commits a state; the one before it is kept until this one is on the disk.

        Raises:
            StoreError: the disk is full, it gives back something else, ...
        """
        self.claim()
        stem = self.trial_folder(identity) / f"checkpoint-{step:012d}"
        write_verified(stem.with_suffix(".safetensors"), tensors)
        body = {"step": step, "tensors": hashlib.sha256(tensors).hexdigest(), "meta": meta}
        text = json.dumps({**body, "checksum": _sum(body)})
        write_verified(stem.with_suffix(".json"), text.encode())
        for old in self.states(identity)[:-KEPT]:
            old.unlink(missing_ok=True)
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def states(self, identity: str) -> list[Path]:
        """The JSON files of a trial's checkpoints, the newest last; nothing is verified.

        Raises:
            Unreadable: its working folder cannot be listed.
        """
        folder = self.trial_folder(identity)
        found = [m for e in entries(folder) or () if (m := _STATE.fullmatch(e.name))]
        return [folder / m[0] for m in sorted(found, key=lambda m: int(m[1]))]

    def checkpoint(self, identity: str) -> Checkpoint | None:
        """The newest intact state of a trial; corrupt ones are moved aside.

        Raises:
            Unreadable: the newest one that is not corrupt cannot be read; it stays as it is.
        """
        for path in reversed(self.states(identity)):
            if (found := _read(path)) is not None:
                return found
            for part in (path, path.with_suffix(".safetensors")):
                if is_file(part):
                    quarantine(part)
        return None

    def checkpoint_specs(self) -> Iterator[Mapping[str, Any]]:
        """Coordinates of each unfinished trial, and its `folder`; corrupt ones are passed over."""
        for folder in self.unfinished():
            for path in self.states(folder.name):
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    spec = json.loads(read_plain(path) or b"")["meta"]["spec"]
                    where = {"suite": spec["suite"], "scale": dict(spec["scale"])}
                    yield {**spec, **where, "folder": folder.name}

    def clear_checkpoints(self, identity: str) -> None:
        """Forgets how far a trial or artifact had come.

        Raises:
            StoreError: the cache is not the harness's own, or a file cannot be removed.
        """
        folder = self.trial_folder(identity)
        if not self.owned() or folder.parent.is_symlink() or folder.is_symlink():
            return
        for entry in entries(folder) or ():
            if _PARTS.fullmatch(entry.name):
                try:
                    (folder / entry.name).unlink(missing_ok=True)
                except OSError as error:
                    raise StoreError(
                        f"cannot remove {folder / entry.name}: {error.strerror}; remove it by hand"
                    ) from None


def _read(path: Path) -> Checkpoint | None:
    """The state whose JSON lies at `path`; None where it is corrupt.

    Raises:
        Unreadable: a file of it cannot be read.
    """
    tensors = path.with_suffix(".safetensors")
    data = read_plain(path)
    there = is_file(tensors)
    try:
        content = json.loads(data or b"")
        checksum = content.pop("checksum")
        if _sum(content) != checksum or not there or file_digest(tensors) != content["tensors"]:
            return None
        return Checkpoint(int(content["step"]), tensors, content["meta"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _sum(body: Mapping[str, object]) -> str:
    """sha256 of a checkpoint's JSON, which may hold infinities: a best score before the first."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
