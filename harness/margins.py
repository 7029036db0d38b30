"""The margins that claims had when their first records came: `results/<suite>/margins.json`.

`harness run` pins the margin of every claim before it makes records; the file is committed with
them. A margin that is changed afterwards is refused, until the claim's version is raised: another
margin is another question. Versions only rise.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, ValidationError

from harness.claim import Exact, Inexact, Level, sides_of
from harness.errors import SpecError, StoreError
from harness.files import read_plain, write_atomic
from harness.record import Heading, Record
from harness.settings import Spec
from harness.suite import Suite, select

FILE = "margins.json"


class Pinned(Spec):
    """What was fixed of one version of a claim."""

    version: int
    margin: float
    bound: float | None = None
    """Of a level."""
    margins: dict[str, float] = Field(default_factory=dict)
    """Of single tasks."""
    date: str = ""
    """What the claim says of the day on which its margin was fixed; empty where it says nothing."""


def read(results: Path, suite: str) -> dict[str, Pinned]:
    """What was pinned, by claim; empty where nothing was.

    Raises:
        StoreError: the file is corrupt.
    """
    path = results / suite / FILE
    data = read_plain(path)
    if data is None:
        return {}
    try:
        return {name: Pinned.model_validate(own) for name, own in json.loads(data).items()}
    except (ValueError, AttributeError, ValidationError, RecursionError) as error:
        reason = type(error).__name__
        raise StoreError(f"corrupt margins: {path}: {reason}; restore it from git") from error


def check(suite: Suite, pinned: dict[str, Pinned], records: Iterable[Record | Heading]) -> None:
    """Refuses a margin that was changed although there are records of the claim.

    Raises:
        SpecError: with the claim, both margins and what to do.
    """
    own = [r for r in records if r.suite == suite.name and not r.scale.startswith("smoke")]
    ran = {(r.method, r.task) for r in own}
    for claim in suite.claims:
        before = pinned.get(claim.name)
        if isinstance(claim, Exact) or before is None:
            continue
        now = _of(claim)
        tasks = select(suite.tasks, claim.tasks)
        judged = any((side, task.name) in ran for side in sides_of(claim) for task in tasks)
        changed = before.version == now.version and not _same(before, now)
        if judged and (changed or before.version > now.version):
            lower = f" for version {now.version}" if before.version > now.version else ""
            raise SpecError(
                f"suite {suite.name}, claim {claim.name}: {_words(now)}{lower}, but "
                f"{_words(before)} was fixed for version {before.version} and there are records of "
                "it; restore it, or raise the claim's version"
            )


def pin(results: Path, suite: Suite) -> None:
    """Writes down the margins of today, of all claims that have one.

    Raises:
        StoreError: the file is corrupt, or cannot be written.
    """
    before = read(results, suite.name)
    now = {c.name: _of(c) for c in suite.claims if not isinstance(c, Exact)}
    after = before | now
    if after != before:
        content = {name: after[name].model_dump(exclude_defaults=True) for name in sorted(after)}
        text = json.dumps(content, indent=1, sort_keys=True)
        write_atomic(results / suite.name / FILE, (text + "\n").encode())


def _of(claim: Inexact) -> Pinned:
    return Pinned(
        version=claim.version,
        margin=claim.margin,
        bound=claim.bound if isinstance(claim, Level) else None,
        margins=claim.margins,
        date=claim.rests_on.date if claim.rests_on else "",
    )


def _same(one: Pinned, other: Pinned) -> bool:
    return (one.margin, one.bound, one.margins) == (other.margin, other.bound, other.margins)


def _words(pinned: Pinned) -> str:
    bound = "" if pinned.bound is None else f" at a bound of {pinned.bound:g}"
    own = f", {json.dumps(pinned.margins)} by task" if pinned.margins else ""
    return f"margin {pinned.margin:g}{bound}{own}"
