"""What has changed between two sets of records: two methods, folders, commits or machines.

B is compared with A: `change` is B - A, and a win is B's. Trials that share a seed are paired;
where fewer than two seeds are shared, Welch's interval takes the place of the paired one. A win or
a loss is significant at 5 % after the Holm-Bonferroni correction over all rows; the rest are ties.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from harness import stats
from harness.analysis import (
    Cell,
    Cells,
    cells,
    distinct,
    frame,
    interval_of,
    of_some_width,
    shared_seeds,
)
from harness.identity import canonical
from harness.record import Record
from harness.stats import Interval
from harness.suite import Suite, Task

ALPHA = 0.05
CLOCK = {"s", "1/s"}
"""Units of metrics that measure time: no machine gives them twice."""

Outcome = Literal["win", "tie", "loss", "changed", "untested"]
"""`changed`: as significant as a win, but the metric has no direction; `untested`: fewer than two
trainings on a side."""
Key = tuple[str, str, str, str, int]
"""Suite, scale, method, task and seed."""


class Row(NamedTuple):
    """One metric of one task, B against A."""

    suite: str
    scale: str
    a: str
    """Method."""
    b: str
    """Method; the same as `a` where two sets of records are compared."""
    task: str
    metric: str
    unit: str
    better: str
    mean_a: float | None
    """Over the seeds compared."""
    mean_b: float | None
    change: Interval
    """B - A, in the metric's unit and own direction; no bounds where all seeds agree."""
    p: float | None
    p_holm: float | None
    """Adjusted over all rows of the comparison."""
    failures: int
    """Trials without a number, on both sides."""

    @property
    def outcome(self) -> Outcome:
        """Who is better."""
        if self.same:
            return "tie"
        if self.p_holm is None or self.change.mean is None:
            return "untested"
        if self.p_holm >= ALPHA:
            return "tie"
        if self.better == "neither":
            return "changed"
        return "win" if (self.change.mean > 0) == (self.better == "higher") else "loss"

    @property
    def same(self) -> bool:
        """Whether both sides have the same numbers."""
        return self.change.mean == 0 and self.change.low in (None, 0) and self.failures == 0


class Matched(NamedTuple):
    """Which trials two sets of records share, and whether they agree bit for bit."""

    pairs: tuple[tuple[Record, Record], ...]
    equal: int
    clock: int
    """Equal but for metrics of time."""
    different: Mapping[Key, tuple[str, ...]]
    """What differs: `status`, metrics, `counts`, `series`."""
    only_a: int
    only_b: int


class Difference(NamedTuple):
    """Something beside the numbers in which paired records differ."""

    what: str
    a: str
    """Its value; several are counted."""
    b: str
    trials: int


def newest(records: Iterable[Record]) -> list[Record]:
    """One record for each trial: the one that was finished last."""
    ordered = sorted(records, key=lambda r: (r.provenance.finished, r.id))
    return list({_key(r): r for r in ordered}.values())


def rows(
    suite: Suite,
    a: Sequence[Record],
    b: Sequence[Record],
    pairs: Sequence[tuple[str, str]],
    metrics: Collection[str],
) -> list[Row]:
    """Compares records of one scale; `p_holm` is for `adjusted` to fill in.

    Seeds at which both sides only measure trainings again that an earlier seed measured do not
    count.

    Args:
        suite: gives tasks and metrics, and their order.
        a: records of one scale, each trial once.
        b: likewise.
        pairs: methods of `a` and `b` to compare.
        metrics: their names.

    Raises:
        StoreError: a trial with two records.
    """
    of_a, of_b = cells(frame(a, suite)), cells(frame(b, suite))
    scale = next((r.scale for r in (*a, *b)), "")
    made = (
        _row(suite, scale, pair, task, metric, of_a, of_b)
        for pair in pairs
        for task in suite.tasks
        for metric in task.reports
        if metric in metrics
    )
    return [row for row in made if row is not None]


def _row(
    suite: Suite, scale: str, pair: tuple[str, str], task: Task, name: str, a: Cells, b: Cells
) -> Row | None:
    left, right = a[pair[0], task.name, name], b[pair[1], task.name, name]
    if not left.trials and not right.trials:
        return None
    x, y, change, p = _change(left, right, task.overlap)
    metric = suite.metric(name)
    return Row(
        *(suite.name, scale, *pair, task.name, name, metric.unit, metric.better),
        *(stats.mean_interval(x).mean, stats.mean_interval(y).mean, of_some_width(change), p, None),
        left.failures + right.failures,
    )


def _change(
    left: Cell, right: Cell, overlap: float
) -> tuple[stats.Array, stats.Array, Interval, float | None]:
    """The numbers compared, the interval of right - left, and its p value."""
    shared = shared_seeds([left, right])
    if len(shared) >= 2:
        once = distinct([left, right], shared)
        x, y = left.at(once), right.at(once)
        if overlap:
            return x, y, interval_of(y - x, overlap), stats.resampled_p(y - x, overlap, 1.0)
        return x, y, stats.paired_interval(y, x), stats.paired_p(y, x)
    x, y = (side.at(distinct([side], side.seeds)) for side in (left, right))
    return x, y, stats.welch_interval(y, x), stats.welch_p(y, x)


def adjusted(found: Sequence[Row]) -> list[Row]:
    """The rows with p values adjusted over all of them (Holm-Bonferroni)."""
    held = iter(stats.holm([row.p for row in found if row.p is not None]))
    return [row if row.p is None else row._replace(p_holm=next(held)) for row in found]


def matched(
    a: Iterable[Record],
    b: Iterable[Record],
    units: Mapping[str, str],
    metrics: Collection[str] | None = None,
) -> Matched:
    """Pairs the trials of two sets of records, whatever their identities.

    Args:
        a: each trial once.
        b: likewise.
        units: of metrics, by name; those of time differ by nature.
        metrics: compare these alone; None: all that records hold.
    """
    left, right = ({_key(r): r for r in side} for side in (a, b))
    shared = sorted(left.keys() & right.keys())
    differ = {key: _different(left[key], right[key], metrics) for key in shared}
    timed = {
        key for key, names in differ.items()
        if names and all(units.get(name) in CLOCK for name in names)
    }  # fmt: skip
    return Matched(
        pairs=tuple((left[key], right[key]) for key in shared),
        equal=sum(not names for names in differ.values()),
        clock=len(timed),
        different={k: names for k, names in differ.items() if names and k not in timed},
        only_a=len(left) - len(shared),
        only_b=len(right) - len(shared),
    )


def differences(pairs: Iterable[tuple[Record, Record]]) -> list[Difference]:
    """In what paired records differ: specification, packages, hardware, flags, commit."""
    seen: dict[str, Counter[tuple[str, str]]] = {}
    for pair in pairs:
        left, right = (_circumstances(record) for record in pair)
        for what in sorted(left.keys() | right.keys()):
            values = left.get(what, "-"), right.get(what, "-")
            if values[0] != values[1]:
                seen.setdefault(what, Counter())[values] += 1
    found = []
    for what, counts in sorted(seen.items(), key=lambda item: (item[0][:4] == "spec", item[0])):
        one = next(iter(counts)) if len(counts) == 1 else None
        a, b = one or (_several({v[0] for v in counts}), _several({v[1] for v in counts}))
        found.append(Difference(what, a, b, counts.total()))
    return found


def _key(record: Record) -> Key:
    return record.suite, record.scale, record.method, record.task, record.seed


def _different(a: Record, b: Record, metrics: Collection[str] | None) -> tuple[str, ...]:
    both = sorted(a.metrics.keys() | b.metrics.keys())
    names = [name for name in both if a.metrics.get(name) != b.metrics.get(name)]
    if metrics is not None:
        return tuple(name for name in names if name in metrics)
    return (*names, *(f for f in ("status", "counts", "series") if getattr(a, f) != getattr(b, f)))


_HARDWARE = ("platform", "processor", "cores", "memory_bytes", "accelerator")


def _circumstances(record: Record) -> dict[str, str]:
    """What a record says of how it was made, flat; without what differs by nature."""
    p = record.provenance
    found = {f"spec {name}": value for name, value in _flat(record.spec)}
    found |= {f"hardware {name}": str(getattr(p, name)) for name in _HARDWARE}
    found |= {f"package {name}": version for name, version in p.packages.items()}
    found |= {f"flag {name}": value for name, value in p.flags.items()}
    commit = f"{p.commit[:12] if p.commit else None}{' (changed files)' if p.dirty else ''}"
    return found | {
        "python": p.python,
        "threads": str(p.threads),
        "source commit": commit,
        "source digest": p.source_digest[:12],
    }


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    else:
        text = value if isinstance(value, str) else canonical(value)
        yield path, text[:12] if len(text) == 64 else text


def _several(values: set[str]) -> str:
    return f"{len(values)} values" if len(values) > 1 else next(iter(values))
