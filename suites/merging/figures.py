"""The suite's pictures, from records alone.

Every point that is a mean carries its 95 % interval; controls are grey.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from harness import digits
from harness.drawing import bounds, legend, panels
from harness.record import Record
from harness.runs import of_trainings
from harness.stats import mean_interval
from harness.suite import Figure, Method, Suite, Task

GREY, OWN = "#9ca3af", "#6b7280"
COLOURS = {
    "attn": "#1d4ed8",
    "mlp": "#d97706",
    "ln": "#15803d",
    "attn-mlp": "#be123c",
    "mff": "#1d4ed8",
    "mff-common": "#15803d",
    "mff-pretrained": "#7e22ce",
    "frozen-random": "#9ca3af",
    "frozen-other": "#4b5563",
}
"""By group of parameters or by method."""

STYLES = {"": "-", "-common": "--"}
"""Of lines, by where the policies started."""

Floats = NDArray[np.float64]


def path(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Score against the share of the other policy, one panel an environment."""
    methods = [m for m in suite.methods if m.name.startswith("path-")]
    tasks = _tasks_of(records, suite, methods, "path")
    if not tasks:
        return None
    drawing, axes = panels(len(tasks), len(tasks), (2.7, 2.7), more=(0.3, 0))
    for axis, task in zip(axes, tasks, strict=True):
        for method in methods:
            _, group, *start = method.name.split("-")
            style = STYLES["".join(f"-{s}" for s in start)]
            _line(axis, records, method, task, "path", color=COLOURS[group], linestyle=style)
        axis.set_title(task.label)
        axis.set_xlabel("share of the next task's policy")
    axes[0].set_ylabel("normalised score")
    legend(drawing, axes, 6)
    return drawing


def merged(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """A bar a method, one row an environment: mean, interval, every seed."""
    methods = [m for m in suite.methods if any(r.method == m.name and _score(r) for r in records)]
    tasks = [t for t in suite.tasks if any(r.task == t.name and _score(r) for r in records)]
    if not methods or not tasks:
        return None
    drawing = Drawing(figsize=(0.26 * len(methods) + 1.4, 1.7 * len(tasks) + 1.6))
    axes = list(drawing.subplots(len(tasks), 1, sharex=True, squeeze=False).flat)
    for axis, task in zip(axes, tasks, strict=True):
        for x, method in enumerate(methods):
            found = [
                r for r in records if (r.method, r.task) == (method.name, task.name) and _score(r)
            ]
            if not found:
                continue
            scores = [r.metrics["score"] for r in found]
            once = [r.metrics["score"] for r in of_trainings(found)]
            mean, low, high = bounds(mean_interval(once))
            axis.bar(x, mean, width=0.8, color=_colour(method), alpha=0.55)
            axis.vlines(x, low, high, color="#111827", linewidth=1)
            spots = x + np.linspace(-0.2, 0.2, len(scores)) if len(scores) > 1 else [x]
            axis.plot(spots, scores, ".", color="#111827", markersize=2.5)
        axis.set_title(task.label)
        axis.set_ylabel("score")
        axis.margins(x=0.01)
    names = [m.name for m in methods]
    axes[-1].set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    return drawing


def by_layer(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Mean Fisher information of each group by layer: a column a kind, a row an environment."""
    methods = [m for m in suite.methods if m.name.startswith("fisher-")]
    tasks = _tasks_of(records, suite, methods, "information-attn")
    shown = [m for m in methods if _found(records, m, tasks, "information-attn")]
    if not shown:
        return None
    drawing = Drawing(figsize=(2.6 * len(shown) + 0.4, 1.8 * len(tasks) + 0.6))
    rows = drawing.subplots(len(tasks), len(shown), sharex=True, squeeze=False)
    for row, task in zip(rows, tasks, strict=True):
        for axis, method in zip(row, shown, strict=True):
            for group in ("attn", "mlp", "ln"):
                for record in _found(records, method, [task], f"information-{group}"):
                    line = record.series[f"information-{group}"]
                    axis.plot(
                        np.array(line.x) + 1, line.y, color=COLOURS[group], label=group,
                        linewidth=0.8, alpha=0.8,
                    )  # fmt: skip
            axis.set_xticks(range(1, 1 + max(len(axis.lines[0].get_xdata()), 1)))
            axis.set_title(f"{task.label}, {method.params['information']}")
        row[0].set_ylabel("log10 of the mean")
    for axis in rows[-1]:
        axis.set_xlabel("layer")
    legend(drawing, list(rows.flat), 6)
    return drawing


def recovery(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Score against updates of the rest after the body was frozen."""
    methods = [m for m in suite.methods if m.name in COLOURS]
    tasks = _tasks_of(records, suite, methods, "recovery")
    if not tasks:
        return None
    drawing, axes = panels(len(tasks), len(tasks), (2.7, 2.7), more=(0.3, 0))
    for axis, task in zip(axes, tasks, strict=True):
        for method in methods:
            _line(axis, records, method, task, "recovery", color=COLOURS[method.name])
        own = [
            r.metrics["score"]
            for r in records
            if (r.method, r.task) == ("individual", task.name) and _score(r)
        ]
        if own:
            axis.axhline(digits.mean(own), color=OWN, linestyle=":", label="individual")
        axis.set_title(task.label)
        axis.set_xlabel("updates after freezing")
    axes[0].set_ylabel("normalised score")
    legend(drawing, axes, 6)
    return drawing


def _score(record: Record) -> bool:
    return record.status == "ok" and "score" in record.metrics


def _found(
    records: Sequence[Record], method: Method, tasks: Sequence[Task], series: str
) -> list[Record]:
    names = {t.name for t in tasks}
    return [
        r for r in records if r.method == method.name and r.task in names and series in r.series
    ]


def _tasks_of(
    records: Sequence[Record], suite: Suite, methods: Sequence[Method], series: str
) -> list[Task]:
    return [t for t in suite.tasks if any(_found(records, m, [t], series) for m in methods)]


def _line(
    axis: Axes, records: Sequence[Record], method: Method, task: Task, series: str, **style: Any
) -> None:
    """Mean over seeds with its interval."""
    found = of_trainings(_found(records, method, [task], series))
    if not found:
        return
    x = np.array(found[0].series[series].x)
    values = np.array([r.series[series].y for r in found])
    y, low, high = np.array([bounds(mean_interval(column)) for column in values.T]).T
    axis.errorbar(
        x, y, yerr=[y - low, high - y], label=method.name, marker="o", markersize=2.5,
        linewidth=1.1, elinewidth=0.8, **style,
    )  # fmt: skip


def _colour(method: Method) -> str:
    if method.kind in ("control", "ablation"):
        return GREY
    if method.kind == "baseline":
        return OWN
    groups = method.params.get("groups")
    return COLOURS.get("-".join(map(str, groups)) if isinstance(groups, list) else "", "#7e22ce")
