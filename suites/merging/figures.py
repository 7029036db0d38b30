"""The suite's pictures, from records alone.

A method looks the same in all of them; every point that is a mean carries its 95 % interval.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from harness import digits
from harness.analysis import cells, frame, of_trainings
from harness.drawing import bounds, interval_line, legend, panels, points, styles, threads
from harness.record import Record
from harness.stats import mean_interval
from harness.suite import Figure, Method, Suite, Task
from suites.merging.methods import BLIND, HIDDEN

GROUPS = ("attn", "mlp", "ln")
"""Groups of parameters whose Fisher information is recorded."""


def path(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Score against the share of the other policy, one panel per environment."""
    tasks = _tasks(records, suite, "path")
    if not tasks:
        return None
    drawing, axes = panels(len(tasks), len(tasks), (2.7, 2.7), more=(0.3, 0.3))
    for axis, task in zip(axes, tasks, strict=True):
        _lines(axis, records, suite, task, "path")
        axis.set_xlabel("share of the next task's policy")
    axes[0].set_ylabel("normalised score")
    legend(drawing, axes, 2)
    return drawing


def merged(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """One bar per method, one column per environment: mean, interval, every seed."""
    return _bars(records, suite, [task for task in suite.tasks if task.name not in HIDDEN])


def hidden(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """The same where policies are not shown velocities."""
    return _bars(records, suite, [task for task in suite.tasks if task.name in HIDDEN])


def _bars(records: Sequence[Record], suite: Suite, among: Sequence[Task]) -> Drawing | None:
    grouped, look = cells(frame(records, suite)), styles(m.name for m in suite.methods)
    scores = {
        (m.name, t.name): grouped[(m.name, t.name, "score")] for m in suite.methods for t in among
    }
    methods = [m for m in suite.methods if any(scores[m.name, t.name].seeds for t in among)]
    tasks = [t for t in among if any(scores[m.name, t.name].seeds for m in suite.methods)]
    if not methods:
        return None
    names = max(len(m.title) for m in methods)
    drawing = Drawing(figsize=(2.1 * len(tasks) + 0.055 * names, 0.19 * len(methods) + 0.9))
    axes = list(drawing.subplots(1, len(tasks), sharey=True, squeeze=False).flat)
    for axis, task in zip(axes, tasks, strict=True):
        for place, method in enumerate(methods):
            cell = scores[method.name, task.name]
            values = cell.values
            if not len(values):
                continue
            mean, low, high = bounds(cell.interval())
            hatch = "////" if method.kind in ("control", "ablation") else ""
            axis.barh(
                place, mean, color=look[method.name].color, alpha=0.55, hatch=hatch,
                edgecolor="white", linewidth=0,
            )  # fmt: skip
            axis.hlines(place, low, high, color="#111827", linewidth=1)
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            points(axis, values.tolist(), list(place + spread), look[method.name], zorder=3)
        axis.set_title(textwrap.fill(task.label, 22))
        axis.set_xlabel("score")
        axis.margins(y=0.01)
    axes[0].set_yticks(range(len(methods)), [m.title for m in methods], fontsize=7)
    axes[0].invert_yaxis()
    return drawing


def by_layer(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Mean Fisher information of each group by layer; columns are methods, rows environments."""
    tasks = _tasks(records, suite, "information-attn")
    methods = [m for m in suite.methods if _having(records, m, tasks, "information-attn")]
    if not methods:
        return None
    look = styles(GROUPS)
    drawing = Drawing(figsize=(2.6 * len(methods) + 0.4, 1.8 * len(tasks) + 0.9))
    rows = drawing.subplots(len(tasks), len(methods), sharex=True, squeeze=False)
    for row, task in zip(rows, tasks, strict=True):
        for axis, method in zip(row, methods, strict=True):
            for group in GROUPS:
                for record in _having(records, method, [task], f"information-{group}"):
                    line = record.series[f"information-{group}"]
                    layers = np.array(line.x) + 1
                    axis.plot(
                        layers, line.y, label=group, linewidth=0.8, markersize=3,
                        alpha=0.8, **look[group]._asdict(),
                    )  # fmt: skip
                    axis.set_xticks(layers)
        row[0].set_ylabel(f"{textwrap.fill(task.label, 22)}\nlog10 of the mean")
    for axis, method in zip(rows[0], methods, strict=True):
        axis.set_title(textwrap.fill(method.title, 32), fontsize=8)
    for axis in rows[-1]:
        axis.set_xlabel("layer")
    legend(drawing, list(rows.flat), len(GROUPS))
    return drawing


def recovery(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Score against updates of the rest after the backbone was frozen."""
    tasks = _tasks(records, suite, "recovery")
    if not tasks:
        return None
    grouped = cells(frame(records, suite))
    drawing, axes = panels(len(tasks), len(tasks), (2.7, 2.7), more=(0.3, 0.4))
    for axis, task in zip(axes, tasks, strict=True):
        _lines(axis, records, suite, task, "recovery")
        name = f"{BLIND if task.name in HIDDEN else ''}individual"
        individual = grouped[(name, task.name, "score")].values
        if len(individual):
            label = suite.method(name).title
            axis.axhline(
                digits.mean(individual.tolist()), color="#6b7280", linestyle=":", label=label
            )
        axis.set_xlabel("updates after freezing")
    axes[0].set_ylabel("normalised score")
    legend(drawing, axes, 2)
    return drawing


def _lines(axis: Axes, records: Sequence[Record], suite: Suite, task: Task, series: str) -> None:
    """The means of a series over seeds, with their intervals: one line per method that has it."""
    look = styles(m.name for m in suite.methods)
    for method in suite.methods:
        having = of_trainings(_having(records, method, [task], series))
        lines = [record.series[series] for record in having]
        if lines:
            columns = np.array([line.y for line in lines]).T
            intervals = [mean_interval(column) for column in columns]
            threads(axis, lines[0].x, [line.y for line in lines], look[method.name])
            interval_line(axis, lines[0].x, intervals, look[method.name], method.title)
    axis.set_title(task.label)


def _tasks(records: Sequence[Record], suite: Suite, series: str) -> list[Task]:
    """The tasks of which some record has the series."""
    names = {r.task for r in records if series in r.series}
    return [task for task in suite.tasks if task.name in names]


def _having(
    records: Sequence[Record], method: Method, tasks: Sequence[Task], series: str
) -> list[Record]:
    """A method's records on the tasks that have the series."""
    names = {task.name for task in tasks}
    return [
        r for r in records if r.method == method.name and r.task in names and series in r.series
    ]
