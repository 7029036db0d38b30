"""Records along the axes of a scale: a table, a picture and pages of records for each axis.

Each value of a setting's axis is a variant of the scale, and the scale's own value is one of them:
its records have their place on the pages of the scale, the others here. An axis over a parameter of
tasks has no other records than those of the scale.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from harness import number, variants
from harness.analysis import Cells, cells, frame
from harness.axes import worded
from harness.claim import Trend
from harness.record import Record, Series
from harness.report import plot
from harness.report.selection import Selection, sort_out
from harness.report.sheet import Entry, Machines, Specs, bounds_of, command, entry_of
from harness.report.sheet import places as places_of
from harness.report.table import (
    Cell,
    Comparison,
    cell_of,
    distinct_labels,
    label,
    labels_of,
    notes_of,
    ranked,
)
from harness.suite import SEPARATOR, Axis, Claim, Method, Metric, Scale, Suite, Task

PREFIX = "axis-"
"""Names of tables and pictures along axes begin with it."""
_MOST = 400
"""Records on one page; a single value with more of them keeps its page."""


class Stop(NamedTuple):
    """One value of an axis."""

    value: float
    scale: str
    """The variant, or the scale itself."""
    text: str
    """The value with its unit."""
    selection: Selection
    cells: Cells

    @property
    def own(self) -> bool:
        """Whether it is the scale's own value."""
        return SEPARATOR not in self.scale

    @property
    def anchor(self) -> str:
        """Of its part of a page."""
        return f"v-{self.value:g}"


class Stretch(NamedTuple):
    """One axis of a scale, with the values that have records, rising."""

    axis: Axis
    stops: tuple[Stop, ...]
    metrics: tuple[Metric, ...]
    """Those that claims along the axis are about, and that of the headline table."""

    @property
    def title(self) -> str:
        """How people name the axis."""
        return self.axis.label or self.axis.name


class Spot(NamedTuple):
    """A mean in the overview of a page, and where its seeds are."""

    text: str
    link: str


class Line(NamedTuple):
    """One method and metric in the overview of a page."""

    title: str
    metric: str
    spots: tuple[Spot, ...]
    plot: Markup


class Part(NamedTuple):
    """All methods at one value."""

    anchor: str
    title: str
    assignment: str
    """What `--set` takes."""
    entries: tuple[Entry, ...]


class Sheet(NamedTuple):
    """One page of records: a task along an axis."""

    name: str
    task: str
    title: str
    axis: Axis
    usual: str
    """The scale's own value."""
    paper: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    parts: tuple[Part, ...]
    shared: tuple[tuple[str, str], ...]
    machines: tuple[tuple[str, str], ...]


def along(claims: Iterable[Claim], axis: Axis) -> list[Claim]:
    """The claims that are measured along an axis."""
    return [c for c in claims if axis.name in (c.axis, c.over if isinstance(c, Trend) else "")]


def stretches(
    suite: Suite,
    scale: Scale,
    selection: Selection,
    grouped: Cells,
    beyond: Sequence[Record],
    current: Collection[str] | None = None,
    stale: Collection[str] = (),
) -> tuple[Stretch, ...]:
    """The axes of a scale that have records at other values than the scale's own.

    Args:
        suite: whose scale.
        scale: with its axes.
        selection: the records of the scale itself.
        grouped: their numbers.
        beyond: the records of its variants.
        current: full ids that the suite names today; None: not known.
        stale: full ids of records whose code has changed since.
    """
    found = []
    for axis in (axis for axis in scale.axes if axis.setting):
        stops = []
        for value, point in variants.points(suite, scale, axis):
            chosen, numbers = _within(suite, point, selection), grouped
            if point.name != scale.name:
                there = [r for r in beyond if r.scale == point.name]
                chosen = sort_out(variants.joined(suite, point), there, current, stale)
                chosen = _within(suite, point, chosen)
                numbers = cells(frame(chosen.used, suite))
            if chosen.used:
                stops.append(Stop(value, point.name, worded(axis, value), chosen, numbers))
        if any(not stop.own for stop in stops):
            found.append(Stretch(axis, tuple(stops), _metrics(suite, axis, stops)))
    return tuple(found)


def _within(suite: Suite, point: Scale, selection: Selection) -> Selection:
    """The records of those pairs that a point of an axis has."""
    there = {(m.name, t.name) for m, t in suite.pairs(point)}
    pairs = {pair: group for pair, group in selection.pairs.items() if pair in there}
    used = tuple(r for r in selection.used if (r.method, r.task) in there)
    return selection._replace(used=used, pairs=pairs)


def _metrics(suite: Suite, axis: Axis, stops: Sequence[Stop]) -> tuple[Metric, ...]:
    headline = [t.metric for t in suite.tables if t.name == suite.headline]
    names = [*(c.metric for c in along(suite.claims, axis)), *headline]
    names = names or [name for task in suite.tasks for name in task.metrics[:1]]
    there = {name for stop in stops for r in stop.selection.used for name in r.metrics}
    return tuple(suite.metric(name) for name in dict.fromkeys(names) if name in there)


def _present(
    suite: Suite, stretch: Stretch, metric: Metric
) -> tuple[tuple[Method, ...], tuple[Task, ...]]:
    """Methods and tasks with records along an axis, in the suite's order."""
    pairs = {pair for stop in stretch.stops for pair in stop.selection.pairs}
    tasks = tuple(
        t for t in suite.tasks
        if metric.name in t.reports and any(name == t.name for _, name in pairs)
    )  # fmt: skip
    return tuple(m for m in suite.methods if any(name == m.name for name, _ in pairs)), tasks


def tables(suite: Suite, stretch: Stretch) -> Iterator[Comparison]:
    """A table for each metric along an axis: a row for each task and method, a column per value."""
    for metric in stretch.metrics:
        methods, tasks = _present(suite, stretch, metric)
        names = distinct_labels([(m.name, label(m)) for m in methods])
        on = labels_of(tasks, mixed=len({t.protocol for t in tasks}) > 1)
        made: dict[tuple[str, str, str], Cell] = {}
        kinds: set[str] = set()
        for task in tasks:
            for stop in stretch.stops:
                column = {m.name: _cell(stop, metric, m, task, names, on) for m in methods}
                kinds |= {
                    edge.method
                    for m in methods
                    for edge in [stop.cells[m.name, task.name, metric.name].interval()]
                    if edge.low is not None
                }
                for name, cell in ranked(column, metric, stop.cells).items():
                    made[name, task.name, stop.scale] = cell
        rows = tuple(
            (cells_of[0].row, cells_of)
            for task in tasks
            for method in methods
            for cells_of in [
                tuple(made[method.name, task.name, stop.scale] for stop in stretch.stops)
            ]
            if any(cell.trials for cell in cells_of)
        )
        every = [cell for _, cells_of in rows for cell in cells_of]
        yield Comparison(
            name=f"{PREFIX}{stretch.axis.name}-{metric.name}",
            title=f"{metric.label} along {stretch.title}",
            metric=metric,
            protocols=tuple(sorted({t.protocol for t in tasks})),
            corner="Method" if len(tasks) == 1 else "Task: method",
            columns=tuple(_head(stop) for stop in stretch.stops),
            rows=rows,
            note="",
            notes=tuple(notes_of(tasks, every, kinds)),
            anchors=(),
            sources=suite.marks_of(*methods, *tasks),
            axis=stretch.axis,
        )


def _head(stop: Stop) -> str:
    return stop.text + (" (the scale's)" if stop.own else "")


def _cell(
    stop: Stop,
    metric: Metric,
    method: Method,
    task: Task,
    names: Mapping[str, str],
    on: Mapping[str, str],
) -> Cell:
    row = names[method.name] if len(on) == 1 else f"{on[task.name]}: {names[method.name]}"
    group = stop.selection.pairs.get((method.name, task.name), ())
    found = stop.cells[method.name, task.name, metric.name]
    trials = [stop.selection.trials[r.short] for r in group]
    made = cell_of(found, metric, (row, _head(stop)), (method.name, task), trials)
    return made._replace(scale=stop.scale, value=stop.value)


Key = tuple[str, str] | tuple[str, str, str]


def places(
    suite: Suite, scale: str, selection: Selection, found: Iterable[Stretch]
) -> dict[Key, str]:
    """File and anchor of every method on every task, by scale or variant too, below `records/`."""
    own = places_of(selection)
    out: dict[Key, str] = {}
    for pair, place in own.items():
        out[pair] = out[*pair, scale] = place
    for stretch in found:
        for name, task, stops in _divided(suite, stretch):
            for stop in stops:
                for method, on in stop.selection.pairs:
                    if on == task.name and not stop.own:
                        key = (method, on, stop.scale)
                        out.setdefault(key, f"{name}.html#{method}--{stop.value:g}")
    return out


def _divided(suite: Suite, stretch: Stretch) -> Iterator[tuple[str, Task, tuple[Stop, ...]]]:
    """The pages of an axis: name, task, and the values on it, the scale's own on all of them."""
    tasks = {on for stop in stretch.stops for _, on in stop.selection.pairs if not stop.own}
    for task in (t for t in suite.tasks if t.name in tasks):
        base = f"at-{stretch.axis.name}--{task.name}"
        name, part, filled = base, 1, 0
        held: list[Stop] = []
        for stop in stretch.stops:
            groups = [g for (_, on), g in stop.selection.pairs.items() if on == task.name]
            count = 0 if stop.own else sum(map(len, groups))
            if filled and filled + count > _MOST:
                yield name, task, tuple(held)
                part, filled, held = part + 1, 0, []
                name = f"{base}--{part}"
            filled += count
            held.append(stop)
        if filled:
            yield name, task, tuple(held)


def titles(suite: Suite, stretch: Stretch) -> tuple[tuple[str, str], ...]:
    """Name and title of every page of an axis."""
    return tuple((name, _title(name, task)) for name, task, _ in _divided(suite, stretch))


def _title(name: str, task: Task) -> str:
    part = name.rpartition(f"--{task.name}")[2].removeprefix("--")
    return label(task) + (f", part {part}" if part else "")


def sheets(suite: Suite, scale: str, found: Iterable[Stretch]) -> Iterator[Sheet]:
    """The pages of all records along axes, one after the other."""
    found = tuple(found)
    for stretch in found:
        usual = next((stop.text for stop in stretch.stops if stop.own), "")
        paper = stretch.axis.paper
        for name, task, stops in _divided(suite, stretch):
            records = [
                r
                for stop in stops
                if not stop.own
                for (_, on), group in stop.selection.pairs.items()
                if on == task.name
                for r in group
            ]
            machines, specs = Machines(), Specs(records)
            parts = tuple(
                _part(suite, scale, stretch, stop, task, machines, specs)
                for stop in stops
                if not stop.own and any(on == task.name for _, on in stop.selection.pairs)
            )
            yield Sheet(
                name,
                task.name,
                _title(name, task),
                stretch.axis,
                usual,
                "" if paper is None else worded(stretch.axis, paper),
                tuple(_head(stop) for stop in stretch.stops),
                tuple(_lines(suite, scale, stretch, task, found)),
                parts,
                specs.told,
                machines.listed(),
            )


def _part(
    suite: Suite,
    scale: str,
    stretch: Stretch,
    stop: Stop,
    task: Task,
    machines: Machines,
    specs: Specs,
) -> Part:
    asked = variants.assignment(stretch.axis, stop.value)
    title = stop.text if stretch.axis.unit else f"{stretch.title} {stop.text}"
    every = [
        group for one in stretch.stops
        for (_, on), group in one.selection.pairs.items() if on == task.name
    ]  # fmt: skip
    metrics = [
        suite.metric(m) for m in task.reports if any(m in r.metrics for g in every for r in g)
    ]
    bounds = {m.name: bounds_of(every, m) for m in metrics}
    entries = tuple(
        entry_of(
            suite,
            pair,
            stop.selection,
            stop.cells,
            metrics,
            bounds,
            machines,
            specs,
            command(suite, scale, stop.selection.pairs[pair], [asked]),
            (f"--{stop.value:g}", f" at {title}"),
        )
        for pair in stop.selection.pairs
        if pair[1] == task.name
    )
    return Part(stop.anchor, title, asked, entries)


def _lines(
    suite: Suite, scale: str, stretch: Stretch, task: Task, found: Sequence[Stretch]
) -> Iterator[Line]:
    """The overview: a line for each metric and method, a mean for each value."""
    there = places(suite, scale, stretch.stops[0].selection, [stretch])
    for stop in stretch.stops:
        if stop.own:
            there |= places(suite, scale, stop.selection, ())
    for metric in (m for m in stretch.metrics if m.name in task.reports):
        for method in _present(suite, stretch, metric)[0]:
            spots = []
            for stop in stretch.stops:
                group = stop.selection.pairs.get((method.name, task.name), ())
                edge = stop.cells[method.name, task.name, metric.name].interval().steady()
                mean = number.MISSING if edge.mean is None else number.fixed(
                    edge.mean, metric.digits
                )  # fmt: skip
                bounds = number.interval(edge.low, edge.high, metric.digits)
                link = there.get((method.name, task.name, stop.scale), "") if group else ""
                spots.append(Spot(f"{mean} {bounds}".strip(), link))
            drawn = _drawn(stretch, method, task, metric)
            yield Line(label(method), f"{metric.label}{_unit(metric)}", tuple(spots), drawn)


def _unit(metric: Metric) -> str:
    return f", {metric.unit}" if metric.unit else ""


def _drawn(stretch: Stretch, method: Method, task: Task, metric: Metric) -> Markup:
    """A thin line for each seed over the values; evenly spaced, as the columns beside it are."""
    values = [stop.cells[method.name, task.name, metric.name].by_seed() for stop in stretch.stops]
    seeds = sorted({seed for by_seed in values for seed in by_seed})
    series = []
    for seed in seeds:
        own = [(float(i), v[seed]) for i, v in enumerate(values) if seed in v]
        series.append(Series(x=tuple(x for x, _ in own), y=tuple(y for _, y in own)))
    said = f"{metric.label} of {label(method)} along {stretch.title}, one line for each seed"
    return plot.lines(series, said, 150, 40) if series else Markup()
