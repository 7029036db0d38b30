"""Headings of a suite's records, kept in the cache behind the digest of each file's bytes.

A plan asks of a record what it is called, how it ended and what source it is of. A file that was
verified before is read and hashed, as ever, but need not be parsed for that. What is kept is
derived: bytes that changed have another digest, and a corrupt file of headings holds none.
"""

from typing import Any

from harness.cache import Cache
from harness.record import Heading
from harness.verified import SPARE, recalled, remember, rules

_OWN = 4
"""Fields that a record has for itself, at the start of its heading; others share the rest."""


class Headings:
    """Headings of one suite in one cache folder; to be asked, added to and saved."""

    def __init__(self, cache: Cache, suite: str) -> None:
        self._cache, self._name = cache, f"headings {suite}"
        kept = recalled(cache, self._name, rules()) or {"shared": [], "rows": []}
        self._shared: list[list[Any]] = kept["shared"]
        self._rows: dict[str, list[Any]] = {row[0]: row for row in kept["rows"]}
        """By digest: the digest, the place in `_shared`, and the fields of its own."""
        self._asked: set[str] = set()
        self._new: dict[str, Heading] = {}

    def get(self, found: bytes) -> Heading | None:
        """The heading of the record in the bytes that gave this finding."""
        key = found.hex()
        self._asked.add(key)
        if (row := self._rows.get(key)) is None:
            return None
        return Heading(*row[2:], *self._shared[row[1]])

    def add(self, found: bytes, heading: Heading) -> None:
        """Notes the heading of a record that was verified."""
        self._new[found.hex()] = heading

    def save(self) -> None:
        """Keeps what was added; also what nobody asked for, until that is most of the file."""
        if not self._new:
            return
        rows = list(self._rows.values())
        if len(rows) > SPARE + 2 * len(self._asked):
            rows = [row for row in rows if row[0] in self._asked]
        shared = {tuple(fields): place for place, fields in enumerate(self._shared)}
        for key, heading in self._new.items():
            place = shared.setdefault(heading[_OWN:], len(shared))
            rows.append([key, place, *heading[:_OWN]])
        remember(self._cache, self._name, rules(), {"shared": list(shared), "rows": rows})
