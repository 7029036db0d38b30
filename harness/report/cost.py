"""What the trials cost, and the headline metric beside the budgets that were counted."""

import sys
from collections.abc import Callable, Sequence

from harness import number
from harness.digits import mean, steady, total
from harness.record import Record
from harness.report.selection import Selection, Trial
from harness.report.table import Comparison, Field, Listing, Row, label
from harness.suite import Suite

_NONE = Field(number.MISSING, "")
_MATCHED = 1.01
"""Budgets whose largest and smallest differ by less than one part in a hundred are equal."""


def costs(suite: Suite, selection: Selection) -> Listing:
    """One row per method: trials, seconds, memory, and the counts and GPU readings there are."""
    groups = {
        m.name: [r for (name, _), group in selection.pairs.items() if name == m.name for r in group]
        for m in suite.methods
    }
    groups = {name: group for name, group in groups.items() if group}
    columns: list[tuple[str, Callable[[Record], float | None], Callable[[float], str]]] = [
        ("Wall, median", lambda r: r.cost.wall_seconds, number.seconds),
        ("CPU, median", lambda r: r.cost.cpu_seconds, number.seconds),
        ("Peak memory, median", lambda r: r.cost.peak_memory_bytes, number.memory),
        ("FLOPs, median", lambda r: r.counts.get("flops"), number.power),
        ("Parameters, median", lambda r: r.counts.get("parameters"), number.count),
        ("Peak VRAM, median", lambda r: r.cost.peak_vram_bytes, number.memory),
        ("Energy, median", lambda r: r.cost.joules, number.energy),
    ]
    columns = [
        (head, get, show)
        for i, (head, get, show) in enumerate(columns)
        if i < 3 or any(get(r) is not None for group in groups.values() for r in group)
    ]
    rows = []
    for name, group in groups.items():
        ok = [r for r in group if r.status == "ok"]
        hours = total(r.cost.wall_seconds for r in group)
        fields = [
            Field(label(suite.method(name)), name),
            Field(f"{len(ok)}/{len(group)} ok", len(group)),
            *(_median([get(r) for r in ok], show) for _, get, show in columns),
            Field(number.seconds(hours), hours),
        ]
        rows.append(Row(tuple(fields), _trials(group, selection)))
    heads = ("Method", "Trials", *(head for head, _, _ in columns), "Wall, total")
    return Listing(
        "cost",
        "Trials, time and memory",
        heads,
        tuple(rows),
        (
            "Medians over trials that ended well, all tasks together; the total counts every "
            "trial. CSV: seconds, bytes, joules, plain counts.",
            *suite.marks_of(*(m for m in suite.methods if m.name in groups)),
        ),
        (False, *[True] * (len(heads) - 1)),
    )


def budget(suite: Suite, headline: Comparison | None, selection: Selection) -> Listing | None:
    """Counted budgets beside the headline metric, task by task; None where nothing is counted."""
    if headline is None:
        return None
    cells = sorted(
        (c for c in headline.cells if c.n),
        key=lambda c: [t.name for t in suite.tasks].index(c.task),
    )
    ok = {
        (c.method, c.task): [
            r for r in selection.pairs[c.method, c.task] if r.status == "ok" and r.counts
        ]
        for c in cells
    }
    names = sorted({name for group in ok.values() for r in group for name in r.counts})
    if not names:
        return None
    m = headline.metric
    rows = []
    budgets: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for cell in cells:
        fields = [
            Field(label(suite.task(cell.task)), cell.task),
            Field(label(suite.method(cell.method)), cell.method),
        ]
        for name in names:
            counts = [r.counts.get(name) for r in ok[cell.method, cell.task]]
            field = _median(counts, number.power if "flops" in name else number.count)
            fields.append(field)
            if isinstance(field.value, int | float):
                budgets[name].setdefault(cell.task, []).append(field.value)
        parts = cell.parts(m.digits)
        text = " ".join(p for p in (parts.mean + parts.marks, parts.interval, parts.n) if p)
        fields.append(Field(text, cell.mean))
        rows.append(Row(tuple(fields), cell.trials))
    unit = f" ({m.unit})" if m.unit else ""
    heads = ("Task", "Method", *names, f"{m.label}{unit} {number.ARROWS[m.better]}".strip())
    return Listing(
        "budget",
        "Quality at equal budget",
        heads,
        tuple(rows),
        (
            _matched(suite, budgets),
            "Budgets are medians over trials that ended well.",
            *suite.marks_of(
                *(suite.method(c.method) for c in cells), *(suite.task(c.task) for c in cells)
            ),
        ),
        (False, False, *[True] * (len(heads) - 2)),
    )


def _matched(suite: Suite, budgets: dict[str, dict[str, list[float]]]) -> str:
    """Which budgets are equal across the methods of each task, and how far apart the others."""
    equal, apart = [], []
    for name, tasks in budgets.items():
        ratios = {
            task: steady(_ratio(max(values), min(values))) if min(values) > 0 else float("inf")
            for task, values in tasks.items()
            if len(values) > 1 and max(values) > 0
        }
        if not ratios:
            continue
        worst = max(ratios, key=lambda task: ratios[task])
        if ratios[worst] < _MATCHED:
            equal.append(name)
        else:
            factor = number.significant(ratios[worst]) + "×"
            apart.append(
                f"{name} (up to {factor} apart, on {label(suite.task(worst))})"
                if ratios[worst] != float("inf")
                else f"{name} (zero for some)"
            )
    parts = [
        f"Matched between methods: {number.listed(equal)}." if equal else "",
        f"Not matched: {number.listed(apart)}." if apart else "",
    ]
    return " ".join(p for p in parts if p) or "One method per task: nothing to match."


def _median(values: Sequence[float | None], show: Callable[[float], str]) -> Field:
    there = [v for v in values if v is not None]
    if not there:
        return _NONE
    middle = median(there)
    return Field(show(middle), middle)


def median(values: Sequence[float]) -> float:
    """The middle one; of two in the middle their mean, which of whole numbers may be whole."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if isinstance(low, int) and isinstance(high, int):
        middle, rest = divmod(low + high, 2)
        return middle if rest == 0 or abs(middle) > 2**53 else middle + 0.5
    return mean([low, high])


def _ratio(high: float, low: float) -> float:
    """How many times as large; whole numbers may be larger than any float."""
    try:
        return high / low
    except OverflowError:
        return sys.float_info.max


def _trials(group: Sequence[Record], selection: Selection) -> tuple[Trial, ...]:
    return tuple(selection.trials[r.short] for r in group)
