"""The pages of records: every seed of every method on one task, and how to make it again.

A task has one page, or several where it has very many records; each method on it has an anchor.
"""

import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from harness import number
from harness.analysis import Cells
from harness.digits import total
from harness.record import Record, Series
from harness.report import plot
from harness.report.selection import Selection
from harness.report.table import label
from harness.suite import Metric, Suite, Task, select
from harness.variants import assignment, value_of

_MOST = 400
"""Records on one page; a single method with more of them keeps its page."""
_DRAWN = 50
"""Seeds in one picture of curves."""
_CURVES = 2
"""Pictures of curves for each method."""
_PROGRESS = ("step", "steps", "updates", "epoch", "epochs", "tokens", "flops")
"""Labels of series that show how a training went; others are drawn where there are none."""


class Strip(NamedTuple):
    """One metric of one method on one task."""

    head: str
    plot: Markup
    text: str
    """Mean, interval and n."""


class Curve(NamedTuple):
    """One series of all seeds."""

    title: str
    plot: Markup
    text: str
    """The ranges of both axes."""


class Seed(NamedTuple):
    """One record."""

    seed: int
    id: str
    status: str
    stale: bool
    values: tuple[str, ...]
    wall: str
    machine: str
    error: str


class Entry(NamedTuple):
    """One method on the task of a sheet."""

    method: str
    anchor: str
    title: str
    note: str
    command: str
    strips: tuple[Strip, ...]
    curves: tuple[Curve, ...]
    heads: tuple[str, ...]
    """Of the values of each seed."""
    seeds: tuple[Seed, ...]
    differences: tuple[tuple[str, str], ...]
    """What the specification says beyond the scale's settings and the task's parameters."""
    costs: str


class Sheet(NamedTuple):
    """One page of records."""

    name: str
    """Of its file, without the ending."""
    task: str
    title: str
    entries: tuple[Entry, ...]
    shared: tuple[tuple[str, str], ...]
    """What the specifications of all its records have in common."""
    machines: tuple[tuple[str, str], ...]
    """Letters, and what ran there with what."""


def places(selection: Selection) -> dict[tuple[str, str], str]:
    """The file and anchor of every method on every task, below `records/`."""
    return {
        pair: f"{name}.html#{pair[0]}"
        for name, pairs in _divided(selection).items()
        for pair in pairs
    }


def _divided(selection: Selection) -> dict[str, list[tuple[str, str]]]:
    """The pairs of each page: those of one task, at most `_MOST` records."""
    out: dict[str, list[tuple[str, str]]] = {}
    tasks: dict[str, list[tuple[str, str]]] = {}
    for pair in selection.pairs:
        tasks.setdefault(pair[1], []).append(pair)
    for task, pairs in tasks.items():
        name, part, filled = task, 1, 0
        for pair in pairs:
            count = len(selection.pairs[pair])
            if filled and filled + count > _MOST:
                part, filled = part + 1, 0
                name = f"{task}--{part}"
            filled += count
            out.setdefault(name, []).append(pair)
    return out


def titles(suite: Suite, selection: Selection) -> tuple[tuple[str, str], ...]:
    """Name and title of every page of records."""
    return tuple(
        (name, _title(name, suite.task(pairs[0][1]))) for name, pairs in _divided(selection).items()
    )


def _title(name: str, task: Task) -> str:
    part = name.removeprefix(task.name).removeprefix("--")
    return label(task) + (f", part {part}" if part else "")


def sheets(suite: Suite, scale: str, selection: Selection, cells: Cells) -> Iterator[Sheet]:
    """The pages of all records that tables use, one after the other."""
    for name, pairs in _divided(selection).items():
        task = suite.task(pairs[0][1])
        whole = {pair: group for pair, group in selection.pairs.items() if pair[1] == task.name}
        metrics = [
            suite.metric(m)
            for m in task.reports
            if any(m in r.metrics for group in whole.values() for r in group)
        ]
        bounds = {m.name: bounds_of(whole.values(), m) for m in metrics}
        machines = Machines()
        records = [r for pair in pairs for r in selection.pairs[pair]]
        specs = Specs(records)
        entries = tuple(
            entry_of(
                suite,
                pair,
                selection,
                cells,
                metrics,
                bounds,
                machines,
                specs,
                command(suite, scale, selection.pairs[pair], _alone(suite, scale, pair)),
            )
            for pair in pairs
        )
        yield Sheet(name, task.name, _title(name, task), entries, specs.told, machines.listed())


def _alone(suite: Suite, scale: str, pair: tuple[str, str]) -> tuple[str, ...]:
    """What `--set` needs so that a trial runs at the scale alone, and not along its axes too."""
    for size in suite.scales:
        own = size.axes if size.name == scale else ()
        for axis in (axis for axis in own if axis.setting):
            names = (
                {method.name for method in select(suite.methods, axis.methods)},
                {task.name for task in select(suite.tasks, axis.tasks)},
            )
            if all(name in there for there, name in zip(names, pair, strict=True)):
                return (assignment(axis, value_of(size, axis)),)
    return ()


_TOLD = ("suite", "scale.name", "task.name", "method.name", "seed", "task.protocol")
"""Parts of a specification that stand elsewhere on the page."""


class Specs:
    """What the specifications of some records have in common, and what each adds."""

    def __init__(self, records: Iterable[Record]) -> None:
        parts: dict[tuple[str, int], dict[str, str]] = {}
        """Lines of what many specifications share as one object."""

        def lines(key: str, value: Any) -> dict[str, str]:
            place = (key, id(value))
            if place not in parts:
                parts[place] = _flat(value, key)
            return parts[place]

        self._flat = {
            r.short: {k: v for key in r.spec for k, v in lines(key, r.spec[key]).items()}
            for r in records
        }
        self._shared = _shared(list(self._flat.values()))

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """The lines that all have, less those that stand elsewhere on the page."""
        return tuple((key, value) for key, value in self._shared.items() if key not in _TOLD)

    def beyond(self, group: Iterable[Record]) -> tuple[tuple[str, str], ...]:
        """The lines of some of the records that not all have."""
        return _differences([self._flat[r.short] for r in group], self._shared)


def entry_of(
    suite: Suite,
    pair: tuple[str, str],
    selection: Selection,
    cells: Cells,
    metrics: Sequence[Metric],
    bounds: Mapping[str, tuple[float, float]],
    machines: "Machines",
    specs: Specs,
    command: str,
    at: tuple[str, str] = ("", ""),
) -> Entry:
    """What a page shows of one method on one task.

    Args:
        suite: whose.
        pair: method and task.
        selection: with their records.
        cells: their numbers.
        metrics: of the task, those that anything on the page has.
        bounds: of the axes of the strips, by metric.
        machines: of the page.
        specs: of all records of the page.
        command: what makes it again.
        at: what its anchor and its title end with.
    """
    group, method = selection.pairs[pair], suite.method(pair[0])
    own = [m for m in metrics if any(m.name in r.metrics for r in group)]
    strips = []
    for metric in own:
        cell = cells[(*pair, metric.name)]
        edge = cell.interval().steady()
        text = " ".join(
            part
            for part in (
                number.MISSING if edge.mean is None else number.fixed(edge.mean, metric.digits),
                number.interval(edge.low, edge.high, metric.digits),
                metric.unit,
                f"n={edge.n}",
            )
            if part
        )
        head = f"{metric.label}, {metric.select} {number.ARROWS[metric.better]}".strip()
        values = [r.metrics[metric.name] for r in group if metric.name in r.metrics]
        said = f"{head}: {text}; one mark for each seed"
        drawn = plot.dots(values, bounds[metric.name], (edge.mean, edge.low, edge.high), said)
        strips.append(Strip(head, drawn, text))
    seeds = tuple(
        Seed(
            r.seed,
            r.short,
            r.status,
            selection.trials[r.short].stale,
            tuple(
                number.fixed(r.metrics[m.name], m.digits + 1)
                if m.name in r.metrics
                else number.MISSING
                for m in own
            ),
            number.seconds(r.cost.wall_seconds),
            machines.letter(r),
            " ".join((r.error or "").split()),
        )
        for r in group
    )
    return Entry(
        method=method.name,
        anchor=method.name + at[0],
        title=label(method) + at[1],
        note=method.note,
        command=command,
        strips=tuple(strips),
        curves=_curves(group),
        heads=tuple(m.label + (f", {m.select}" if _twice(m, own) else "") for m in own),
        seeds=seeds,
        differences=specs.beyond(group),
        costs=_costs(group),
    )


def command(suite: Suite, scale: str, group: Sequence[Record], settings: Sequence[str] = ()) -> str:
    """What makes one cell again, in a folder of its own; see `docs/reproducing-one-number.md`.

    A line for each kind of device that its records ran on.
    """
    by_device: dict[str, list[Record]] = {}
    for record in group:
        by_device.setdefault(str(record.spec.get("device", "cpu")), []).append(record)
    return "\n".join(
        _command(suite, scale, device, own, settings) for device, own in by_device.items()
    )


def _command(
    suite: Suite, scale: str, device: str, group: Sequence[Record], settings: Sequence[str]
) -> str:
    first = group[0]
    words = ["harness", "run", suite.name, "--scale", scale]
    words += [word for setting in settings for word in ("--set", setting)]
    words += ["--methods", first.method, "--tasks", first.task]
    words += ["--seeds", ranges(r.seed for r in group)]
    if device != "cpu" or suite.known_scale(scale).machine in ("gpu", "paper"):
        words += ["--device", device]  # elsewhere it is the CPU, whatever is there
    words += ["--results", "again"]
    plugins = first.spec.get("plugins")
    known = {added.name: added.word for added in suite.plugins}
    for name in plugins if isinstance(plugins, list | tuple) else ():
        words += ["--plugin", known.get(str(name)) or str(name)]
    return shlex.join(words)


def ranges(seeds: Iterable[int]) -> str:
    """`0-4,7`, as `--seeds` reads it."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def _twice(metric: Metric, metrics: Sequence[Metric]) -> bool:
    return sum(m.label == metric.label for m in metrics) > 1


def bounds_of(groups: Iterable[Iterable[Record]], metric: Metric) -> tuple[float, float]:
    """The smallest and the largest number that any of the records has."""
    values = [r.metrics[metric.name] for group in groups for r in group if metric.name in r.metrics]
    return min(values), max(values)


def _curves(group: Sequence[Record]) -> tuple[Curve, ...]:
    """How the trainings went, at most two pictures; of what was counted otherwise the first."""
    names = dict.fromkeys(name for r in group for name in r.series)
    labels = {
        name: next(r.series[name].x_label for r in group if name in r.series) for name in names
    }
    chosen = [name for name in sorted(names) if labels[name] in _PROGRESS] or sorted(names)
    out = []
    for name in chosen[:_CURVES]:
        series = [r.series[name] for r in group if name in r.series][:_DRAWN]
        text = f"{labels[name]} {_span(series, 'x')}; {name} {_span(series, 'y')}"
        few = f"; the first {_DRAWN} seeds" if len(group) > _DRAWN else ""
        said = f"{name} over {labels[name]}, one line for each seed: {text}"
        out.append(Curve(name, plot.lines(series, said), text + few))
    return tuple(out)


def _span(series: Sequence[Series], axis: str) -> str:
    values = [v for s in series for v in getattr(s, axis)]
    if not values:
        return number.MISSING
    return f"{number.significant(min(values))} to {number.significant(max(values))}"


def _costs(group: Sequence[Record]) -> str:
    memory = max(r.cost.peak_memory_bytes for r in group)
    parts = [
        f"{number.seconds(total(r.cost.wall_seconds for r in group))} in all",
        f"at most {number.memory(memory)} of memory",
    ]
    for name in sorted({name for r in group for name in r.counts}):
        counts = sorted({r.counts[name] for r in group if name in r.counts})
        show = number.power if "flops" in name else number.count
        low, high = show(counts[0]), show(counts[-1])
        parts.append(f"{name} {low}" + (f" to {high}" if high != low else ""))
    return ", ".join(parts)


def _flat(value: Any, path: str) -> dict[str, str]:
    """A specification as lines: dotted path -> JSON."""
    if isinstance(value, dict) and value:
        return {k: v for key in value for k, v in _flat(value[key], f"{path}.{key}").items()}
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return {path: text.strip('"') if isinstance(value, str) else text}


def _shared(specs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Lines that all specifications have; digests and ids shortened."""
    first = specs[0] if specs else {}
    return {
        key: _short(value)
        for key, value in sorted(first.items())
        if all(spec.get(key) == value for spec in specs)
    }


def _differences(
    specs: Sequence[Mapping[str, str]], shared: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Lines beyond those that the page shows once; several values where seeds differ in them."""
    values: dict[str, list[str]] = {}
    for spec in specs:
        for key, value in spec.items():
            if key not in shared and key not in _TOLD and value not in ("{}", "[]"):
                usual = spec.get(f"scale.{key.partition('.')[2]}")
                over = f" (the scale has {usual})" if usual not in (None, value) else ""
                values.setdefault(key, []).append(_short(value) + over)
    told = []
    for key, own in sorted(values.items()):
        each = list(dict.fromkeys(own))
        if len(each) > 2 and key.startswith("artifacts."):
            told.append((key, f"{len(each)} of them, one per seed"))
        else:
            told.append((key, ", ".join(each)))
    return tuple(told)


def _short(value: str) -> str:
    digest = len(value) == 64 and all(c in "0123456789abcdef" for c in value)
    return value[:12] if digest else value


class Machines:
    """Letters for what records ran on and with, in the order in which they are met."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def letter(self, record: Record) -> str:
        p = record.provenance
        commit = f"commit {p.commit[:12]}" if p.commit else "outside a repository"
        packages = ", ".join(f"{name} {version}" for name, version in sorted(p.packages.items()))
        text = "; ".join(
            part
            for part in (
                commit + (" with changed files" if p.dirty else ""),
                f"source {p.source_digest[:12]}",
                f"{p.platform}, {p.processor}, {number.plural(p.threads, 'thread')}",
                p.accelerator or "",
                f"Python {p.python}, {packages}" if packages else f"Python {p.python}",
            )
            if part
        )
        return self._seen.setdefault(text, _letters(len(self._seen)))

    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple((letter, text) for text, letter in self._seen.items())


def _letters(place: int) -> str:
    """A to Z, then AA, AB, ..."""
    rest, last = divmod(place, 26)
    return (_letters(rest - 1) if rest else "") + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[last]
