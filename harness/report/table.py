"""The tables of a report, before any format: comparisons of a metric, and plain listings."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from harness import number
from harness.analysis import Cell as Sample
from harness.analysis import Cells, distinct, interval_of, shared_seeds
from harness.report.selection import Selection, Trial
from harness.stats import standard_deviation
from harness.stats.samples import differences
from harness.suite import Axis, Mark, Metric, Reference, Scale, Suite, Table, Task, select

FAILURES = ("diverged", "oom", "timeout", "failed")


class Parts(NamedTuple):
    """A cell's texts; formats only decide how they look."""

    mean: str
    marks: str
    """`†` not separated from the best, `‡` the table's own mark, `*` records of changed code."""
    interval: str
    n: str
    paper: str


class Cell(NamedTuple):
    """One method on one task: what was measured, from which records, beside what was printed."""

    row: str
    column: str
    method: str
    task: str
    protocol: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    """Distinct trainings with a value."""
    measured: int
    """Trials with a value; more than `n` where a training was measured again."""
    trials: tuple[Trial, ...]
    references: tuple[Reference, ...]
    """The paper's own numbers."""
    half: float | None = None
    """Half the 95 % interval, also where a bound of the metric cuts the interval."""
    sd: float | None = None
    """Standard deviation over trainings."""
    starred: bool = True
    """Records of changed code are marked; not where the whole table is of such records."""
    best: bool = False
    close: bool = False
    """Its paired interval against the best includes zero, or there is none."""
    set_off: bool = False
    """The table's own mark applies."""
    scale: str = ""
    """The variant that it was measured at, in a table along an axis; empty in all others."""
    value: float | None = None
    """The axis's value there."""

    @property
    def failures(self) -> int:
        """Trials without a value."""
        return len(self.trials) - self.measured

    @property
    def stale(self) -> int:
        """Trials whose code has changed since."""
        return sum(t.stale for t in self.trials)

    @property
    def statuses(self) -> dict[str, int]:
        """How many trials ended in which way; every status, `ok` first."""
        counts = Counter(t.status for t in self.trials)
        return {status: counts[status] for status in ("ok", *FAILURES)}

    def spread(self, kind: Literal["ci", "sd", "se"]) -> float | None:
        """Half the interval, the standard deviation, or the standard error of the mean."""
        if kind == "ci" or self.sd is None:
            return self.half if kind == "ci" else None
        return self.sd if kind == "sd" else self.sd / math.sqrt(self.n)

    def parts(self, digits: int) -> Parts:
        """The texts of the cell, with that many decimals."""
        counts = [f"n={self.n}"] if self.trials else []
        if self.failures:
            counts.append(f"{self.measured}/{len(self.trials)} ok")
        return Parts(
            mean=number.MISSING if self.mean is None else number.fixed(self.mean, digits),
            marks="†" * self.close + "‡" * self.set_off + "*" * bool(self.stale and self.starred),
            interval=number.interval(self.low, self.high, digits),
            n=", ".join(counts),
            paper="; ".join(number.reference(r, digits) for r in self.references),
        )


@dataclass(frozen=True)
class Comparison:
    """One metric: methods against tasks."""

    name: str
    title: str
    metric: Metric
    protocols: tuple[str, ...]
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Label and cells."""
    note: str
    """What the suite says of it."""
    notes: tuple[str, ...]
    """The same, and how to read it."""
    anchors: tuple[str, ...]
    """Published numbers that have no cell of their own, or that others than the paper published."""
    sources: tuple[str, ...] = ()
    """What marks behind labels mean: which plugins rows and columns are from."""
    axis: Axis | None = None
    """What the columns are values of, where they are no tasks or methods."""

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All of them, row after row."""
        return tuple(cell for _, cells in self.rows for cell in cells)

    @cached_property
    def usual(self) -> int | None:
        """The n of most cells, which the caption says once; None where there is no such n."""
        counts = Counter(cell.n for cell in self.cells if cell.trials)
        n, often = counts.most_common(1)[0] if counts else (0, 0)
        return n if 2 * often > counts.total() else None

    @property
    def size(self) -> str:
        """`n = 10`, `n = 10 where a cell says no other`; empty where cells differ too much."""
        if self.usual is None:
            return ""
        same = all(cell.n == self.usual and not cell.failures for cell in self.cells if cell.trials)
        return f"n = {self.usual}" + ("" if same else " where a cell says no other")

    def n(self, cell: Cell) -> str:
        """What a cell says of its n: nothing where that is the usual one and no trial failed."""
        return "" if cell.n == self.usual and not cell.failures else cell.parts(0).n

    @property
    def head(self) -> tuple[str, ...]:
        """What the number is: metric, unit, direction, split, selection rule, protocol."""
        m = self.metric
        unit = f" ({m.unit})" if m.unit else ""
        better = f"{number.ARROWS[m.better]} {m.better} is better" if m.better != "neither" else ""
        protocol = f"{'protocols' if len(self.protocols) > 1 else 'protocol'}: "
        return tuple(
            part
            for part in (
                f"{m.label}{unit}",
                better,
                f"split: {m.split}",
                f"selection: {m.select}",
                protocol + ", ".join(self.protocols),
            )
            if part
        )


class Field(NamedTuple):
    """One entry of a listing."""

    text: str
    value: str | int | float | None = None
    """For CSV, not rounded for reading; None: the text."""


class Row(NamedTuple):
    """One line of a listing, and the records that it rests on."""

    fields: tuple[Field, ...]
    trials: tuple[Trial, ...] = ()


class Listing(NamedTuple):
    """A plain table: claims, costs, provenance, failures."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    numeric: tuple[bool, ...] = ()
    """Columns that are set flush right."""


def label(thing: object) -> str:
    """The label of a method or task, or its name where it has none."""
    return str(getattr(thing, "label", "") or getattr(thing, "name", ""))


def planned(suite: Suite, scale: Scale) -> set[tuple[str, str]]:
    """Method and task of every trial that a scale names."""
    return {(method.name, task.name) for method, task in suite.pairs(scale)}


def compare(
    spec: Table,
    suite: Suite,
    scale: Scale,
    selection: Selection,
    cells: Cells,
    references: Mapping[tuple[str, str, str], Sequence[Reference]],
) -> Comparison | None:
    """The comparison that a suite's table asks for; None where its scale has none of it.

    Args:
        spec: Which methods, tasks and metric.
        suite: Where they are described.
        scale: Says which of them run.
        selection: The records.
        cells: Their numbers, by method, task and metric.
        references: Published numbers by task, method and metric.
    """
    metric = suite.metric(spec.metric)
    there = planned(suite, scale) | set(selection.pairs)
    methods = list(select(suite.methods, spec.methods))
    tasks = [t for t in select(suite.tasks, spec.tasks) if metric.name in t.reports]
    inside = {(m.name, t.name) for m in methods for t in tasks} & there
    methods = [m for m in methods if any(m.name == name for name, _ in inside)]
    tasks = [t for t in tasks if any(t.name == name for _, name in inside)]
    if not inside:
        return None
    protocols = tuple(sorted({t.protocol for t in tasks}))
    task_labels = labels_of(tasks, mixed=len(protocols) > 1)
    method_labels = distinct_labels([(m.name, label(m)) for m in methods])
    by_method = spec.rows == "methods"
    made: dict[tuple[str, str], Cell] = {}
    kinds: set[str] = set()
    for task in tasks:
        column = {}
        for method in methods:
            printed = references.get((task.name, method.name, metric.name), ())
            group = selection.pairs.get((method.name, task.name), ())
            found = cells[method.name, task.name, metric.name]
            kind = found.interval()
            if kind.low is not None:
                kinds.add(kind.method)
            names = (method_labels[method.name], task_labels[task.name])
            column[method.name] = cell_of(
                found,
                metric,
                names if by_method else names[::-1],
                (method.name, task),
                [selection.trials[r.short] for r in group],
                [r for r in printed if r.source == "paper"],
            )._replace(set_off=_set_off(spec.mark, method.name, task.name, cells))
        for name, cell in ranked(column, metric, cells).items():
            made[name, task.name] = cell
    if all(t.stale for cell in made.values() for t in cell.trials):
        made = {key: cell._replace(starred=False) for key, cell in made.items()}
    rows: list[tuple[str, tuple[Cell, ...]]]
    if by_method:
        rows = [
            (method_labels[m.name], tuple(made[m.name, t.name] for t in tasks)) for m in methods
        ]
    else:
        rows = [(task_labels[t.name], tuple(made[m.name, t.name] for m in methods)) for t in tasks]
    across, down = list(task_labels.values()), list(method_labels.values())
    return Comparison(
        name=spec.name,
        title=spec.title,
        metric=metric,
        protocols=protocols,
        corner="Method" if by_method else "Task",
        columns=tuple(across if by_method else down),
        rows=tuple(rows),
        note=spec.note,
        notes=tuple(notes_of(tasks, list(made.values()), kinds, spec.note, spec.mark)),
        anchors=_anchors(references, tasks, suite, metric),
        sources=suite.marks_of(*methods, *tasks),
    )


def cell_of(
    found: Sample,
    metric: Metric,
    names: tuple[str, str],
    place: tuple[str, Task],
    trials: Sequence[Trial],
    printed: Sequence[Reference] = (),
) -> Cell:
    """One cell of a table.

    Args:
        found: its numbers.
        metric: what they are.
        names: of its row and its column.
        place: method and task.
        trials: its records.
        printed: the paper's own numbers.
    """
    edge = found.interval().steady()
    return Cell(
        *names,
        place[0],
        place[1].name,
        place[1].protocol,
        edge.mean,
        _cut(edge.low, metric),
        _cut(edge.high, metric),
        edge.n,
        len(found.seeds),
        tuple(trials),
        tuple(printed),
        half=None if edge.low is None or edge.high is None else (edge.high - edge.low) / 2,
        sd=standard_deviation(found.at(distinct([found], found.seeds))),
    )


def _cut(end: float | None, metric: Metric) -> float | None:
    """The end of an interval, no farther than the metric reaches."""
    if end is None:
        return None
    low = -math.inf if metric.lowest is None else metric.lowest
    high = math.inf if metric.highest is None else metric.highest
    return min(max(end, low), high)


def _set_off(mark: Mark | None, method: str, task: str, cells: Cells) -> bool:
    if mark is None:
        return False
    mean = cells[method, task, mark.metric].interval().steady().mean
    return mean is not None and mean < mark.below


def ranked(column: dict[str, Cell], metric: Metric, cells: Cells) -> dict[str, Cell]:
    """The cells of one task, with the best marked and those that cannot be told from it."""
    means = {name: cell.mean for name, cell in column.items() if cell.mean is not None}
    if metric.better == "neither" or len(means) < 2:
        return column
    sign = 1 if metric.better == "higher" else -1
    best = max(means, key=lambda name: sign * means[name])
    top = cells[best, column[best].task, metric.name]
    marked = dict(column)
    for name, mean in means.items():
        if name == best or mean == means[best]:
            marked[name] = column[name]._replace(best=mean == means[best])
            continue
        other = cells[name, column[name].task, metric.name]
        shared = distinct([top, other], shared_seeds([top, other]))
        edge = interval_of(differences(top.at(shared), other.at(shared)), top.overlap).steady()
        apart = edge.low is not None and edge.high is not None and not edge.low <= 0 <= edge.high
        marked[name] = column[name]._replace(close=not apart)
    return marked


def notes_of(
    tasks: Sequence[Task],
    cells: Sequence[Cell],
    kinds: set[str],
    note: str = "",
    mark: Mark | None = None,
) -> list[str]:
    """How to read a table: what its numbers and marks are, and what is behind them.

    Args:
        tasks: of the table.
        cells: all of them.
        kinds: how their intervals were made.
        note: what the suite says of the table.
        mark: the table's own.
    """
    notes = [note] if note else []
    how = f" ({', '.join(sorted(kinds))})" if kinds else ""
    notes.append(
        f"Mean over seeds, 95 % interval{how}, n seeds with a value; "
        "a single seed has no interval, nor have seeds that all agree. The paper's number, where "
        "it has one, stands beside it."
    )
    again = any(c.n < c.measured for c in cells)
    if again:
        notes.append(
            "n counts distinct trainings: records that agree in every number but the seed measure "
            "one training several times, and one training has no interval."
        )
    if any(c.best for c in cells):
        notes.append("Bold: the best mean of its task.")
    if any(c.close for c in cells):
        pairs = "pairs of trainings are shared" if again else "seeds are shared"
        notes.append(
            "† Not separated from the best: the 95 % interval of the paired difference over "
            f"shared seeds includes zero, or fewer than two {pairs}. "
            "Not adjusted for several comparisons."
        )
    if mark and any(c.set_off for c in cells):
        notes.append(f"‡ {mark.text}")
    total = sum(len(c.trials) for c in cells)
    stale = sum(c.stale for c in cells)
    if stale and stale == total:
        notes.append("All records here are of code that has changed since.")
    elif stale:
        notes.append(
            f"* Rests on records whose code has changed since: "
            f"{number.count(stale)} of {number.plural(total, 'record')}."
        )
    failed = Counter[str]()
    for cell in cells:
        failed.update({s: n for s, n in cell.statuses.items() if s != "ok"})
    if sum(failed.values()):
        ways = ", ".join(f"{failed[s]} {s}" for s in FAILURES if failed[s])
        notes.append(
            f"Means leave failed trials out: {number.count(sum(failed.values()))} of "
            f"{number.plural(total, 'trial')} ({ways})."
        )
    if synthetic := [label(t) for t in tasks if t.fallback]:
        notes.append(
            f"Synthetic fallback data in {number.listed(synthetic)}; "
            "those numbers do not compare with published ones."
        )
    return notes


def _anchors(
    references: Mapping[tuple[str, str, str], Sequence[Reference]],
    tasks: Sequence[Task],
    suite: Suite,
    metric: Metric,
) -> tuple[str, ...]:
    names = {m.name: label(m) for m in suite.methods}
    lines = []
    for task in tasks:
        for (on, method, what), printed in references.items():
            if on != task.name or what != metric.name:
                continue
            for r in printed:
                if r.source == "paper" and method in names:
                    continue
                where = f"{r.source}, {r.table}" if r.table else r.source
                lines.append(
                    f"{names.get(method, method)} on {label(task)}: "
                    f"{number.reference(r, metric.digits)} ({where})"
                    + (f", {r.note}" if r.note else "")
                )
    return tuple(lines)


def labels_of(tasks: Sequence[Task], mixed: bool) -> dict[str, str]:
    """Labels of tasks by name, with what sets some of them off from others."""
    pairs = []
    for task in tasks:
        marks = [task.protocol] * mixed + ["synthetic fallback"] * task.fallback
        pairs.append((task.name, label(task) + (f" ({', '.join(marks)})" if marks else "")))
    return distinct_labels(pairs)


def distinct_labels(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Labels by name; where two things share a label, their names tell them apart."""
    counts = Counter(text for _, text in pairs)
    return {name: text if counts[text] == 1 else f"{text} [{name}]" for name, text in pairs}
