"""What is at hand of the inputs of suites, whether it is intact, and getting what is not."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from harness import contents, registry
from harness.data import Sources
from harness.errors import DataError, UsageError, unknown
from harness.suite import Dataset, Method, Scale, Suite, Task


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
    Of rebuilt editions only those that are here are looked at.

    Raises:
        UsageError: there is neither a suite nor a dataset of a name.
    """
    listed = [dataset for _, dataset in registry.datasets(names)]
    for dataset in (*listed, *(d.rebuilt for d in listed if d.rebuilt is not d)):
        here = sources.find(dataset) is not None
        if not here and (not absent or dataset.edition):
            continue
        try:
            found = sources.verified(dataset)
            sources.recheck(dataset)
        except DataError as error:
            yield Finding(str(error), here or dataset.name in names)
            continue
        known = sum(digest is not None for digest in dataset.files.values())
        held = len(dataset.files) - known
        line = f"{_called(dataset)}: {found.origin}, {known} of {len(dataset.files)} digests match"
        yield Finding(f"{line}, {held} as when first seen" if held else line)


def shipped(names: Sequence[str] = ()) -> Iterator[Finding]:
    """The files that come with suites and are corrupt; of all suites where none is named."""
    for name in registry.origins():
        if not names or name in names:
            for line in contents.corrupt(registry.folder(name)):
                yield Finding(line, bad=True)


def prepare(
    sources: Sources, names: Sequence[str] = (), scale: str = "", rebuilt: bool = False
) -> Iterator[Finding]:
    """Fetches the datasets of some names that are not here, and says at the end what is missing.

    A dataset that only plugins or nobody asks for is fetched where it is named itself.

    Args:
        sources: where they go.
        names: of suites or datasets; all for none.
        scale: only what the trials of this scale read; of all scales for none.
        rebuilt: their rebuilt editions, which a scale on rebuilt data asks for by itself.

    Raises:
        UsageError: there is neither a suite nor a dataset of a name, or no such scale.
    """
    wanted = [*_wanted(names, scale, rebuilt)]
    here, fetched, missing = 0, 0, 0
    for number, (itself, dataset) in enumerate(wanted, 1):
        called = _called(dataset)
        if dataset.files and sources.find(dataset) is not None:
            here += 1
            yield Finding(f"{called}: here")
        elif not dataset.fetchable:
            missing += 1
            line = f"{called}: cannot be fetched; {sources.missing(dataset)}"
            yield Finding(line, dataset.name in names, expected=True)
        else:
            yield Finding(f"{called}: fetching {dataset.sizes} ({number} of {len(wanted)})")
            try:
                sources.fetch(dataset)
            except DataError as error:
                missing += 1
                yield Finding(str(error), bad=True)
            else:
                fetched += 1
                same = sources.adopt(itself)
                words = ", byte for byte what the other scales read; taken for those too"
                yield Finding(f"{called}: fetched{words if same else ''}")
    if len(wanted) != 1:
        yield Finding(f"{fetched} fetched, {here} were here, {missing} not to be had")


def _wanted(names: Sequence[str], scale: str, rebuilt: bool) -> Iterator[tuple[Dataset, Dataset]]:
    """The datasets to prepare, each with the edition of it that is asked for.

    Raises:
        UsageError: there is neither a suite nor a dataset of a name, or no such scale.
    """
    found = registry.datasets(names)
    if scale and not any(scale == s.name for suite, _ in found for s in suite.scales):
        there = {s.name for suite, _ in found for s in suite.scales}
        raise UsageError(unknown("scale", scale, there, "harness list"))
    sizes = {suite.name: [s for s in suite.scales if scale in ("", s.name)] for suite, _ in found}
    read = {suite.name: _read_at(suite, sizes[suite.name]) for suite, _ in found}
    for suite, dataset in found:
        if dataset.name in names or dataset.name in read[suite.name]:
            one = scale and sizes[suite.name]
            edition = dataset.rebuilt if rebuilt or (one and one[0].rebuilt) else dataset
            yield dataset, edition


def _called(dataset: Dataset) -> str:
    return f"{dataset.name}, {dataset.edition}" if dataset.edition else dataset.name


def reads(suite: Suite, method: Method, task: Task) -> set[str]:
    """The datasets that a trial and the artifacts behind it read."""
    artifacts = {artifact.name: artifact for artifact in suite.artifacts}
    found, seen = set(task.datasets), set[str]()
    pending = [*method.needs]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += artifacts[name].needs
            if "data" not in artifacts[name].over:  # else of those that the task names
                found |= set(artifacts[name].datasets)
    return found


def _read_at(suite: Suite, scales: Iterable[Scale]) -> set[str]:
    """The datasets that the trials of some scales read."""
    pairs = (pair for scale in scales for pair in suite.pairs(scale))
    return set[str]().union(*(reads(suite, method, task) for method, task in pairs))


class Runnable(NamedTuple):
    """How many trials of a scale have their data."""

    trials: int
    here: int
    fetchable: int
    """Of the others: `harness data prepare` gets what they read."""


def runnable(suite: Suite, scale: Scale, sources: Sources) -> Runnable:
    """Counts trials by whether their data are here, or can be fetched."""
    datasets = suite.datasets_at(scale)
    absent = {d.name: d.fetchable for d in datasets if sources.find(d) is None}
    counts = [0, 0, 0]
    for method, task in suite.pairs(scale):
        lacks = [absent[name] for name in reads(suite, method, task) if name in absent]
        counts[0 if not lacks else 1 if all(lacks) else 2] += len(suite.seeds(scale, method))
    return Runnable(sum(counts), counts[0], counts[1])
