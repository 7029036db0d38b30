"""Effects along an axis: a setting, each value a variant of the scale, or a parameter of tasks.

The scale's own value is a point of every setting's axis. Where all values are positive the axis is
read in decades, so that widths, tokens and epochs can be told over orders of magnitude.

Shapes: S seeds, P points.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from harness import stats
from harness.analysis import Cells
from harness.claim import Claim, Exact, LowerSpread, Trend
from harness.digits import mean
from harness.effects import CONFIDENCE, unit_of, widened
from harness.evidence import gather, sample, tasks_of
from harness.stats import Interval
from harness.suite import Axis, Scale, Suite, Task
from harness.variants import points, value_of

CellsOf = Callable[[str], Cells]
"""The cells of a scale or variant, by its name."""

LINE = "axis-task"
"""Parameter of the tasks of an unfolded trend: what stays fixed within one line."""


class Effect(NamedTuple):
    """The effect of a claim at one value."""

    value: float
    interval: Interval
    """Positive where it speaks for the claim."""
    by_seed: tuple[float, ...]


class Curve(NamedTuple):
    """The effect of a claim along an axis."""

    claim: str
    axis: Axis
    unit: str
    effects: tuple[Effect, ...]
    slope: Interval
    """Toward the paper's value, where there is one: positive where the effect grows that way."""
    decades: bool
    """The slope is per factor of ten, else per unit of the axis."""
    own: float
    """The scale's value."""

    @property
    def paper(self) -> str:
        """Where the paper's value lies, in words; empty where it has none."""
        paper, name = self.axis.paper, self.axis.label or self.axis.name
        if paper is None:
            return ""
        values = [effect.value for effect in self.effects]
        number = f"{paper:,.0f}" if paper.is_integer() else f"{paper:g}"
        at = f"{number} {self.axis.unit}".strip()
        if values and min(values) <= paper <= max(values):
            return f"the paper's {name}, {at}, lies within what was measured"
        side = "above" if not values or paper > max(values) else "below"
        return f"the paper's {name}, {at}, lies {side} all that was measured"


def along(suite: Suite, scale: Scale, claim: Claim, cells_of: CellsOf) -> Curve | None:
    """The effect of a claim at each value of its axis, and how it changes toward the paper's.

    The slope is taken within each seed that all points have (least squares), its interval over
    seeds. None where the scale has no such axis, or fewer than two points have numbers.
    """
    axis = next((a for a in scale.axes if a.name == claim.axis), None)
    if axis is None or isinstance(claim, Exact | LowerSpread):
        return None
    effects, columns = [], []
    overlap = 0.0
    for value, point in points(suite, scale, axis):
        if not tasks_of(suite, point, claim):
            continue
        evidence = gather(suite, point, claim, cells_of(point.name))
        evidence = evidence.once(claim)
        if evidence.outcome or not evidence.seeds:
            continue
        x_S = sample(suite, claim, evidence).x_S
        overlap = max(overlap, evidence.overlap)
        interval = stats.mean_interval(widened(x_S, evidence.overlap), CONFIDENCE)
        effects.append(Effect(value, interval, tuple(x_S.tolist())))
        columns.append(dict(zip(evidence.seeds, x_S.tolist(), strict=True)))
    if len(effects) < 2:
        return None
    decades = min(e.value for e in effects) > 0 and (axis.paper is None or axis.paper > 0)
    at_P = [math.log10(e.value) if decades else e.value for e in effects]
    seeds = sorted(set.intersection(*(set(column) for column in columns)))
    own = value_of(scale, axis)
    toward = -1.0 if axis.paper is not None and axis.paper < own else 1.0
    slopes_S = np.array([toward * _slope(at_P, [column[s] for column in columns]) for s in seeds])
    slope = stats.mean_interval(widened(slopes_S, overlap), CONFIDENCE)
    return Curve(claim.name, axis, unit_of(suite, claim), tuple(effects), slope, decades, own)


def _slope(x_P: Sequence[float], y_P: Sequence[float]) -> float:
    middle = mean(x_P)
    squares = math.fsum((x - middle) ** 2 for x in x_P)
    return math.fsum((x - middle) * y for x, y in zip(x_P, y_P, strict=True)) / squares


def over_axis(suite: Suite, claim: Claim) -> bool:
    """Whether a claim is a trend over a setting's axis, of this or another scale."""
    names = {axis.name for scale in suite.scales for axis in scale.axes if axis.setting}
    return isinstance(claim, Trend) and claim.over in names


def placed(
    suite: Suite, scale: Scale, claim: Claim, cells_of: CellsOf
) -> tuple[Suite, Scale, Claim, Cells] | None:
    """Where a claim is to be judged: at the scale, or along its axis where it is a trend over one.

    None: the scale does not have the axis.
    """
    if not isinstance(claim, Trend) or not over_axis(suite, claim):
        return suite, scale, claim, cells_of(scale.name)
    axis = next((a for a in scale.axes if a.name == claim.over and a.setting), None)
    return unfold(suite, scale, claim, axis, cells_of) if axis else None


def unfold(
    suite: Suite, scale: Scale, claim: Trend, axis: Axis, cells_of: CellsOf
) -> tuple[Suite, Scale, Trend, Cells]:
    """A trend over an axis in the form of a trend over parameters: each point has its own tasks.

    What comes back is judged like any other trend: a line for each task, the axis's value on it.
    """
    tasks: list[Task] = []
    grouped = Cells()
    for value, point in points(suite, scale, axis):
        there = cells_of(point.name)
        for task in tasks_of(suite, point, claim):
            name = f"{task.name} at {axis.label or axis.name} {value:g}"
            params = task.params | {axis.name: value, LINE: task.name}
            tasks.append(task.model_copy(update={"name": name, "params": params}))
            for side in filter(None, (claim.a, claim.b)):
                grouped[side, name, claim.metric] = there[side, task.name, claim.metric]
    names = tuple(task.name for task in tasks)
    return (
        suite.model_copy(update={"tasks": tuple(tasks)}),
        scale.model_copy(update={"tasks": names, "exclude": (), "methods": axis.methods}),
        claim.model_copy(update={"tasks": names, "group": (LINE,), "checks": ()}),
        grouped,
    )
