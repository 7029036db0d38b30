"""The cache folder: proof that it is the harness's own, its locks, and what may be removed.

    <cache>/CACHEDIR.TAG                           the marker: the folder is ours
    <cache>/artifacts/<suite>/<name>-<id>/         files and `artifact.json`
    <cache>/trials/<id>/                           checkpoints, log, traceback of unfinished trials
    <cache>/locks/<id>/                            held by a process; see `harness.lease`
    <cache>/suites/<suite>                         empty; the suite has worked here
    <cache>/data/, <cache>/digests/                fetched datasets and what is known of them
    <cache>/verified/                              what was found true; see `harness.verified`

Nothing is removed from a folder without the marker, nothing that does not bear a name which the
harness gives, and nothing behind a symbolic link.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import StoreError
from harness.files import (
    TEMPORARY,
    entries,
    folders,
    is_absent,
    is_folder,
    read_plain,
    write_atomic,
)
from harness.lease import Held, Lock
from harness.patience import Patience

DEFAULT = ".harness"
MARKER = "CACHEDIR.TAG"
MANIFEST = "artifact.json"
SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""See https://bford.info/cachedir/: backups leave such a folder out."""
OWN_LINE = b"# Cache of the benchmark harness; `harness gc` may remove what is in it."
_ARTIFACT = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}-[0-9a-f]{12}")
_TRIAL = re.compile(r"[0-9a-f]{32}")
_CHECKPOINT = re.compile(r"checkpoint-\d{12,}\.(json|safetensors)(\.corrupt-\d+)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}")


def location() -> Path:
    """The cache folder that the environment names: HARNESS_CACHE, else `.harness`."""
    return Path(os.environ.get("HARNESS_CACHE") or DEFAULT)


class Cache:
    """One cache folder."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._claimed = False

    # -- whose it is ------------------------------------------------------------------------------

    def owned(self) -> bool:
        """Whether the folder is the harness's own; False where there is none, or an empty one.

        Raises:
            StoreError: it holds something that the harness did not put there.
        """
        if self._claimed:
            return True
        if is_absent(self.cache) or not is_folder(self.cache):
            return False
        found = entries(self.cache)
        # The marker is written first, so it is looked for after what may have come later.
        marker = read_plain(self.cache / MARKER) if found else None
        if marker is not None:
            lines = marker.splitlines()
            whole = lines[:1] == [SIGNATURE] and OWN_LINE in lines
        else:
            found = [entry for entry in found or () if not TEMPORARY.fullmatch(entry.name)]
            whole = not found or self._is_of_earlier_version([entry.name for entry in found])
        if not whole:
            raise StoreError(
                f"{self.cache}: not empty, and not a cache of the harness (its {MARKER} does not "
                "say so); choose an empty or new folder with HARNESS_CACHE"
            )
        return bool(found)

    def claim(self) -> None:
        """Makes the folder with its marker where there is none; to be called before any write.

        Raises:
            StoreError: it holds something that the harness did not put there.
        """
        if self._claimed:
            return
        self.owned()
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # the write that follows fails too, and names what it wanted to write
        if is_absent(self.cache / MARKER):
            write_atomic(self.cache / MARKER, b"\n".join((SIGNATURE, OWN_LINE, b"")))
        self._claimed = True

    def _is_of_earlier_version(self, names: list[str]) -> bool:
        """Whether a folder without the marker is a cache from before there was one."""
        proof = False
        for name in names:
            folder = self.cache / name
            if name == ".probe":
                continue
            if folder.is_symlink() or not folder.is_dir():
                return False
            if name in ("data", "digests"):
                continue
            inside = entries(folder) or []
            if name not in _OURS or not all(_OURS[name](entry) for entry in inside):
                return False
            proof = proof or bool(inside)
        return proof or not {"data", "digests"} & set(names) or self.cache.name == DEFAULT

    # -- locks ------------------------------------------------------------------------------------

    def lock(self, identity: str) -> Lock:
        """The lock of a trial or artifact, named by the digits that an artifact's folder bears."""
        self.claim()
        return Lock(self.cache / "locks" / identity[:12], Patience.read().lease)

    def locked(self, identity: str) -> bool:
        """Whether a living process works on it."""
        try:
            with self.lock(identity):
                return False
        except Held:
            return True

    # -- what is in it ----------------------------------------------------------------------------

    def artifact_folder(self, suite: str, name: str, identity: str) -> Path:
        """Where an artifact lives."""
        return self.cache / "artifacts" / suite / f"{name}-{identity[:12]}"

    def trial_folder(self, identity: str) -> Path:
        """Working folder of a trial or artifact in the making; removed when it is finished."""
        return self.cache / "trials" / identity[:32]

    def artifacts(self) -> Iterator[Path]:
        """Every artifact folder, finished or not."""
        for suite in self._folders("artifacts"):
            yield from (path for path in folders(suite) if _ARTIFACT.fullmatch(path.name))

    def unfinished(self) -> Iterator[Path]:
        """Every working folder of a trial or artifact."""
        return (path for path in self._folders("trials") if _TRIAL.fullmatch(path.name))

    def note_suite(self, suite: str) -> None:
        """Remembers that a suite works here, so that what is its own is known for that."""
        self.claim()
        if is_absent(self.cache / "suites" / suite):
            write_atomic(self.cache / "suites" / suite, b"")

    def noted_suites(self) -> set[str]:
        """Suites that have worked here or have artifacts here."""
        noted = [] if (self.cache / "suites").is_symlink() else entries(self.cache / "suites")
        names = {entry.name for entry in noted or ()}
        return {n for n in names if _NAME.fullmatch(n)} | {f.parent.name for f in self.artifacts()}

    def _folders(self, kind: str) -> list[Path]:
        folder = self.cache / kind
        return [] if folder.is_symlink() else folders(folder)

    # -- removing ---------------------------------------------------------------------------------

    def discard(self, folder: Path) -> bool:
        """Removes an artifact or a working folder, holding its lock; False where it is in use.

        Raises:
            StoreError: the cache is not the harness's own, or the folder cannot be removed.
        """
        if not self._removable(folder):
            raise StoreError(f"{folder}: not a folder that the harness made; remove it by hand")
        self.claim()
        try:
            with self.lock(folder.name.rpartition("-")[2]):
                (folder / MANIFEST).unlink(missing_ok=True)  # half removed it is no artifact
                shutil.rmtree(folder)
        except Held:
            return False
        except FileNotFoundError:
            pass  # its owner was faster
        except OSError as error:
            raise StoreError(
                f"cannot remove {error.filename or folder}: {error.strerror}; remove it by hand"
            ) from None
        return True

    def clear_trial(self, identity: str) -> None:
        """Removes a finished trial's working folder; for the holder of its lock."""
        folder = self.trial_folder(identity)
        if self.owned() and not folder.parent.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)

    def _removable(self, folder: Path) -> bool:
        """Whether it has the place and the name of an artifact's or a trial's folder."""
        trial = folder.parent == self.cache / "trials" and _TRIAL.fullmatch(folder.name)
        artifact = folder.parent.parent == self.cache / "artifacts" and _ARTIFACT.fullmatch(
            folder.name
        )
        between = (folder, folder.parent, *([folder.parent.parent] if artifact else []))
        return bool(trial or artifact) and not any(path.is_symlink() for path in between)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _of_artifacts(suite: os.DirEntry[str]) -> bool:
    """Whether a folder of `artifacts/` holds nothing but a suite's artifacts, or beginnings."""
    if not (_NAME.fullmatch(suite.name) and _is_folder(suite)):
        return False
    for entry in entries(Path(suite.path)) or ():
        if not (_ARTIFACT.fullmatch(entry.name) and _is_folder(entry)):
            return False
        inside = {item.name for item in entries(Path(entry.path)) or ()}
        if inside and MANIFEST not in inside:
            return False
    return True


def _of_trials(entry: os.DirEntry[str]) -> bool:
    """Whether it is a trial's folder; one with another name holds nothing but checkpoints."""
    if not _is_folder(entry):
        return False
    inside = [] if _TRIAL.fullmatch(entry.name) else entries(Path(entry.path)) or []
    return bool(_TRIAL.fullmatch(entry.name) or inside) and all(
        _CHECKPOINT.fullmatch(item.name) for item in inside
    )


def _of_locks(entry: os.DirEntry[str]) -> bool:
    plain = entry.is_file(follow_symlinks=False) and entry.name.endswith(".lock")
    return plain and entry.stat(follow_symlinks=False).st_size == 0


def _of_suites(entry: os.DirEntry[str]) -> bool:
    plain = entry.is_file(follow_symlinks=False) and bool(_NAME.fullmatch(entry.name))
    return plain and entry.stat(follow_symlinks=False).st_size == 0


_OURS = {
    "artifacts": _of_artifacts,
    "trials": _of_trials,
    "locks": _of_locks,
    "suites": _of_suites,
}
"""Folder of a cache -> whether something in it is what the harness puts there."""
