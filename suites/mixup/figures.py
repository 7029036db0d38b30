"""The suite's pictures, from records alone.

A method looks the same in all of them; every point that is a mean carries its 95 % interval.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from harness import digits
from harness.analysis import Cells, cells, frame
from harness.drawing import (
    HIDDEN,
    cell_points,
    interval_line,
    legend,
    panels,
    points,
    shown,
    styles,
)
from harness.record import Record
from harness.stats import column_means
from harness.suite import Figure, Method, Suite, Task

SERIES = "alpha-"
"""How the names of series of learnt alpha begin; a kind of module follows."""


def scores(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """One panel per task of 300 examples, one row per method; seeds are points, means are bars."""
    tasks = [t for t in _present(records, suite) if t.params.get("n") == 300] or list(
        _present(records, suite)
    )
    methods = [m for m in suite.methods if any(r.method == m.name for r in records)]
    grouped = cells(frame(records, suite))
    tasks = [t for t in tasks if any(len(_values(grouped, m.name, t)) for m in methods)]
    if not tasks:
        return None
    look = styles(m.name for m in suite.methods)
    size = (2.3, 0.24 * len(methods) + 0.5)
    drawing, axes = panels(len(tasks), columns=5, size=size, more=(1.2, 0.5))
    for place, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        for row, method in enumerate(methods):
            values = _values(grouped, method.name, task)
            if not len(values):
                continue
            style = look[method.name]
            points(axis, values.tolist(), [row] * len(values), style)
            mean = digits.mean(values.tolist())
            axis.vlines(mean, row - 0.35, row + 0.35, color=style.color, linewidth=1.6)
        axis.set_ylim(len(methods) - 0.5, -0.5)
        titles = [m.title for m in methods] if place % 5 == 0 else [""] * len(methods)
        axis.set_yticks(range(len(methods)), titles)
        axis.set_title(textwrap.fill(task.label or task.name, 20), fontsize=8)
        axis.set_xlabel(f"{task.params['measure']}, %")
    return drawing


def sizes(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Score against N, one panel per dataset that was sub-sampled to several sizes."""
    groups: dict[str, list[Task]] = {}
    for task in _present(records, suite):
        if task.params.get("n") and task.protocol == "standard":
            groups.setdefault(f"{task.params['train']} to {task.params['test']}", []).append(task)
    grouped = cells(frame(records, suite))

    def complete(tasks: list[Task]) -> list[Method]:
        return [m for m in suite.methods if all(len(_values(grouped, m.name, t)) for t in tasks)]

    groups = {name: tasks for name, tasks in groups.items() if len(tasks) > 1 and complete(tasks)}
    if not groups:
        return None
    look = styles(m.name for m in suite.methods)
    drawing, axes = panels(len(groups), columns=3, size=(3.6, 2.8), more=(1.2, 0.5))
    for axis, (name, tasks) in zip(axes, groups.items(), strict=True):
        methods = complete(tasks)
        for shift, method in enumerate(methods):
            those = [grouped[method.name, t.name, "score"] for t in tasks]
            intervals, values = [c.interval() for c in those], [c.values.tolist() for c in those]
            aside = 1 + 0.008 * (shift - len(methods) / 2)
            x = [aside * float(str(t.params["n"])) for t in tasks]
            interval_line(axis, x, intervals, look[method.name], method.title, values)
        axis.set_xscale("log")
        axis.set_xticks([], minor=True)
        ticks = [int(str(t.params["n"])) for t in tasks]
        axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axis.set_title(name.partition(" ")[0])
        axis.set_xlabel("training examples")
        axis.set_ylabel(f"{tasks[0].params['measure']}, %")
    legend(drawing, axes, 5)
    return drawing


def alpha(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Heat maps of the learnt alpha: one panel per method, modules against layers, every seed."""
    learning = []
    for method in shown(suite, figure):
        learnt = [r for r in records if r.method == method.name]
        kinds = list(dict.fromkeys(k for r in learnt for k in r.series if k.startswith(SERIES)))
        if kinds:
            learning.append((method, kinds, learnt))
    if not learning:
        return None
    drawing, axes = panels(len(learning), columns=4, size=(2.8, 2.4), more=(1.2, 0.5))
    maps = [_heat(kinds, found) for _, kinds, found in learning]
    lowest = min(float(np.nanmin(m)) for m in maps)
    least = min(min(r.series[k].y) for _, kinds, own in learning for r in own for k in kinds
                if k in r.series)  # fmt: skip
    for place, (axis, (method, kinds, learnt), heat) in enumerate(
        zip(axes, learning, maps, strict=True)
    ):
        image = axis.imshow(heat, vmin=lowest, vmax=1.0, cmap="viridis", aspect="auto")
        axis.set_title(method.title)
        axis.set_xlabel("layer")
        axis.set_xticks(range(heat.shape[1]), [str(n + 1) for n in range(heat.shape[1])])
        names = [k.removeprefix(SERIES) for k in kinds] if place % 4 == 0 else [""] * len(kinds)
        axis.set_yticks(range(len(kinds)), names)
        axis.grid(visible=False)
        for (row, column), value in np.ndenumerate(heat):
            if not math.isnan(value):
                color = "white" if value < (lowest + 1) / 2 else "black"
                axis.text(
                    column, row - 0.12, f"{value:.3f}", ha="center", va="center", fontsize=5.5,
                    color=color,
                )  # fmt: skip
                lines = [r.series[kinds[row]].y for r in learnt if kinds[row] in r.series]
                label = f"{method.title}, {kinds[row].removeprefix(SERIES)}, layer {column + 1}"
                seeds = [line[column] for line in lines]
                cell_points(axis, row, column, seeds, (least, 1.0), color, label)
    drawing.colorbar(image, ax=axes, label="mean alpha", shrink=0.8)
    return drawing


def cost(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """CPU-seconds against vanilla's, and the gain over it, both on the trials that both ran.

    A small mark for each seed over its tasks, a large one for the mean of all trials.
    """
    done = {(r.method, r.task, r.seed): r for r in records if r.status == "ok"}
    costs: list[tuple[Method, tuple[float, float], dict[int, tuple[float, float]]]] = []
    for method in suite.methods:
        pairs = [
            (record, done["vanilla", task, seed])
            for (name, task, seed), record in done.items()
            if name == method.name and ("vanilla", task, seed) in done
        ]
        if not pairs or method.name == "vanilla":
            continue
        seeds = sorted({mine.seed for mine, _ in pairs})
        by_seed = {seed: _spent([p for p in pairs if p[0].seed == seed]) for seed in seeds}
        costs.append((method, _spent(pairs), by_seed))
    if not costs:
        return None
    look = styles(m.name for m in suite.methods)
    drawing = Drawing(figsize=(7.2, 4.4))
    axis = drawing.subplots()
    axis.axhline(0, color="#111827", linewidth=0.8)
    for method, (ratio, gain), by_seed in costs:
        style = look[method.name]._replace(linestyle="none")
        for seed, (x, y) in by_seed.items():
            points(axis, [x], [y], style, f"{HIDDEN}{method.title}, seed {seed}", alpha=0.45)
        axis.plot(ratio, gain, label=method.title, markersize=5, **style._asdict())
    axis.set_xscale("log")
    axis.set_xlabel("CPU time of a trial, times vanilla's")
    axis.set_ylabel("mean gain over vanilla, points")
    drawing.legend(loc="outside right upper", fontsize=6.5)
    return drawing


def _spent(pairs: Sequence[tuple[Record, Record]]) -> tuple[float, float]:
    """Geometric mean of the ratio of CPU times, and mean gain, of trials against vanilla's."""
    logs = [
        math.log(max(mine.cost.cpu_seconds, 1e-3) / max(theirs.cost.cpu_seconds, 1e-3))
        for mine, theirs in pairs
    ]
    gains = [mine.metrics["score"] - theirs.metrics["score"] for mine, theirs in pairs]
    return digits.steady(math.exp(digits.mean(logs))), digits.mean(gains)


def _present(records: Sequence[Record], suite: Suite) -> tuple[Task, ...]:
    there = {r.task for r in records}
    return tuple(t for t in suite.tasks if t.name in there)


def _values(grouped: Cells, method: str, task: Task) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return grouped[(method, task.name, "score")].values


def _heat(kinds: Sequence[str], found: Sequence[Record]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Mean of each kind's series over records, NaN where a kind has no such layer."""
    layers = max(len(r.series[k].y) for r in found for k in kinds if k in r.series)
    heat = np.full((len(kinds), layers), math.nan)
    for row, kind in enumerate(kinds):
        lines = np.array([r.series[kind].y for r in found if kind in r.series])
        heat[row, : lines.shape[1]] = column_means(lines)
    return heat
