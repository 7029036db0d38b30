"""The numbers that a claim is judged on: which tasks and seeds, and one effect for each seed.

Shapes: S seeds, T tasks.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from harness.analysis import Cell, Cells, distinct, shared_seeds
from harness.claim import Claim, Exact, Level, LowerSpread, Trend, sides_of
from harness.digits import steady
from harness.errors import SpecError
from harness.looks import Look, of_records
from harness.stats import Array
from harness.suite import Scale, Suite, Task, over_of, select

LARGEST = 1e150
"""Numbers beyond it are not judged: their squares are no floats any more."""


class Evidence(NamedTuple):
    """The records that a claim is judged on, and why it cannot be judged if it cannot."""

    tasks: tuple[Task, ...]
    """Those judged."""
    expected: int
    """Tasks that the scale has for the claim."""
    a_T: tuple[Cell, ...]
    b_T: tuple[Cell, ...]
    """Empty where the claim is about one method."""
    seeds: tuple[int, ...]
    """Those with a number in every cell."""
    outcome: Literal["not run", "not judged"] | None
    reasons: tuple[str, ...]
    shared: tuple[str, ...] = ()
    """Random artifacts that all replicates have in common, by name."""

    @property
    def overlap(self) -> float:
        """Test share over train share of resampled splits, the largest; 0 where none overlap."""
        return max((task.overlap for task in self.tasks), default=0.0)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Of both sides."""
        return (*self.a_T, *self.b_T)

    def tables(self) -> tuple[Array, Array]:
        """Numbers of `a` and `b`, seeds by tasks; zeros for the `b` that is not there."""
        a_ST = _table(self.a_T, self.seeds)
        return a_ST, _table(self.b_T, self.seeds) if self.b_T else np.zeros_like(a_ST)

    def trainings(self) -> list[str]:
        """The trainings behind the numbers, each by its name and its number."""
        found = {
            f"{training} {steady(value)}"
            for c in self.cells
            for seed, training, value in zip(c.seeds, c.trainings, c.values.tolist(), strict=True)
            if c.constant or seed in self.seeds
        }
        return sorted(found)

    def at(self, size: int, kept: Iterable[Look]) -> "Evidence":
        """What a look of that size judges: the trainings that it was taken at, if they are there.

        Else, and before it is taken, the first ones by seed.
        """
        for look in kept:
            if look.n == size and set(look.seeds) <= set(self.seeds):
                part = self._replace(seeds=look.seeds)
                if of_records(part.trainings()) == look.records:
                    return part
        return self._replace(seeds=self.seeds[:size])

    def once(self, claim: Claim) -> "Evidence":
        """The same with one seed for each combination of trainings.

        A spread says something of every single cell: there each of them has a new training.
        """
        seeds = self.seeds
        for group in [[c] for c in self.cells] if isinstance(claim, LowerSpread) else [self.cells]:
            seeds = distinct(group, seeds)
        return self._replace(seeds=seeds)


class Lines(NamedTuple):
    """The tasks of a trend and what each one's number counts in the mean slope."""

    tasks: tuple[Task, ...]
    weights_T: tuple[Fraction, ...]
    slopes: tuple[tuple[Fraction, ...], ...]
    """For each line the weights of all tasks that give its own slope."""


class Sample(NamedTuple):
    """Effects in the direction of the claim: positive speaks for it."""

    x_S: Array
    x_ST: Array
    """Each task by itself, in the same unit."""
    parts_SP: Array
    """What must agree in sign: the tasks, of a trend its lines; seeds by parts."""


def gather(suite: Suite, scale: Scale, claim: Claim, grouped: Cells) -> Evidence:
    """Finds the tasks and seeds that can be judged, and says what is missing."""
    wanted = tasks_of(suite, scale, claim)
    sides = sides_of(claim)
    of = {(side, t.name): grouped[side, t.name, claim.metric] for side in sides for t in wanted}
    tasks = tuple(t for t in wanted if all(of[side, t.name].trials for side in sides))
    missing = [t.name for t in wanted if t not in tasks]
    reasons = [f"not run: {listed(missing)}"] if missing else []
    outcome: Literal["not run", "not judged"] | None = None
    if isinstance(claim, Trend) and tasks:
        lines = lines_of(tasks, claim)
        loose = [t.name for t in tasks if t not in lines.tasks]
        if loose:
            reasons.append(f"alone on a line over {claim.over}: {listed(loose)}")
        tasks = lines.tasks
    if not wanted:
        reasons = ["the scale leaves it out"]
    if not tasks:
        outcome = "not run"
    columns = [tuple(of[side, t.name] for t in tasks) for side in sides]
    for side, column in zip(sides, columns, strict=True):
        failed, trials = sum(c.failures for c in column), sum(c.trials for c in column)
        if 2 * failed > trials:
            outcome = "not judged"
            reasons.insert(0, f"{failed} of {trials} trials of {side} failed")
        lost = [t.name for t, c in zip(tasks, column, strict=True) if not c.seeds]
        if lost:
            reasons.append(f"every trial of {side} failed on {listed(lost)}")
    values = [v for column in columns for c in column for v in c.values.tolist()]
    if not isinstance(claim, Exact) and any(abs(v) > LARGEST for v in values):
        outcome = "not judged"
        reasons.insert(0, f"numbers beyond {LARGEST:g}")
    return Evidence(
        tasks=tasks,
        expected=len(wanted),
        a_T=columns[0],
        b_T=columns[1] if len(columns) > 1 else (),
        seeds=shared_seeds([c for column in columns for c in column]) if tasks else (),
        outcome=outcome,
        reasons=tuple(reasons),
        shared=() if isinstance(claim, Exact) else shared_artifacts(suite, sides),
    )


def shared_artifacts(suite: Suite, methods: Sequence[str]) -> tuple[str, ...]:
    """Random artifacts without a seed that methods rest on, directly or not, in the suite's order.

    Every replicate rests on the same one of them, so that no interval over replicates covers what
    another one would have given.
    """
    needs = {a.name: a.needs for a in suite.artifacts}
    pending = [name for m in suite.methods if m.name in methods for name in m.needs]
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += needs[name]
    over = over_of(suite.artifacts)
    random = [a.name for a in suite.artifacts if a.name in reached and a.random]
    return tuple(name for name in random if "seed" not in over[name])


def sample(suite: Suite, claim: Claim, evidence: Evidence) -> Sample:
    """The effect of every seed, and of every seed on every task."""
    a_ST, b_ST = evidence.tables()
    weights_T = (Fraction(1, len(evidence.tasks)),) * len(evidence.tasks)
    lines: tuple[tuple[Fraction, ...], ...] = ()
    sign = -1.0 if suite.metric(claim.metric).better == "lower" else 1.0
    if isinstance(claim, Level):
        b_ST = np.full_like(a_ST, claim.bound)
        sign = 1.0 if claim.direction == "above" else -1.0
    elif isinstance(claim, Trend):
        sign = 1.0 if claim.direction == "up" else -1.0
        found = lines_of(evidence.tasks, claim)
        weights_T = tuple(w * int(sign) for w in found.weights_T)
        lines = tuple(tuple(w * int(sign) for w in line) for line in found.slopes)
        sign = 1.0
    size = float(max(np.abs(a_ST).max(), np.abs(b_ST).max()))
    x_ST = sign * (a_ST - b_ST)
    if claim.margins:
        margins_T = [_margin(task, claim) for task in evidence.tasks]
        x_ST, size = x_ST / np.array(margins_T), size / min(margins_T)
    reach = size * float(sum(abs(w) for w in weights_T))
    x_S = [_weighted(x_T, weights_T, reach) for x_T in x_ST.tolist()]
    steady_ST = steadied(x_ST, size)
    parts = [[_weighted(x_T, line, reach) for line in lines] for x_T in x_ST.tolist()]
    return Sample(np.array(x_S), steady_ST, np.array(parts) if lines else steady_ST)


def _margin(task: Task, claim: Claim) -> float:
    return next(m for name, m in claim.margins.items() if select([task], [name]))


def _weighted(x_T: Sequence[float], weights_T: Sequence[Fraction], reach: float) -> float:
    """Σ w x in exact arithmetic, then rounded: what cancels is zero, what is equal is equal."""
    whole = sum((w * Fraction(x) for w, x in zip(weights_T, x_T, strict=True)), Fraction(0))
    return steady(float(whole), reach)


def lines_of(tasks: Sequence[Task], claim: Trend) -> Lines:
    """Tasks on lines of two points or more, and the weights that turn numbers into a mean slope.

    The least-squares slope of a line is a weighted sum of its numbers, (x - m) / Σ(x - m)².
    """
    groups: dict[str, list[tuple[float, Task]]] = {}
    for task in tasks:
        x = task.params.get(claim.over)
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise SpecError(
                f"claim {claim.name}: task {task.name} has no number in params[{claim.over!r}];"
                " give it one or narrow the claim's tasks"
            )
        key = repr([task.params.get(name) for name in claim.group])
        groups.setdefault(key, []).append((float(x), task))
    lines = [line for line in groups.values() if len({x for x, _ in line}) >= 2]
    weight: dict[str, Fraction] = {}
    slopes: list[dict[str, Fraction]] = []
    for line in lines:
        middle = sum((Fraction(x) for x, _ in line), Fraction(0)) / len(line)
        squares = sum((Fraction(x) - middle) ** 2 for x, _ in line)
        slopes.append({t.name: (Fraction(x) - middle) / squares for x, t in line})
        weight |= {name: w / len(lines) for name, w in slopes[-1].items()}
    kept = tuple(t for t in tasks if t.name in weight)
    each = tuple(tuple(line.get(t.name, Fraction(0)) for t in kept) for line in slopes)
    return Lines(kept, tuple(weight[t.name] for t in kept), each)


def tasks_of(suite: Suite, scale: Scale, claim: Claim) -> tuple[Task, ...]:
    """Tasks that the claim speaks of, that report its metric, and that the scale runs for it.

    Raises:
        SpecError: none of the claim's tasks reports the metric.
    """
    named = [t for t in select(suite.tasks, claim.tasks) if claim.metric in t.reports]
    if not named:
        raise SpecError(
            f"claim {claim.name}: none of its tasks reports {claim.metric!r}; name tasks that do"
        )
    met = {(method.name, task.name) for method, task in suite.pairs(scale)}
    return tuple(t for t in named if all((side, t.name) in met for side in sides_of(claim)))


def _table(row: Sequence[Cell], seeds: Sequence[int]) -> Array:
    return np.array([c.at(seeds) for c in row]).reshape(len(row), len(seeds)).T


def steadied(x_ST: Array, size: float) -> Array:
    """Every number without what is rounding of numbers of that size."""
    return np.array([[steady(x, size) for x in x_T] for x_T in x_ST.tolist()]).reshape(x_ST.shape)


def listed(names: Sequence[str], most: int = 6) -> str:
    """The names, the first few of them where they are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
