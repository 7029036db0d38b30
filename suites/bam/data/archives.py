"""Files of published archives, read in memory: nothing is unpacked, and nothing in them is run."""

import contextlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from harness.errors import DataError, brief

LARGEST = 32 << 20
"""Bytes of one file, unpacked."""
WHOLE = 8 << 30
"""Bytes of all files of an archive, unpacked: an archive that unpacks to more is a bomb."""


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
    try:
        with contextlib.closing(_listed(archive)) as listed:
            found = [one for one in listed if wanted(one.path)]
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise _unreadable(archive, error) from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(archive, error) from None
    return sorted(found)


def _listed(archive: Path) -> Iterator[Member]:
    """Every regular file; the content is read when it is asked for the next time only."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            whole = 0
            for info in packed.infolist():
                whole += info.file_size
                _bounded(archive, info.filename, info.file_size, whole)
                if not info.is_dir():
                    with packed.open(info) as file:
                        yield Member(_inside(archive, info.filename), file.read(LARGEST + 1))
        return
    with tarfile.open(archive, "r|gz") as packed_tar:
        whole = 0
        for entry in packed_tar:
            whole += entry.size
            _bounded(archive, entry.name, entry.size if entry.isreg() else 0, whole)
            if entry.isreg() and (stream := packed_tar.extractfile(entry)) is not None:
                yield Member(_inside(archive, entry.name), stream.read(LARGEST + 1))


def _bounded(archive: Path, name: str, size: int, whole: int) -> None:
    if size > LARGEST or whole > WHOLE:
        raise DataError(
            f"{archive.name}: {name[:80]!r} brings it to {whole / 1e6:,.0f} MB, more than an "
            "archive of texts has; download it again"
        )


def _inside(archive: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in name or "\0" in name:
        raise DataError(f"{archive.name}: {name[:80]!r} leads out of the archive; nothing was read")
    return "/".join(parts[1:]) if len(parts) > 1 else name


def _unreadable(archive: Path, error: BaseException) -> DataError:
    return DataError(f"{archive.name}: no archive, or cut ({brief(error)}); download it again")
