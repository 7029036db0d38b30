"""What was found true once, as digests: these bytes are an intact record of that name, for example.

    <cache>/verified/<name>                        32 bytes for each finding
    <cache>/verified/values/<digest>               something worked out, behind its own digest

Whoever asks has read the bytes in question and gives their digest. A bit that flips in a record
gives a digest that nobody noted, and a bit that flips in here can only make a finding forgotten:
neither makes anything true that is not, so that the file needs no format and no checksum of its
own. What is forgotten is worked out again.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.cache import Cache, location
from harness.errors import StoreError
from harness.files import read_plain, write_atomic

_SIZE = hashlib.sha256().digest_size
SPARE = 100_000
"""Findings that are kept beside twice as many as a command asks for: 3 MB."""
_ENGINE = Path(__file__).parent


def finding(*parts: bytes) -> bytes:
    """The digest of a finding: what was asked, and all the bytes that the answer rests on."""
    return hashlib.sha256(b"".join([b"%d\0%b" % (len(part), part) for part in parts])).digest()


@functools.cache
def rules() -> bytes:
    """Digest of what works findings out: the engine's source, Python, and all installed packages.

    Another engine, or this one after an upgrade, believes nothing of what was found.
    """
    files = sorted(path for path in _ENGINE.rglob("*") if path.suffix in (".py", ".html", ".css"))
    texts = [part for path in files for part in (os.fsencode(path.name), path.read_bytes())]
    packages = []
    for folder in sys.path:
        with contextlib.suppress(OSError):
            packages += [p.name for p in Path(folder).iterdir() if p.name.endswith("-info")]
    about = [platform.python_version(), platform.machine(), *sorted(packages)]
    return finding(*texts, os.fsencode("\n".join(about)))


class Verified:
    """Findings of one kind in one cache folder; to be asked, added to and saved."""

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache = cache
        self._path = cache.cache / "verified" / name
        self._known = self._read()
        self._new: set[bytes] = set()
        self._asked = 0

    def __contains__(self, digest: bytes) -> bool:
        self._asked += 1
        return digest in self._known

    def add(self, digest: bytes) -> None:
        """Notes what was worked out."""
        self._new.add(digest)

    def save(self) -> None:
        """Keeps what was added, where the cache can be written; else nothing is lost but time.

        What nobody asked for stays too, since other commands and other results folders use the same
        cache; a file that has grown far beyond what was asked for starts afresh.
        """
        if not self._new:
            return
        kept = self._read() | self._new
        if len(kept) > SPARE + 2 * self._asked:
            kept = self._new
        with contextlib.suppress(StoreError, OSError):
            self._cache.claim()
            write_atomic(self._path, b"".join(sorted(kept)))

    def _read(self) -> set[bytes]:
        try:
            data = (self._cache.owned() and read_plain(self._path)) or b""
        except StoreError:
            return set()
        return {data[end - _SIZE : end] for end in range(_SIZE, len(data) + 1, _SIZE)}


def remembered(name: str, key: bytes, make: Callable[[], Any]) -> Any:
    """What `make` returns, in JSON's types; kept under a name until the key changes.

    Args:
        name: of the one place that the value has.
        key: the finding that the value follows from; with it the value is sealed.
        make: works it out.
    """
    cache = Cache(location())
    value = recalled(cache, name, key)
    if value is None:
        value = make()
        remember(cache, name, key, value)
    return value


def recalled(cache: Cache, name: str, key: bytes) -> Any:
    """What was kept under a name with that key; None without it, or where a bit of it flipped."""
    with contextlib.suppress(StoreError, ValueError):
        data = (cache.owned() and read_plain(_place(cache, name))) or b""
        if data[:_SIZE] == finding(key, data[_SIZE:]):
            return json.loads(data[_SIZE:])
    return None


def remember(cache: Cache, name: str, key: bytes, value: Any) -> None:
    """Keeps a value under a name, where the cache can be written; else nothing is lost but time."""
    path = _place(cache, name)
    with contextlib.suppress(StoreError, OSError):
        cache.claim()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, separators=(",", ":")).encode()
        path.write_bytes(finding(key, text) + text)  # half written it is not believed


def _place(cache: Cache, name: str) -> Path:
    return cache.cache / "verified" / "values" / finding(name.encode()).hex()[:32]
