"""Files of published archives, read in memory: nothing is unpacked, and nothing in them is run."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from harness.errors import DataError, brief

LARGEST = 32 << 20
"""Bytes of a file that is read."""
WHOLE = 8 << 30
"""Bytes of all files of a `.tar.gz`: one that unpacks to more is a bomb."""


class Member(NamedTuple):
    """A file of an archive."""

    path: str
    """Below the archive's own top folder."""
    content: bytes

    @property
    def stem(self) -> str:
        """The file's name without folder and ending."""
        return PurePosixPath(self.path).stem

    @property
    def text(self) -> str:
        """Its content as UTF-8, as Latin-1 where it is none."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return self.content.decode("latin-1")


def members(archive: Path, wanted: Callable[[str], bool]) -> list[Member]:
    """The wanted regular files of a `.tar.gz` or `.zip`, by path; links and devices count for none.

    Args:
        archive: The file, whose top folder is left out of the paths.
        wanted: Tells by its path whether a file is read.

    Raises:
        DataError: it is no archive, a path leads out of it, or it unpacks to too much.
    """
    read = _zipped if zipfile.is_zipfile(archive) else _tarred
    try:
        return sorted(read(archive, wanted))
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise _unreadable(archive, error) from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(archive, error) from None


def _zipped(archive: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            path = _inside(archive, info.filename)
            if not info.is_dir() and wanted(path):
                with packed.open(info) as file:
                    yield Member(path, _read(archive, path, file))


def _tarred(archive: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    whole = 0
    with tarfile.open(archive, "r|gz") as packed:
        for entry in packed:
            whole += entry.size
            if whole > WHOLE:  # also what nobody wants is unpacked on the way
                raise DataError(
                    f"{archive.name}: unpacks to more than {WHOLE / 1e9:.0f} GB, which no archive "
                    "of texts does; download it again"
                )
            path = _inside(archive, entry.name)
            if entry.isreg() and wanted(path) and (file := packed.extractfile(entry)) is not None:
                yield Member(path, _read(archive, path, file))


def _read(archive: Path, path: str, file: IO[bytes]) -> bytes:
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(
            f"{archive.name}: {path[:80]!r} has more than {LARGEST / 1e6:.0f} MB, which no text "
            "here has; download it again"
        )
    return content


def _inside(archive: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise DataError(f"{archive.name}: {name[:80]!r} leads out of the archive; nothing was read")
    return "/".join(parts[1:]) if len(parts) > 1 else name


def _unreadable(archive: Path, error: BaseException) -> DataError:
    return DataError(f"{archive.name}: no archive, or cut ({brief(error)}); download it again")
