"""What the index shows: every suite, its scales, and the verdicts of the largest one."""

from collections.abc import Sequence
from typing import NamedTuple

from harness.report.page import Page
from harness.report.verdict import Line, counted
from harness.suite import REBUILT, Suite

_LEADING = 5
_SIZES = ("smoke", "laptop", "gpu", "paper")


class Status(NamedTuple):
    """One scale of a suite, as the index lists it."""

    scale: str
    ok: int
    failed: int
    planned: int
    outcomes: str
    """How many primary and secondary claims came out which way."""
    page: Page | None
    """None where there are no records."""


class Chapter(NamedTuple):
    """One suite, as the index shows it."""

    suite: Suite
    statuses: tuple[Status, ...]
    shown: Page | None
    """The largest scale that has current records: its answer and primary verdicts are shown."""

    @property
    def leading(self) -> tuple[Line, ...]:
        """The verdicts that the front page shows: the primary ones, else the first."""
        groups = self.shown.groups if self.shown else ()
        return groups[0].lines[:_LEADING] if groups else ()


class Overview(NamedTuple):
    """The index."""

    chapters: tuple[Chapter, ...]
    strangers: tuple[str, ...]
    """Suites that have records and are not known."""


def chapter(suite: Suite, pages: Sequence[Page]) -> Chapter:
    """A suite's part of the index, from the pages of its scales.

    Smoke stays out of it: it measures nothing, and its records are not kept.
    """
    pages = [page for page in pages if page.scale != "smoke"]
    by_name = {page.scale: page for page in pages}
    statuses = []
    for scale in suite.scales:
        if scale.name == "smoke" or (scale.rebuilt and scale.name not in by_name):
            continue
        page = by_name.pop(scale.name, None)
        want = suite.trial_count(scale)
        statuses.append(_status(scale.name, want, page))
    statuses += [_status(name, 0, page) for name, page in by_name.items()]
    live = [page for page in pages if page.selection.used]
    shown = max(live, key=_rank, default=None)
    return Chapter(suite, tuple(statuses), shown)


def _rank(page: Page) -> tuple[bool, int]:
    """Recorded data before rebuilt ones, then the larger scale."""
    size = page.scale.removesuffix(REBUILT)
    return size == page.scale, _SIZES.index(size)


def _status(scale: str, want: int, page: Page | None) -> Status:
    if page is None:
        return Status(scale, 0, 0, want, "", None)
    return Status(scale, page.ok, page.failed, want, counted(page.lines), page)
