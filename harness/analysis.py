"""Records as one long table, and the cells and pairs that are read from it.

n counts trainings, not files. A record's training is what its specification says: the method, the
task, the identities of its artifacts, and the seed where the method has randomness of its own
(`Method.seeds`). As a guard against a method that claims randomness and has none, records that
agree over all seeds in their whole outcome (metrics, series and counts, bit for bit) are one
training too. That some seeds agree is no sign of it: of five trainings, two may well answer 27 of
100 questions.

A method that no seed touches is a constant: one training, compared with each seed of the others.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness import stats
from harness.errors import StoreError, UsageError
from harness.identity import canonical
from harness.record import Record
from harness.stats import Interval
from harness.suite import Suite

COLUMNS = (
    "id", "suite", "scale", "method", "task", "seed", "protocol", "status", "training", "metric",
    "value", "constant", "overlap",
)  # fmt: skip
"""Columns of `frame`; `id` is the record's short id, `training` the full id of the first seed's
record of the same training (before all migrations), `constant` whether no seed touches the method,
`overlap` that of the task's splits."""


class Cell(NamedTuple):
    """All trials of one method on one task, seen through one metric."""

    seeds: tuple[int, ...]
    """Seeds that gave a number, rising; parallel to `values`."""
    values: NDArray[np.float64]
    ids: tuple[str, ...]
    """Short ids of all its records, failed ones too, sorted."""
    failures: int
    """Records without a number: not `ok`, or the metric is absent."""
    trainings: tuple[str, ...] = ()
    """Which training each number comes from; parallel to `seeds`."""
    constant: bool = False
    """No seed touches the method: its one number stands beside every seed of the others."""
    overlap: float = 0.0
    """Test share over train share where the seeds are overlapping splits of one dataset."""

    @property
    def n(self) -> int:
        """How many trainings gave a number."""
        return len(set(self.trainings))

    def interval(self) -> Interval:
        """Mean and t-interval over trainings; none of one training, or where all agree."""
        return of_some_width(interval_of(self.at(distinct([self], self.seeds)), self.overlap))

    @property
    def trials(self) -> int:
        """How many records there are, failed ones too."""
        return len(self.ids)

    def by_seed(self) -> dict[int, float]:
        """The number that each seed gave."""
        return dict(zip(self.seeds, self.values.tolist(), strict=True))

    def at(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """The numbers of the given seeds, which must all have one, in their order."""
        if self.constant and self.seeds:
            return np.full(len(seeds), self.values[0])
        by_seed = self.by_seed()
        return np.array([by_seed[s] for s in seeds], dtype=np.float64)


def interval_of(values: NDArray[np.float64], overlap: float) -> Interval:
    """The t-interval of a mean, the corrected one where splits overlap."""
    if overlap:
        return stats.resampled_interval(values, overlap, 1.0)
    return stats.mean_interval(values)


def of_some_width(interval: Interval) -> Interval:
    """Without bounds where nothing scatters: no width would say that nothing could have."""
    low, _, high, *_ = interval.steady()
    return interval._replace(low=None, high=None) if low == high else interval


class Cells(dict[tuple[str, str, str], Cell]):
    """Cells by (method, task, metric); one that nobody ran is empty rather than missing."""

    def __missing__(self, key: tuple[str, str, str]) -> Cell:
        return Cell((), np.empty(0), (), 0)


def distinct(cells: Iterable[Cell], seeds: Sequence[int]) -> tuple[int, ...]:
    """The first seed of each combination of trainings behind the numbers of all these cells."""
    cells = list(cells)
    if seeds and all(c.constant for c in cells):
        return tuple(seeds[:1])
    by_seed = [dict(zip(c.seeds, c.trainings, strict=True)) for c in cells if not c.constant]
    first: dict[tuple[str, ...], int] = {}
    for seed in seeds:
        first.setdefault(tuple(trainings[seed] for trainings in by_seed), seed)
    return tuple(first.values())


def shared_seeds(cells: Iterable[Cell]) -> tuple[int, ...]:
    """Seeds with a number in every cell, rising; a constant has one beside every seed."""
    cells = list(cells)
    if any(not c.seeds for c in cells):
        return ()
    varied = [set(c.seeds) for c in cells if not c.constant]
    return tuple(sorted(set.intersection(*(varied or [set(c.seeds[:1]) for c in cells[:1]]))))


def trainings(records: Iterable[Record], unseeded: Collection[str] = ()) -> dict[str, str]:
    """Id of every record -> that of the lowest seed's record of the same training.

    Args:
        records: in any order.
        unseeded: methods without randomness of their own, whose artifacts alone tell their
            trainings apart.
    """
    out: dict[str, str] = {}
    groups: dict[tuple[str, ...], list[Record]] = {}
    made: dict[tuple[str, ...], str] = {}
    for record in sorted(records, key=lambda r: (r.seed, r.id)):
        out[record.id] = record.id
        if record.status == "ok":
            key = (record.suite, record.scale, record.method, record.task)
            groups.setdefault(key, []).append(record)
            if record.method in unseeded:
                parts = canonical(record.spec.get("artifacts", {}))
                out[record.id] = made.setdefault((*key, parts), record.id)
    for first, *others in groups.values():
        if all(_numbers(other) == _numbers(first) for other in others):
            out |= {other.id: first.id for other in others}
    return out


def _numbers(record: Record) -> tuple[object, ...]:
    return record.metrics, record.counts, record.series


def of_trainings(records: Iterable[Record]) -> list[Record]:
    """The records less those that measure a training again, in their order."""
    records = list(records)
    first = trainings(records)
    return [r for r in records if first[r.id] == r.id]


def frame(records: Iterable[Record], suite: Suite) -> pd.DataFrame:
    """Records of a suite in long form: one row for each record and metric of its task.

    A metric that is optional in the task has a row where the record holds it, and where the trial
    failed, since nobody can say then whether it would have.

    Rows are sorted by scale, method, task, seed, id and metric, so that equal records give equal
    tables whatever order they are read in. `value` is NaN where the status is not `ok` or the
    metric is absent. Records of other suites are left out. A task that the suite no longer has
    keeps the metrics that its record holds.

    Args:
        records: in any order, any scales.
        suite: says which metrics a task has.

    Returns:
        A table with the columns `COLUMNS` and a plain range as its index.
    """
    must = {task.name: sorted(task.metrics) for task in suite.tasks}
    may = {task.name: sorted(task.reports) for task in suite.tasks}

    def own_metrics(record: Record) -> list[str]:
        if record.task not in must:
            return sorted(record.metrics)
        if record.status != "ok":
            return may[record.task]
        wanted = may[record.task]
        return [n for n in wanted if n in record.metrics or n in must[record.task]]

    chosen = sorted(
        (r for r in records if r.suite == suite.name),
        key=lambda r: (r.scale, r.method, r.task, r.seed, r.id),
    )
    training = trainings(chosen, {m.name for m in suite.methods if m.seeds == "none"})
    oldest = {r.id: r.origin.id if r.origin else r.id for r in chosen}
    constants = {m.name for m in suite.methods if suite.constant(m)}
    overlaps = {t.name: t.overlap for t in suite.tasks}
    names = [own_metrics(r) for r in chosen]
    repeats = [len(n) for n in names]

    def text(values: list[str]) -> "pd.Series[str]":
        # Objects: a string column of pandas holds a copy of each text for every row.
        return pd.Series(np.repeat(np.array(values, dtype=object), repeats), dtype=object)

    numbers = [
        r.metrics.get(name, np.nan) if r.status == "ok" else np.nan
        for r, own in zip(chosen, names, strict=True)
        for name in own
    ]
    return pd.DataFrame(
        {
            "id": text([r.short for r in chosen]),
            "suite": text([r.suite for r in chosen]),
            "scale": text([r.scale for r in chosen]),
            "method": text([r.method for r in chosen]),
            "task": text([r.task for r in chosen]),
            "seed": np.repeat(np.array([r.seed for r in chosen], dtype=np.int64), repeats),
            "protocol": text([r.protocol for r in chosen]),
            "status": text([r.status for r in chosen]),
            "training": text([oldest[training[r.id]] for r in chosen]),
            "metric": pd.Series([name for own in names for name in own], dtype=object),
            "value": np.array(numbers, dtype=np.float64),
            "constant": np.repeat(np.array([r.method in constants for r in chosen], bool), repeats),
            "overlap": np.repeat(np.array([overlaps.get(r.task, 0.0) for r in chosen]), repeats),
        }
    )


def cells(runs: pd.DataFrame) -> Cells:
    """All cells of a table of one scale, grouped in one pass; ask it, not the table, in loops.

    Raises:
        UsageError: the table holds several scales.
        StoreError: a trial has two records, so that nobody can say which number counts.
    """
    scales = sorted(set(runs["scale"]))
    if len(scales) > 1:
        raise UsageError(f"runs of several scales ({', '.join(scales)}): choose one with --scale")
    groups: dict[tuple[str, str, str], list[tuple[int, str, str, float, str, bool, float]]] = {}
    columns = (
        "method", "task", "metric", "seed", "id", "status", "value", "training", "constant",
        "overlap",
    )  # fmt: skip
    rows = zip(*(runs[c].tolist() for c in columns), strict=True)
    for method, task, metric, *trial in rows:
        groups.setdefault((method, task, metric), []).append(tuple(trial))
    out = Cells()
    for key, group in groups.items():
        group.sort(key=lambda trial: trial[:2])
        for one, other in pairwise(group):
            if one[0] == other[0]:
                raise StoreError(
                    f"{key[0]} on {key[1]} has two records for seed {one[0]} at scale {scales[0]}:"
                    f" {one[1]} and {other[1]}; retire one of them"
                )
        good = [trial for trial in group if trial[2] == "ok" and math.isfinite(trial[3])]
        out[key] = Cell(
            seeds=tuple(seed for seed, *_ in good),
            values=np.array([trial[3] for trial in good], dtype=np.float64),
            ids=tuple(sorted(short for _, short, *_ in group)),
            failures=len(group) - len(good),
            trainings=tuple(trial[4] for trial in good),
            constant=any(trial[5] for trial in group),
            overlap=max(trial[6] for trial in group),
        )
    return out
