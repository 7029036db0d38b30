"""What is at hand of the inputs of suites, whether it is intact, and getting what is not."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness import contents, registry
from harness.data import Sources
from harness.errors import DataError


class Finding(NamedTuple):
    """A line about an input."""

    line: str
    bad: bool = False
    """Whether something is to be done about it."""
    expected: bool = False
    """Bad, but no error: nothing could have prevented it."""


def check(sources: Sources, names: Sequence[str] = (), absent: bool = True) -> Iterator[Finding]:
    """Every dataset of some names (of suites or datasets; all for none), each file verified.

    A dataset that is not here is bad only where it is named itself; `absent=False` passes over it.

    Raises:
        UsageError: there is neither a suite nor a dataset of a name.
    """
    for _, dataset in registry.datasets(names):
        here = sources.find(dataset) is not None
        if not here and not absent:
            continue
        try:
            found = sources.verified(dataset)
            sources.recheck(dataset)
        except DataError as error:
            yield Finding(str(error), here or dataset.name in names)
            continue
        known = sum(digest is not None for digest in dataset.files.values())
        held = len(dataset.files) - known
        line = f"{dataset.name}: {found.origin}, {known} of {len(dataset.files)} digests match"
        yield Finding(f"{line}, {held} as when first seen" if held else line)


def shipped(names: Sequence[str] = ()) -> Iterator[Finding]:
    """The files that come with suites and are corrupt; of all suites where none is named."""
    for name in registry.origins():
        if not names or name in names:
            for line in contents.corrupt(registry.folder(name)):
                yield Finding(line, bad=True)


def prepare(sources: Sources, names: Sequence[str] = ()) -> Iterator[Finding]:
    """Fetches the datasets of some names that are not here.

    Raises:
        UsageError: there is neither a suite nor a dataset of a name.
    """
    for _, dataset in registry.datasets(names):
        if sources.find(dataset) is not None:
            yield Finding(f"{dataset.name}: here")
        elif dataset.fetch is None:
            line = f"{dataset.name}: cannot be fetched; {sources.missing(dataset)}"
            yield Finding(line, dataset.name in names, expected=True)
        else:
            try:
                sources.fetch(dataset)
            except DataError as error:
                yield Finding(str(error), bad=True)
            else:
                yield Finding(f"{dataset.name}: fetched")
