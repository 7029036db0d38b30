"""A file from the web: resumed where it stopped, whole or not at all, compared with its digest."""

import contextlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from harness.errors import DataError, brief
from harness.files import file_digest
from harness.terminal import err

_PIECE = 1 << 20
_SILENT_SECONDS = 5.0
_PATIENCE = 60.0
"""Seconds without a byte after which a connection counts as lost."""


def get(url: str, target: Path, sha256: str | None = None) -> str:
    """Downloads a file, or does nothing where it is there already; returns its sha256.

    What arrived before a connection was lost is kept beside the target and resumed the next time
    where the digest is known, without which nobody could tell two versions of a file apart.
    Certificates are checked. How far it is goes to the error stream, every few seconds.

    Args:
        url: of the file, https or http.
        target: where it goes, once it is whole.
        sha256: what it must be; None where that is not known.

    Raises:
        DataError: offline, an answer that is no file, or not the file that was expected.
    """
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url}: not an address of the web; it begins with https://")
    if target.is_file() and (found := file_digest(target)) in (sha256, sha256 or found):
        return found
    part = target.with_name(f".{target.name}.part")
    if sha256 is None:
        part.unlink(missing_ok=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(
            f"{url}: not downloaded ({brief(error)}); go online, or run the same command again to "
            "resume"
        ) from None
    found = file_digest(part)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise DataError(
            f"{url}: is not what was expected (sha256 {found[:12]}..., expected {sha256[:12]}...); "
            "nothing was kept"
        )
    part.replace(target)
    return found


def _receive(url: str, part: Path) -> None:
    """Appends what is missing to a file; from the beginning where the server cannot resume."""
    begun = part.stat().st_size if part.exists() else 0
    with _opened(url, begun) as answer:
        done = begun if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdigit() else None
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(done)
            file.truncate()
            done += _copied(answer, file, part.name[1 : -len(".part")], done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _copied(answer: IO[bytes], file: IO[bytes], name: str, done: int, total: int | None) -> int:
    copied, said = 0, time.monotonic()
    while piece := answer.read(_PIECE):
        file.write(piece)
        copied += len(piece)
        if time.monotonic() - said > _SILENT_SECONDS:
            said = time.monotonic()
            of = f" of {total / 1e6:,.0f}" if total else ""
            err.print(f"  {name}: {(done + copied) / 1e6:,.0f}{of} MB", markup=False)
    return copied


@contextlib.contextmanager
def _opened(url: str, begun: int) -> Iterator[Any]:
    """The server's answer, from some byte on if it can."""
    headers = {"User-Agent": "attention-harness"}
    if begun:
        headers["Range"] = f"bytes={begun}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the caller has looked
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not begun:
            raise
        answer = urllib.request.urlopen(url, timeout=_PATIENCE)  # noqa: S310
    with answer:
        yield answer
