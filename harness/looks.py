"""The looks that were taken at claims: one immutable file each, so that none is forgotten.

    results/<suite>/<scale>/looks/<claim>--v<version>--n<size>--<digest>.json

A look stays what it was when it was taken, as long as the trainings that it judged are there with
their numbers: a failed trial that is repaired later, or seeds in front of it, change nothing. Where
records are replaced because a method changed, the looks at the old ones still have spent their α:
their files stay, the same look at other numbers becomes a file of its own beside them, and the
verdict says so.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from harness.errors import StoreError, Unreadable
from harness.files import cannot_read, entries, read_plain, write_verified
from harness.identity import canonical, digest
from harness.settings import Spec
from harness.suite import Name

SCHEMA_VERSION = 1
"""Of the file's layout. Raised when a field is added or changes its meaning."""

FOLDER = "looks"
"""Beside the records of a scale."""


class Look(Spec):
    """One judgement of one claim, at a sample size of its schedule."""

    schema_version: int = SCHEMA_VERSION
    suite: Name
    scale: Name
    claim: Name
    version: int = Field(ge=1)
    """Of the claim: another question, or another margin, has its own α."""
    schedule: tuple[int, ...]
    """All looks, fixed before the first."""
    n: int = Field(ge=1)
    """Distinct trainings that it judged."""
    seeds: tuple[int, ...]
    """Of these trainings."""
    records: str = Field(pattern=r"^[0-9a-f]{64}$")
    """sha256 of the trainings judged, each named by its first record, with their numbers."""
    p: float | None = Field(ge=0, le=1)
    """Two-sided, of this look alone; None where there was no test."""
    spent: float = Field(ge=0, le=1)
    """Level of this look: what it added to the chance of a false decision."""
    outcome: str
    """The verdict, in the words of the report."""
    date: str
    """UTC, ISO 8601: when the look was taken first."""
    checksum: str = ""
    """sha256 of the canonical JSON of all other fields."""

    @property
    def file_name(self) -> str:
        """Name of its file; the same data looked at in the same way have one file."""
        judged = self._content("date", "outcome", "checksum")
        return f"{self.claim}--v{self.version}--n{self.n}--{digest(judged)[:12]}.json"

    def sealed(self) -> Self:
        """The same look with its checksum filled in."""
        return self.model_copy(update={"checksum": self._sum()})

    def intact(self) -> bool:
        """Whether the checksum agrees with the content."""
        return self.checksum == self._sum()

    def _sum(self) -> str:
        return digest(self._content("checksum"))

    def _content(self, *without: str) -> dict[str, object]:
        return self.model_dump(mode="json", exclude=set(without))


def of_records(trainings: list[str] | tuple[str, ...]) -> str:
    """What `Look.records` holds, of the trainings in any order."""
    return digest(sorted(trainings))


def keep(results: Path, look: Look) -> Path:
    """Writes a look down; one at the same data that is there already stays as it is.

    Raises:
        Unreadable: what stands in its place cannot be read.
        StoreError: what stands in its place is corrupt, or it cannot be written.
    """
    sealed = look.sealed()
    path = results / look.suite / look.scale / FOLDER / look.file_name
    if _read(path) is None:
        text = json.dumps(json.loads(canonical(sealed.model_dump(mode="json"))), indent=1)
        write_verified(path, (text + "\n").encode())
    return path


def taken(results: Path, suite: str, scale: str) -> list[Look]:
    """All looks taken at the claims of a suite at a scale: by claim, version, n and date.

    Raises:
        Unreadable: a file cannot be read, or a newer harness wrote it.
        StoreError: a file is corrupt. It is not passed over: a look that is forgotten would be
            taken again.
    """
    folder = results / suite / scale / FOLDER
    names = [entry.name for entry in entries(folder) or ()]
    found = [_read(folder / n) for n in names if n.endswith(".json") and not n.startswith(".")]
    looks = [look for look in found if look is not None]
    return sorted(looks, key=lambda look: (look.claim, look.version, look.n, look.date))


def of_claim(looks: Iterable[Look], claim: str, version: int) -> list[Look]:
    """The looks at one version of a claim, the first one first."""
    own = [look for look in looks if (look.claim, look.version) == (claim, version)]
    return sorted(own, key=lambda look: (look.date, look.n))


def _read(path: Path) -> Look | None:
    """The verified look of a file; None where nothing is there."""
    data = read_plain(path)
    if data is None:
        return None
    try:
        content = json.loads(data)
        number = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(number, int) and number > SCHEMA_VERSION:
            raise Unreadable(
                cannot_read(path, f"schema version {str(number)[:20]}, this harness reads 1")
            )
        look = Look.model_validate(content)
        reason = "" if look.intact() else "checksum does not match the content"
        home = (path.parent.parent.parent.name, path.parent.parent.name, path.name)
        if not reason and home != (look.suite, look.scale, look.file_name):
            reason = "the look in it belongs under another name"
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"field {'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        reason = f"not JSON ({type(error).__name__})"
    if reason:
        raise StoreError(
            f"corrupt look: {path}: {reason}; restore it from git, do not delete it: the look has "
            "been taken"
        )
    return look
