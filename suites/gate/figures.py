"""The suite's pictures, from records alone.

A method looks the same in all of them; every point that is a mean carries its 95 % interval.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from harness.analysis import cells, frame
from harness.digits import total
from harness.drawing import (
    HIDDEN,
    bounds,
    interval_line,
    legend,
    panels,
    points,
    shown,
    styles,
    threads,
)
from harness.record import Record
from harness.suite import Figure, Suite, Task


def depth(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Score against depth, one panel per graph."""
    tasks = _present(records, suite, protocol="standard")
    graphs = {
        graph: sorted(group, key=_depth)
        for graph, group in _by_graph(tasks).items()
        if len(group) > 1
    }
    if not graphs:
        return None
    grouped, look = cells(frame(records, suite)), styles(m.name for m in suite.methods)
    drawing, axes = panels(len(graphs), columns=4, size=(2.5, 2.1), more=(0, 0.4))
    for place, (axis, (graph, group)) in enumerate(zip(axes, graphs.items(), strict=False)):
        metric = group[0].metrics[0]
        for shift, method in enumerate(suite.methods):
            found = []
            for task in group:
                cell = grouped[(method.name, task.name, metric)]
                if cell.seeds:
                    found.append((_depth(task), cell))
            if found:
                x = [d + 0.04 * (shift - len(suite.methods) / 2) for d, _ in found]
                lines = [cell.interval() for _, cell in found]
                values = [cell.values.tolist() for _, cell in found]
                interval_line(axis, x, lines, look[method.name], method.title, values)
        axis.set_title(graph)
        axis.set_xticks([_depth(t) for t in group])
        if place % 4 == 0:
            axis.set_ylabel(f"{suite.metric('accuracy').split} score, %")
        axis.set_xlabel("layers")
    legend(drawing, axes, 7)
    return drawing


def alpha(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Histograms of alpha_vv, one row per task and one column per layer; a thin line per seed."""
    tasks = _present(records, suite, protocol="standard")
    order = ("self-er8", "self-cora-random", "neighbour3", "minesweeper", "actor", "cora")
    deepest = [t for g in order for t in tasks if (t.params["graph"], t.params["depth"]) == (g, 5)]
    chosen = deepest or [t for t in tasks if _has_alpha(records, t.name)]
    methods = [m for m in shown(suite, figure) if _has_alpha(records, m.name)]
    if not chosen or not methods:
        return None
    look = styles(m.name for m in suite.methods)
    layers = max(_depth(t) for t in chosen)
    drawing = Drawing(figsize=(1.75 * layers + 0.6, 1.25 * len(chosen) + 0.7))
    axes = drawing.subplots(len(chosen), layers, sharex=True, squeeze=False)
    for place, (row, task) in enumerate(zip(axes, chosen, strict=True)):
        for layer, axis in enumerate(row, start=1):
            for method in methods:
                color = look[method.name].color
                shares, edges = _histogram(records, method.name, task, layer)
                if shares is not None:
                    axis.stairs(
                        shares, edges, color=color, label=method.title, fill=True, alpha=0.45
                    )
                for record in records:
                    own, edges = _histogram([record], method.name, task, layer)
                    if own is not None:
                        label = f"{HIDDEN}{method.title}, seed {record.seed}"
                        axis.stairs(own, edges, color=color, label=label, linewidth=0.4, alpha=0.7)
            axis.set_yticks([])
            axis.set_xlim(0, 1)
            axis.grid(visible=False)
            if place == 0:
                axis.set_title(f"layer {layer}")
            if place == len(chosen) - 1:
                axis.set_xlabel("alpha_vv")
        row[0].set_ylabel(str(task.params["graph"]), rotation=0, ha="right", va="center")
    legend(drawing, list(axes.flat), 7)
    return drawing


def energy(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """Neighbour Dirichlet energy by layer, median over seeds and every seed."""
    tasks = _present(records, suite, protocol="standard")
    deepest = [t for t in tasks if _depth(t) >= 5] or tasks
    if not deepest:
        return None
    look = styles(m.name for m in suite.methods)
    drawing, axes = panels(len(deepest), columns=4, size=(2.5, 2.1), more=(0, 0.4))
    for place, (axis, task) in enumerate(zip(axes, deepest, strict=False)):
        for method in suite.methods:
            lines = [
                np.maximum(r.series["energy-by-layer"].y, 1e-6)
                for r in records
                if (r.method, r.task) == (method.name, task.name) and "energy-by-layer" in r.series
            ]
            if not lines:
                continue
            stack = np.stack(lines)
            layers = np.arange(stack.shape[1])
            style = look[method.name]
            axis.plot(
                layers, np.median(stack, axis=0), label=method.title, markersize=3,
                **style._asdict(),
            )  # fmt: skip
            threads(axis, layers.tolist(), stack.tolist(), style)
        axis.set_yscale("log")
        axis.set_title(task.label or task.name)
        axis.set_xlabel("layer")
        if place % 4 == 0:
            axis.set_ylabel("Dirichlet energy")
    legend(drawing, axes, 7)
    return drawing


def protocols(records: Sequence[Record], suite: Suite, figure: Figure) -> Drawing | None:
    """The same method, graph and depth under both protocols, side by side."""
    tasks = {t.name: t for t in _present(records, suite)}
    both = [
        (tasks[name], tasks[f"{name}-paper-code"])
        for name in tasks
        if f"{name}-paper-code" in tasks
    ]
    if not both:
        return None
    grouped, look = cells(frame(records, suite)), styles(m.name for m in suite.methods)
    methods = [m for m in suite.methods if _ran(records, m.name)]
    drawing, axes = panels(len(both), columns=2, size=(4.6, 2.6), more=(0, 0.4))
    for axis, pair in zip(axes, both, strict=False):
        for offset, (task, hatch) in enumerate(zip(pair, ("", "////"), strict=True)):
            for place, method in enumerate(methods):
                cell = grouped[(method.name, task.name, task.metrics[0])]
                if not cell.seeds:
                    continue
                mean, low, high = bounds(cell.interval())
                x = place + 0.38 * offset
                axis.bar(
                    x, mean, width=0.36, color=look[method.name].color, hatch=hatch,
                    edgecolor="white", linewidth=0.5,
                )  # fmt: skip
                axis.vlines(x, low, high, color="#111827", linewidth=1)
                values = cell.values.tolist()
                spread = np.linspace(x - 0.12, x + 0.12, len(values)).tolist()
                points(axis, spread, values, look[method.name]._replace(color="#111827"))
        ticks, names = [i + 0.19 for i in range(len(methods))], [m.title for m in methods]
        axis.set_xticks(ticks, names, rotation=30, ha="right")
        axis.set_ylim(bottom=40)
        axis.set_title(
            f"{pair[0].label or pair[0].name}: standard, and hatched the released code's"
        )
        axis.set_ylabel("ROC-AUC, %")
    return drawing


def _present(
    records: Sequence[Record], suite: Suite, protocol: str | None = None
) -> tuple[Task, ...]:
    there = {r.task for r in records}
    return tuple(t for t in suite.tasks if t.name in there and protocol in (None, t.protocol))


def _depth(task: Task) -> int:
    return int(str(task.params["depth"]))


def _ran(records: Sequence[Record], method: str) -> bool:
    return any(r.method == method for r in records)


def _by_graph(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(str(task.params["graph"]), []).append(task)
    return groups


def _has_alpha(records: Sequence[Record], name: str) -> bool:
    """Whether some record of the method or task of that name holds weights of attention."""
    return any(name in (r.method, r.task) and "alpha-layer-1" in r.series for r in records)


def _histogram(
    records: Sequence[Record], method: str, task: Task, layer: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]] | None, Any]:
    name = f"alpha-layer-{layer}"
    found = [
        r.series[name]
        for r in records
        if (r.method, r.task) == (method, task.name) and name in r.series
    ]
    if not found:
        return None, None
    sums = [total(column) for column in zip(*(s.y for s in found), strict=True)]
    return np.array(sums) / total(sums), np.array([*found[0].x, 1.0])
