"""Keeping the folders in order: what is corrupt, what nobody refers to, and its removal."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from harness import looks, margins, plan
from harness.errors import StoreError, Unreadable
from harness.files import folders
from harness.store import Corrupt, Store

STALE_SECONDS = 60.0
"""A temporary file that has lain so long has lost its writer."""


class Problem(NamedTuple):
    """A file or folder that is not as it should be."""

    line: str
    repaired: bool


def check(store: Store, damaged: Iterable[Corrupt], repair: bool) -> Iterator[Problem]:
    """Every corrupt record and artifact, with `repair` moved aside or removed; looks and margins.

    What cannot be read, what a running command uses, and what is to be had from git alone stays as
    it is.

    Raises:
        StoreError: the cache is not the harness's own, or something cannot be moved or removed.
    """
    for item in damaged:
        done = f"; moved to {store.quarantine(item.path).name}" if repair else ""
        yield Problem(f"{item.path}: {item.reason}{done}", repair)
    for folder in store.artifacts() if store.owned() else ():
        try:
            store.check_artifact(folder)
        except Unreadable as error:
            yield Problem(str(error), repaired=False)
        except StoreError as error:
            removed = repair and store.discard(folder)
            done = "; in use, not removed" if repair else ""
            yield Problem(f"{error}{'; removed' if removed else done}", removed)
    for suite in sorted(store.suites()):
        for scale in folders(store.results / suite):
            try:
                looks.taken(store.results, suite, scale.name)
            except StoreError as error:
                yield Problem(str(error), repaired=False)
        try:
            margins.read(store.results, suite)
        except StoreError as error:
            yield Problem(str(error), repaired=False)


def tidy(store: Store, dry_run: bool) -> Iterator[tuple[str, bool]]:
    """Removes what no suite refers to any more: a line for each folder, and whether it goes.

    Raises:
        StoreError: the cache is not the harness's own, or a folder cannot be removed.
    """
    for folder in plan.leftovers(store):
        if dry_run:
            yield f"would remove {folder}", True
        elif store.discard(folder):
            yield f"removed {folder}", True
        else:
            yield f"kept {folder}: in use", False
    for suite, reason in plan.strangers(store).items():
        yield f"kept what is of suite {suite}, and unfinished trials that may be: {reason}", False
