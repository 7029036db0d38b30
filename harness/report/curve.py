"""Pictures along axes: the effect of a claim, and a metric of every method; every seed is shown."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from harness.analysis import Cell
from harness.axes import Curve, worded
from harness.claim import sides_of
from harness.report.along import PREFIX, Key, Stretch
from harness.report.delimited import lines_of
from harness.report.figure import Kept, Picture, drawn_by
from harness.suite import Axis, Claim, Method, Metric, Suite, Task, select


def draw_curve(
    suite: Suite, curve: Curve, places: Mapping[Key, str] = MappingProxyType({}),
    kept: Kept | None = None,
) -> Picture:  # fmt: skip
    """Draws the effect of a claim along an axis: every seed, the intervals, the paper's value.

    Args:
        suite: whose claim.
        curve: its effects.
        places: of the pages of records, by method, task and scale.
        kept: pictures that need not be drawn again.
    """
    claim = next(c for c in suite.claims if c.name == curve.claim)
    links = _links(suite, claim, curve, places)
    picture = Picture(
        f"curve-{curve.claim}", claim.text, _caption(curve), links=links, axis=curve.axis.name
    )

    def drawn() -> Picture:
        return drawn_by(
            picture, lambda: _curve(curve), "harness.report.figure", _curve_numbers(curve)
        )

    return drawn() if kept is None else kept.of(picture, "harness.drawing", repr(curve), drawn)


def _links(
    suite: Suite, claim: Claim, curve: Curve, places: Mapping[Key, str]
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """For each task the records of the claim's first method at each value."""
    out = []
    for task in select(suite.tasks, claim.tasks):
        there = [
            (worded(curve.axis, effect.value), places[key])
            for effect in curve.effects
            for key in [(sides_of(claim)[0], task.name, effect.scale)]
            if key in places
            and (not curve.axis.parameter or task.params[curve.axis.parameter] == effect.value)
        ]
        if there:
            out.append((task.label or task.name, tuple(there)))
    return tuple(out)


def _curve_numbers(curve: Curve) -> str:
    """One line for each seed at each value, and one for their mean."""
    about = (curve.claim, curve.axis.name, curve.axis.unit)
    rows: list[tuple[object, ...]] = [
        ("kind", "claim", "axis", "axis_unit", "axis_value", "seed", "effect", "low", "high", "n",
         "unit"),
    ]  # fmt: skip
    for e in curve.effects:
        rows += [
            ("seed", *about, e.value, seed, value, None, None, None, curve.unit)
            for seed, value in zip(e.seeds, e.by_seed, strict=True)
        ]
        i = e.interval.steady()
        low, high = (None, None) if i.low == i.high else (i.low, i.high)
        rows.append(("mean", *about, e.value, None, i.mean, low, high, i.n, curve.unit))
    return lines_of(rows)


def draw_levels(
    suite: Suite, stretch: Stretch, metric: Metric, kept: Kept | None = None
) -> Picture:
    """Draws a metric along an axis: a panel for each task, a line for each method, every seed."""
    axis = stretch.axis
    name = f"{PREFIX}{axis.name}-{metric.name}"
    caption = "Means and 95 % intervals, one small mark per seed."
    if axis.paper is not None:
        caption += f" Dotted: the paper's value, {worded(axis, axis.paper)}."
    title = f"{metric.label} along {stretch.title}"
    picture = Picture(name, title, caption, axis=axis.name)
    levels = _levels(suite, stretch, metric)

    def drawn() -> Picture:
        numbers = _level_numbers(axis, metric, levels)
        function = functools.partial(_draw_levels, suite, stretch, metric, levels)
        return drawn_by(picture, function, __name__, numbers)

    if kept is None:
        return drawn()
    records = [r.checksum for stop in stretch.stops for r in stop.selection.used]
    return kept.of(picture, "harness.drawing", " ".join((repr(axis), *records)), drawn)


Level = tuple[Task, Method, list[tuple[float, str, Cell]]]
"""A method on a task: value, scale and numbers, for each value that has some."""


def _levels(suite: Suite, stretch: Stretch, metric: Metric) -> list[Level]:
    found = []
    for task in suite.tasks:
        for method in suite.methods:
            there = [
                (stop.value, stop.scale, cell)
                for stop in stretch.stops
                for cell in [stop.cells[method.name, task.name, metric.name]]
                if cell.seeds and (method.name, task.name) in stop.selection.pairs
            ]
            if there:
                found.append((task, method, there))
    return found


def _draw_levels(suite: Suite, stretch: Stretch, metric: Metric, levels: Sequence[Level]) -> Any:
    from harness import drawing

    tasks = list(dict.fromkeys(task.name for task, _, _ in levels))
    if not tasks:
        return None
    made, panels = drawing.panels(len(tasks), 3, (3.0, 2.5), (0.6, 0.5))
    styles = drawing.styles(m.name for m in suite.methods)
    axis = stretch.axis
    decades = min(stop.value for stop in stretch.stops) > 0 and (axis.paper or 1) > 0
    for task, method, there in levels:
        panel = panels[tasks.index(task.name)]
        drawing.interval_line(
            panel,
            [value for value, _, _ in there],
            [cell.interval() for _, _, cell in there],
            styles[method.name],
            method.title,
            [cell.values.tolist() for _, _, cell in there],
        )
        panel.set_title(task.label or task.name)
    ticks = [stop.value for stop in stretch.stops]
    for panel in panels:
        if axis.paper is not None:
            panel.axvline(axis.paper, color="#6b7280", linewidth=1, linestyle=":")
            ticks.append(axis.paper)
        drawing.value_ticks(panel, ticks, decades, 3.0)
        panel.set_xlabel(stretch.title + (f" ({axis.unit})" if axis.unit else ""))
    panels[0].set_ylabel(metric.label + (f" ({metric.unit})" if metric.unit else ""))
    drawing.legend(made, panels, 4)
    return made


def _level_numbers(axis: Axis, metric: Metric, levels: Sequence[Level]) -> str:
    rows: list[tuple[object, ...]] = [
        ("kind", "task", "method", "metric", "scale", "axis", "axis_unit", "axis_value", "seed",
         "value", "low", "high", "n"),
    ]  # fmt: skip
    for task, method, there in levels:
        for value, scale, cell in there:
            at = (task.name, method.name, metric.name, scale, axis.name, axis.unit, value)
            rows += [("seed", *at, s, v, None, None, None) for s, v in cell.by_seed().items()]
            i = cell.interval().steady()
            rows.append(("mean", *at, None, i.mean, i.low, i.high, i.n))
    return lines_of(rows)


def _caption(curve: Curve) -> str:
    words = ["Mean and 95 % interval, one small mark per seed; above zero speaks for the claim."]
    if curve.axis.paper is not None:
        words.append(f"Dotted: {curve.paper}.")
    return " ".join(words)


def _curve(curve: Curve) -> Any:
    from harness import drawing

    made, (axis,) = drawing.panels(1, 1, (5.2, 3.2))
    style = drawing.styles(["effect"])["effect"]
    values = [effect.value for effect in curve.effects]
    for effect in curve.effects:
        drawing.points(axis, [effect.value] * len(effect.by_seed), effect.by_seed, style)
    drawing.interval_line(axis, values, [e.interval for e in curve.effects], style, "effect")
    axis.axhline(0, color="#6b7280", linewidth=0.8)
    if curve.axis.paper is not None:
        axis.axvline(curve.axis.paper, color="#6b7280", linewidth=1, linestyle=":")
        values.append(curve.axis.paper)
    drawing.value_ticks(axis, values, curve.decades, 5.2)
    unit = f" ({curve.axis.unit})" if curve.axis.unit else ""
    axis.set_xlabel(f"{curve.axis.label or curve.axis.name}{unit}")
    axis.set_ylabel(f"effect ({curve.unit})" if curve.unit else "effect")
    return made
