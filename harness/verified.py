"""What was found true once, as digests: these bytes are an intact record of that name, and the like.

    <cache>/verified/<name>                        32 bytes for each finding

Whoever asks has read the bytes in question and gives their digest. A bit that flips in a record
gives a digest that nobody noted, and a bit that flips in here can only make a finding forgotten:
neither makes anything true that is not, so that the file needs no format and no checksum of its
own. What is forgotten is worked out again.
"""

import contextlib
import functools
import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from harness.cache import Cache
from harness.errors import StoreError
from harness.files import read_plain, write_atomic

_SIZE = hashlib.sha256().digest_size
_SPARE = 100_000
"""Findings of others that are kept, beside as many as one's own: 3 MB."""
_ENGINE = Path(__file__).parent


def finding(*parts: bytes) -> bytes:
    """The digest of a finding: what was asked, and all the bytes that the answer rests on."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d\0" % len(part))
        whole.update(part)
    return whole.digest()


@functools.cache
def rules(*packages: str) -> bytes:
    """Digest of what works findings out: the engine's source, Python, and packages by name.

    Another engine believes nothing of what this one found.
    """
    files = sorted(path for path in _ENGINE.rglob("*") if path.suffix in (".py", ".html", ".css"))
    texts = [part for path in files for part in (path.name.encode(), path.read_bytes())]
    versions = [platform.python_version(), platform.machine(), *map(version, packages)]
    return finding(*texts, "\n".join(versions).encode())


class Verified:
    """Findings of one kind in one cache folder; to be asked, added to and saved."""

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache = cache
        self._path = cache.cache / "verified" / name
        self._known = self._read()
        self._seen: set[bytes] = set()

    def __contains__(self, digest: bytes) -> bool:
        found = digest in self._known
        if found:
            self._seen.add(digest)
        return found

    def add(self, digest: bytes) -> None:
        """Notes what was worked out."""
        self._seen.add(digest)

    def save(self) -> None:
        """Keeps what was added, where the cache can be written; else nothing is lost but time.

        What nobody asked for stays too, up to a bound: other commands and other results folders
        use the same cache.
        """
        if self._seen <= self._known:
            return
        others = self._read() - self._seen
        kept = sorted(self._seen | (others if len(others) <= _SPARE + len(self._seen) else set()))
        with contextlib.suppress(StoreError, OSError):
            self._cache.claim()
            write_atomic(self._path, b"".join(kept))

    def _read(self) -> set[bytes]:
        try:
            data = (self._cache.owned() and read_plain(self._path)) or b""
        except StoreError:
            return set()
        return {data[i : i + _SIZE] for i in range(0, len(data), _SIZE)}
