"""Checks against records: what was measured, what is needed, and whether it passes.

A check is measured on the tasks that the scale runs for its methods. Where it speaks of every task
(floor, ceiling, convergence), the worst one is shown. What could not be measured does not pass.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from harness import digits, registry
from harness.analysis import Cells, of_trainings
from harness.check import (
    Active,
    BudgetRatio,
    Ceiling,
    Check,
    Converged,
    Floor,
    Measured,
    methods_of,
)
from harness.digits import steady
from harness.errors import SpecError, described, quoted
from harness.record import Record
from harness.suite import Claim, Scale, Suite, Task, select

_PARTS = 10
"""A curve has come to rest where its last part of so many is near the part before."""


class Result(NamedTuple):
    """One check of one claim, measured."""

    name: str
    """What was measured."""
    value: float | None
    """None where nothing could be measured."""
    needed: str
    """The bound, in words."""
    passed: bool
    task: str = ""
    """The task that decides, where one does."""

    @property
    def words(self) -> str:
        """For the label of a verdict that it prevents."""
        number = "nothing" if self.value is None else f"{steady(self.value):.3g}"
        where = f" on {self.task}" if self.task else ""
        return f"{self.name}, measured {number}{where}, needed {self.needed}"


def measure(
    suite: Suite, scale: Scale, claim: Claim, grouped: Cells, records: Sequence[Record]
) -> tuple[Result, ...]:
    """All checks of a claim at a scale, in their order.

    Args:
        suite: whose claim.
        scale: whose tasks.
        claim: whose checks.
        grouped: cells of the scale.
        records: the records behind them, for curves, counts and functions of one's own.
    """
    return tuple(_one(suite, scale, claim, check, grouped, records) for check in claim.checks)


def _one(
    suite: Suite,
    scale: Scale,
    claim: Claim,
    check: Check,
    grouped: Cells,
    records: Sequence[Record],
) -> Result:
    methods = methods_of(check)
    met = {(method.name, task.name) for method, task in suite.pairs(scale)}
    tasks = [
        t
        for t in select(suite.tasks, check.tasks or claim.tasks)
        if all((m, t.name) in met for m in methods)
    ]
    metric = getattr(check, "metric", None) or claim.metric
    if isinstance(check, Floor | Ceiling | Active):
        tasks = [t for t in tasks if metric in t.reports]
    names = {t.name for t in tasks}
    own = [r for r in records if r.method in methods and r.task in names and r.status == "ok"]
    if isinstance(check, Floor | Ceiling):
        return _on_every_task(check, metric, tasks, grouped)
    if isinstance(check, Active):
        return _active(suite, check, metric, tasks, grouped)
    if isinstance(check, Converged):
        return _converged(check, own)
    if isinstance(check, BudgetRatio):
        return _ratio(check, own)
    return _measured(check, own, claim.name)


def _on_every_task(
    check: Floor | Ceiling, metric: str, tasks: Sequence[Task], grouped: Cells
) -> Result:
    floor = isinstance(check, Floor)
    name = check.label or f"{metric} of {check.method}"
    needed = f"at {'least' if floor else 'most'} {check.bound:g}"
    means = [(grouped[check.method, t.name, metric].interval().mean, t.name) for t in tasks]
    return _worst(name, means, needed, check.bound, floor)


def _worst(
    name: str,
    values: Iterable[tuple[float | None, str]],
    needed: str,
    bound: float,
    at_least: bool,
) -> Result:
    there = [(value, where) for value, where in values if value is not None]
    if not there:
        return Result(name, None, needed, False)
    value, where = (min if at_least else max)(there)
    return Result(name, value, needed, _within(value, bound, at_least), where)


def _active(
    suite: Suite, check: Active, metric: str, tasks: Sequence[Task], grouped: Cells
) -> Result:
    name = check.label or f"{metric} of {check.method}"
    if check.without:
        name = check.label or f"{metric} of {check.method} less that of {check.without}"
    sign = -1.0 if check.without and suite.metric(metric).better == "lower" else 1.0
    values = []
    for task in tasks:
        with_it = grouped[check.method, task.name, metric].interval().mean
        other = grouped[check.without, task.name, metric].interval().mean if check.without else 0.0
        if with_it is not None and other is not None:
            values.append(sign * (with_it - other))
    return _bounded(name, digits.mean(values) if values else None, check)


def _bounded(name: str, value: float | None, check: Active | Measured) -> Result:
    at_least = check.at_least is not None
    bound = next(b for b in (check.at_least, check.at_most) if b is not None)
    needed = f"at {'least' if at_least else 'most'} {bound:g}"
    return Result(name, value, needed, value is not None and _within(value, bound, at_least))


def _converged(check: Converged, records: Sequence[Record]) -> Result:
    name = check.label or f"last change of {check.series} of {' and '.join(check.methods)}"
    changes: dict[tuple[str, str], list[float]] = {}
    for record in of_trainings(records):
        curve = record.series.get(check.series)
        if curve is not None and len(curve.y) >= 2:
            part = max(1, len(curve.y) // _PARTS)
            last, before = curve.y[-part:], curve.y[-2 * part : -part]
            change = abs(digits.mean(last) - digits.mean(before))
            changes.setdefault((record.method, record.task), []).append(change)
    means = [
        (digits.mean(values), f"{task}, {method}")
        for (method, task), values in sorted(changes.items())
    ]
    return _worst(name, means, f"at most {check.within:g}", check.within, at_least=False)


def _ratio(check: BudgetRatio, records: Sequence[Record]) -> Result:
    per = f" per {check.per}" if check.per else ""
    name = check.label or f"{check.count}{per} of {check.a} over {check.b}"
    needed = f"{check.ratio:g} within {100 * check.within:g} %"
    a, b = (_spent(check, [r for r in records if r.method == side]) for side in (check.a, check.b))
    if a is None or not b:
        return Result(name, None, needed, False)
    away = abs(a / b / check.ratio - 1)
    return Result(name, a / b, needed, _within(away, check.within, at_least=False))


def _spent(check: BudgetRatio, records: Sequence[Record]) -> float | None:
    spent = [
        r.counts[check.count] / (r.counts[check.per] if check.per else 1)
        for r in records
        if check.count in r.counts and (not check.per or r.counts.get(check.per))
    ]
    return digits.mean(spent) if spent else None


def _measured(check: Measured, records: Sequence[Record], claim: str) -> Result:
    name = check.label or check.function.rpartition(":")[2].replace("_", " ")
    function: Callable[..., float | None] = registry.call(check.function)
    where = f"claim {claim}, check {check.function}"
    try:
        found = function(of_trainings(records), check) if records else None
    except (Exception, SystemExit) as error:
        raise SpecError(f"{where}: {described(error)}") from error
    try:
        value = math.nan if found is None else float(found)
    except (TypeError, ValueError):
        raise SpecError(
            f"{where}: returned {quoted(str(found))}; return a number, or None"
        ) from None
    return _bounded(name, value if math.isfinite(value) else None, check)


def _within(value: float, bound: float, at_least: bool) -> bool:
    value, bound = steady(value), steady(bound)
    return value >= bound if at_least else value <= bound
