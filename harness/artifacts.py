"""Artifacts on disk: folders with a manifest that holds the checksum of every file."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from harness.cache import MANIFEST, Cache
from harness.errors import MethodError, StoreError, Unreadable
from harness.files import (
    cannot_read,
    cannot_write,
    check_written,
    file_digest,
    folders,
    is_absent,
    is_file,
    read_plain,
    sync_folder,
    write_atomic,
)
from harness.identity import digest


class Artifacts(Cache):
    """The artifacts of one cache folder."""

    def artifact(self, suite: str, name: str, identity: str) -> Path | None:
        """The folder of a finished artifact with every file verified, or None.

        Raises:
            Unreadable: it is there, but cannot be read.
            StoreError: it is there, but a file does not match its checksum.
        """
        folder = self.artifact_folder(suite, name, identity)
        if _manifest(folder) is None:
            return None
        self.check_artifact(folder)
        return folder

    def is_built(self, folder: Path) -> bool:
        """Whether an artifact folder has its manifest; verifies nothing."""
        return _manifest(folder) is not None

    def artifact_source(self, suite: str, name: str, identity: str) -> str | None:
        """Digest of the source that made a finished artifact, None without one; verifies nothing.

        It is empty where the manifest does not say, or is corrupt.

        Raises:
            Unreadable: the manifest is there, but cannot be read.
        """
        data = _manifest(self.artifact_folder(suite, name, identity))
        if data is None:
            return None
        try:
            return str(json.loads(data)["info"]["source_digest"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""

    def artifact_contents(self, folder: Path) -> dict[str, str]:
        """What went into a verified artifact that no identity holds; see `Inputs.contents`."""
        found = json.loads(_manifest(folder) or b"{}").get("info", {}).get("contents", {})
        return {str(name): str(state) for name, state in found.items()}

    def artifact_specs(self) -> Iterator[Mapping[str, Any]]:
        """What each finished artifact was made from; corrupt manifests are passed over."""
        for folder in self.artifacts():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, StoreError):
                spec = json.loads(_manifest(folder) or b"")["spec"]
                yield {**spec, "scale": dict(spec["scale"]), "suite": spec["suite"]}

    def artifact_seconds(self, suite: str, scale: str) -> list[tuple[str, float]]:
        """What each finished artifact of a suite's scale is named and took by the wall clock.

        Corrupt and unreadable manifests are passed over: who needs the artifact will say so.
        """
        found = []
        for folder in folders(self.cache / "artifacts" / suite):
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, StoreError):
                content = json.loads(_manifest(folder) or b"")
                if content["spec"]["scale"]["name"] == scale:
                    seconds = float(content["info"]["cost"]["wall_seconds"])
                    found.append((content["spec"]["artifact"]["name"], seconds))
        return found

    def check_artifact(self, folder: Path) -> None:
        """Verifies every file of an artifact folder.

        Raises:
            Unreadable: one cannot be read.
            StoreError: one is corrupt or missing, or the artifact was never finished.
        """
        manifest = folder / MANIFEST
        data = _manifest(folder)
        if data is None:
            raise StoreError(_advice(manifest, "missing"))
        try:
            content = json.loads(data)
            checksum = content.pop("checksum")
            files = {str(name): str(expected) for name, expected in content["files"].items()}
            whole = digest(content) == checksum and folder.name.endswith(f"-{content['id'][:12]}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise StoreError(_advice(manifest, "corrupt"))
        for file, expected in files.items():
            path = folder / file
            if not is_file(path) or file_digest(path) != expected:
                raise StoreError(_advice(path, "corrupt or missing"))

    def commit_artifact(
        self, folder: Path, work: Path, spec: dict[str, JsonValue], info: dict[str, JsonValue]
    ) -> None:
        """Turns a finished working folder into the artifact at `folder`, whole or not at all.

        Raises:
            MethodError: `info` holds something that is not JSON, a NaN for instance.
            Unreadable: what stands there cannot be read; it stays.
            StoreError: the disk is full, the folder is not writable, ...
        """
        self.claim()
        _manifest(folder)  # says so where it cannot be judged
        try:
            sizes, files = {}, {}
            for path in sorted(work.rglob("*")):
                if path.is_file():
                    name = path.relative_to(work).as_posix()
                    sizes[name], files[name] = _flushed(path), file_digest(path)
            manifest = {"id": digest(spec), "spec": spec, "files": files, "info": info}
            data = (
                json.dumps({**manifest, "checksum": digest(manifest)}, indent=1) + "\n"
            ).encode()
            write_atomic(work / MANIFEST, data)
            if folder.exists():
                (folder / MANIFEST).unlink(missing_ok=True)  # half removed it is no artifact
                shutil.rmtree(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            work.replace(folder)
            sync_folder(folder.parent)
            _check_committed(folder, data, sizes)
        except (ValueError, TypeError, RecursionError) as error:
            raise MethodError(f"artifact {folder.name}: {error}") from None
        except OSError as error:
            raise cannot_write(folder, error) from error


def _manifest(folder: Path) -> bytes | None:
    """The bytes of a folder's manifest; None where there is no folder, or none that is finished.

    Raises:
        Unreadable: it is there, but cannot be read, or something else is in the folder's place.
    """
    data = read_plain(folder / MANIFEST)
    if data is None and not is_absent(folder) and not folder.is_dir():
        raise Unreadable(cannot_read(folder, "not a folder"))
    return data


def _check_committed(folder: Path, manifest: bytes, sizes: dict[str, int]) -> None:
    """Reads an artifact's manifest back, and the sizes of its files; one that differs is none."""
    try:
        check_written(folder / MANIFEST, manifest)
        for name, size in sizes.items():
            if (found := (folder / name).stat().st_size) != size:
                raise StoreError(
                    f"cannot write {folder / name}: {found} bytes are read back of {size}; check "
                    "the disk, then run the same command again"
                )
    except (StoreError, OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
        raise


def _flushed(path: Path) -> int:
    """The size of a file that is on the disk now."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _advice(path: Path, what: str) -> str:
    return f"{path}: {what}; `harness doctor --repair` removes it, `harness run` rebuilds it"
