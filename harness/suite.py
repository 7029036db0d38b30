"""What a suite is: methods x tasks x seeds x scales of one paper, as frozen, validated, plain data.

A suite is a Python function that returns a `Suite`. Nothing here trains or reads files; functions
are named by import path (`"package.module:function"`), so that listing suites imports no torch.
"""

import fnmatch
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Self, TypeVar

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from harness.check import ImportPath, Name, methods_of
from harness.claim import (
    FEWEST_SEEDS,
    Beats,
    Citation,
    Claim,
    Competitive,
    Equivalent,
    Exact,
    Level,
    LowerSpread,
    Trend,
    sides_of,
)
from harness.errors import UsageError, unknown
from harness.exhibit import Answer, Figure, Mark, Reference, Table
from harness.scale import REBUILT, SEPARATOR, Axis, Scale
from harness.settings import Spec
from harness.task import Dataset, Metric, Params, Task

__all__ = [
    "FEWEST_SEEDS", "REBUILT", "SEPARATOR", "SPEC_VERSION", "Answer", "Artifact", "Axis", "Beats",
    "Citation", "Claim", "Competitive", "Dataset", "Equivalent", "Exact", "Figure", "ImportPath",
    "Level", "LowerSpread", "Mark", "Method", "Metric", "Name", "Paper", "Params", "Quantity",
    "Reference", "Scale", "Suite", "Table", "Task", "Trend", "select",
]  # fmt: skip

SPEC_VERSION = 1
"""Changes when the meaning of an identity changes; part of every identity."""
_GLOB = re.compile(r"[*?\[]")
_SHOWN = 12
"""Artifacts of a long circle that a message names, the last ones."""


class Paper(Spec):
    """The paper that a suite reproduces."""

    title: str
    authors: str
    arxiv: str
    """arXiv identifier without version, e.g. `2406.00418`."""
    venue: str
    year: int
    numbers: str = ""
    """Why its numbers are not beside ours, a sentence; empty where they are."""


class Artifact(Spec):
    """Something costly that trials share; built once, addressed by its recipe."""

    name: Name
    version: int = 1
    make: ImportPath
    """`make(ctx) -> dict[str, Json]` writes files into `ctx.out`; what it returns is kept."""
    params: Params = Field(default_factory=dict)
    needs: tuple[Name, ...] = ()
    datasets: tuple[Name, ...] = ()
    random: bool = True
    """False where nothing random makes it: a tokenizer, a download in another form. Reports name
    the random ones that replicates share."""
    over: tuple[Literal["seed", "task", "data"], ...] = ()
    """Built for each seed and/or task of the trials that need it; empty: one for all. `data`:
    built from those of its datasets that the trial's task reads, once for each choice; from the
    synthetic fallback where that is none."""


Kind = Literal["proposed", "baseline", "control", "ablation"]


class Method(Spec):
    """What is compared."""

    name: Name
    version: int = 1
    run: ImportPath
    """`run(ctx) -> dict[str, float]` trains, evaluates and returns the task's metrics."""
    params: Params = Field(default_factory=dict)
    needs: tuple[Name, ...] = ()
    """Artifacts that it reads."""
    label: str = ""
    kind: Kind = "baseline"
    seeds: Literal["each", "none"] = "each"
    """`none`: nothing of its own is random. Where none of its artifacts has a seed either it runs
    once, and is one training: a constant beside each seed of the others."""
    deviations: tuple[str, ...] = ()
    """Where it differs from the paper, one sentence each; printed in the report."""
    note: str = ""

    @property
    def title(self) -> str:
        """How people read it: the label, or the name where it has none."""
        return self.label or self.name


class Quantity(Spec):
    """One way in which a scale may be far from the paper's: width of the model, tokens, epochs."""

    name: str
    value: str
    """Dotted path into the settings, or `package.module:function` of them as a dictionary."""


T = TypeVar("T", Method, Task, Claim)


class Added(Spec):
    """What one plugin added to a suite, by name; see `harness.plugins`."""

    name: Name
    version: str
    source: ImportPath
    """The function that was asked; its module's source is the plugin's."""
    word: str = ""
    """What `--plugin` takes: the name of its file, or its own where it is installed."""
    mark: str = ""
    """A letter behind the labels of its methods and tasks; `told` says what it means."""
    methods: tuple[Name, ...] = ()
    tasks: tuple[Name, ...] = ()
    artifacts: tuple[Name, ...] = ()

    @property
    def told(self) -> str:
        """What the mark means, in a line."""
        return f"{self.mark} From plugin {self.name} {self.version}."


class Suite(Spec):
    """One paper's experiment, whole."""

    name: Name
    paper: Paper
    summary: str
    """What it asks, in one or two sentences."""
    methods: tuple[Method, ...]
    tasks: tuple[Task, ...]
    metrics: tuple[Metric, ...]
    scales: tuple[Scale, ...]
    artifacts: tuple[Artifact, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    deviations: tuple[str, ...] = ()
    """What differs from the paper in every scale."""
    defects: tuple[str, ...] = ()
    """Where the released code and the paper disagree, and which protocol follows which."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    references: str = "reference.csv"
    """File beside the suite with every number that the paper published."""
    distance: tuple[Quantity, ...] = ()
    """What is compared with the paper scale in the words of a verdict."""
    preload: tuple[ImportPath, ...] = ()
    """Functions to call once before trials fork off: heavy imports, compiled kernels."""
    effort: ImportPath | None = None
    """`effort(method or artifact, task, settings)` says what it makes a GPU do, as a
    `harness.gpu.Effort`; the task of an artifact may be None."""
    headline: str = ""
    """Name of the table that the README and the index page show."""
    answers: tuple[Answer, ...] = ()
    """What reports say first, for each scale; each rests on every primary claim at least."""
    former: ImportPath | None = None
    """`former(spec) -> spec`: today's specification as it was hashed before; for `harness
    migrate`."""
    plugins: tuple[Added, ...] = ()
    """What is not its own; filled by the engine."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        _unique("methods", self.methods)
        _unique("tasks", self.tasks)
        _unique("metrics", self.metrics)
        _unique("scales", self.scales)
        _unique("artifacts", self.artifacts)
        _unique("datasets", self.datasets)
        _unique("claims", self.claims)
        _unique("tables", self.tables)
        _unique("figures", self.figures)
        metrics = {m.name for m in self.metrics}
        datasets = {d.name for d in self.datasets}
        artifacts = {a.name for a in self.artifacts}
        for task in self.tasks:
            _known(f"task {task.name}", "metric", task.reports, metrics)
            _known(f"task {task.name}", "dataset", task.datasets, datasets)
        for method in self.methods:
            _known(f"method {method.name}", "artifact", method.needs, artifacts)
        for artifact in self.artifacts:
            _known(f"artifact {artifact.name}", "artifact", artifact.needs, artifacts)
            _known(f"artifact {artifact.name}", "dataset", artifact.datasets, datasets)
        for claim in self.claims:
            self._fits(claim)
        for table in self.tables:
            marked = [table.mark.metric] if table.mark else []
            _known(f"table {table.name}", "metric", [table.metric, *marked], metrics)
            self._match(f"table {table.name}", "method", table.methods, self.methods)
            self._match(f"table {table.name}", "task", table.tasks, self.tasks)
        pairs = {f"{m.name}/{t.name}" for m in self.methods for t in self.tasks}
        for scale in self.scales:
            if not scale.seeds or min(scale.seeds) < 0 or len(set(scale.seeds)) < len(scale.seeds):
                raise ValueError(f"scale {scale.name}: seeds must be distinct, >= 0, at least one")
            self._match(f"scale {scale.name}", "method", scale.methods, self.methods)
            self._match(f"scale {scale.name}", "task", scale.tasks, self.tasks)
            for pattern in scale.exclude:
                if pattern not in pairs and not any(map(_among([pattern]), pairs)):
                    raise ValueError(
                        f"scale {scale.name}: no method/task matches {pattern!r} in exclude"
                    )
            for axis in scale.axes:
                self._axis(scale, axis)
            for method, task in self.pairs(scale):
                _overrides(scale, method)
                _overrides(scale, task)
        self._answered()
        if self.headline:
            _known("headline", "table", [self.headline], {t.name for t in self.tables})
        _acyclic(self.artifacts)
        return self

    def _answered(self) -> None:
        primary = [c.name for c in self.claims if c.role == "primary"]
        for answer in self.answers:
            where = f"answer at {answer.scale}"
            _known(where, "scale", [answer.scale], {s.name for s in self.scales})
            _known(where, "claim", answer.rests_on, {c.name for c in self.claims})
            _known(f"{where}, which rests on all primary claims", "verdict", primary,
                   set(answer.rests_on))  # fmt: skip

    def _axis(self, scale: Scale, axis: Axis) -> None:
        where = f"scale {scale.name}, axis {axis.name}"
        self._match(where, "method", axis.methods, self.methods)
        self._match(where, "task", axis.tasks, self.tasks)
        if axis.parameter:
            there = [t.params.get(axis.parameter) for t in select(self.tasks, axis.tasks)]
            for value in axis.values:
                if value not in there:
                    raise ValueError(f"{where}: no task's {axis.parameter!r} is {value:g}")
            return
        place: JsonValue = scale.settings.plain()
        for part in axis.setting.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, bool) or not isinstance(place, int | float):
            raise ValueError(f"{where}: setting {axis.setting!r} is no number of the scale's")

    def _fits(self, claim: Claim) -> None:
        """What a claim names is there, and what it averages can be averaged."""
        where = f"claim {claim.name}"
        metrics = {m.name for m in self.metrics}
        methods = {m.name for m in self.methods}
        _known(where, "metric", [claim.metric], metrics)
        _known(where, "method", sides_of(claim), methods)
        self._match(where, "task", claim.tasks, self.tasks)
        self._match(f"{where}, margins", "task", claim.margins, self.tasks)
        for check in claim.checks:
            of = f"{where}, check {check.kind}"
            _known(of, "metric", filter(None, [getattr(check, "metric", None)]), metrics)
            _known(of, "method", methods_of(check), methods)
            self._match(of, "task", check.tasks, self.tasks)
        axes = {axis.name for scale in self.scales for axis in scale.axes}
        _known(where, "axis", filter(None, [claim.axis]), axes)
        if isinstance(claim, Trend):
            params = {name for t in select(self.tasks, claim.tasks) for name in t.params}
            _known(where, "axis or task parameter", [claim.over], axes | params)
        if claim.margins or any(t.measures for t in self.tasks):
            self._averaged(claim)

    def _averaged(self, claim: Claim) -> None:
        """Numbers that measure different things are averaged in units of margins or not at all."""
        where = f"claim {claim.name}"
        tasks = [t for t in select(self.tasks, claim.tasks) if claim.metric in t.reports]
        measured = sorted({t.measures.get(claim.metric, claim.metric) for t in tasks})
        bare = [t.name for t in tasks if not select([t], claim.margins)]
        if bare and claim.margins:
            raise ValueError(f"{where}: margins leave out task {bare[0]}; give it one too")
        if bare and len(measured) > 1 and not isinstance(claim, LowerSpread):
            raise ValueError(
                f"{where}: {claim.metric} measures different things on its tasks "
                f"({', '.join(measured)}); give margins for each task, or ask one claim for each"
            )

    @staticmethod
    def _match(where: str, what: str, patterns: Iterable[str], things: Sequence[T]) -> None:
        for pattern in patterns:
            if not select(things, (pattern,)):
                names = ", ".join(t.name for t in things)
                raise ValueError(f"{where}: no {what} matches {pattern!r}; there are: {names}")

    def pairs(self, scale: Scale) -> tuple[tuple[Method, Task], ...]:
        """Which methods meet which tasks at a scale, task by task; each once for every seed."""
        methods = select(self.methods, scale.methods)
        excluded = _among(scale.exclude)
        return tuple(
            (method, task)
            for task in select(self.tasks, scale.tasks)
            for method in methods
            if not excluded(f"{method.name}/{task.name}")
        )

    def plugins_of(self, *things: Method | Task | Artifact | None) -> tuple[str, ...]:
        """Names of the plugins that added some of these, sorted; none for what is its own."""
        kinds = {Method: "methods", Task: "tasks", Artifact: "artifacts"}
        names = {
            added.name
            for added in self.plugins
            for thing in things
            if thing is not None and thing.name in getattr(added, kinds[type(thing)])
        }
        return tuple(sorted(names))

    def marks_of(self, *things: Method | Task) -> tuple[str, ...]:
        """What the marks behind the labels of some of these mean, a line for each plugin."""
        names = self.plugins_of(*things)
        return tuple(dict.fromkeys(added.told for added in self.plugins if added.name in names))

    def constant(self, method: Method) -> bool:
        """Whether no seed touches a method, neither its own run nor its artifacts."""
        if method.seeds == "each":
            return False
        over = over_of(self.artifacts)
        return not any("seed" in over[name] for name in method.needs)

    def seeds(self, scale: Scale, method: Method) -> tuple[int, ...]:
        """The seeds that a method runs with at a scale: the first one where none touches it."""
        return scale.seeds[:1] if self.constant(method) else scale.seeds

    def trial_count(self, scale: Scale) -> int:
        """How many trials a scale has."""
        meetings = Counter(method.name for method, _ in self.pairs(scale))
        return sum(n * len(self.seeds(scale, self.method(name))) for name, n in meetings.items())

    def method(self, name: str) -> Method:
        """The method of that name; KeyError where there is none."""
        return {m.name: m for m in self.methods}[name]

    def task(self, name: str) -> Task:
        """The task of that name; KeyError where there is none."""
        return {t.name: t for t in self.tasks}[name]

    def metric(self, name: str) -> Metric:
        """The metric of that name; KeyError where there is none."""
        return {m.name: m for m in self.metrics}[name]

    def scale(self, name: str) -> Scale:
        """The scale of that name; KeyError where there is none."""
        return {str(s.name): s for s in self.scales}[name]

    def datasets_at(self, scale: Scale) -> tuple[Dataset, ...]:
        """The datasets as a scale reads them: as they are, or their rebuilt editions."""
        return tuple(d.rebuilt for d in self.datasets) if scale.rebuilt else self.datasets

    def rebuilt_of(self, scale: Scale) -> Scale | None:
        """The scale that runs the same on rebuilt data, if there is one."""
        return next((s for s in self.scales if s.name == f"{scale.name}{REBUILT}"), None)

    def known_scale(self, name: str) -> Scale:
        """The same for a name that somebody typed.

        Raises:
            UsageError: there is none.
        """
        there = [s.name for s in self.scales]
        if name not in there:
            raise UsageError(unknown("scale", name, there, f"harness show {self.name}"))
        return self.scale(name)


def select(things: Sequence[T], patterns: Iterable[str]) -> tuple[T, ...]:
    """Those of `things` whose name matches one of the names or globs, in their own order."""
    chosen = _among(patterns)
    return tuple(thing for thing in things if chosen(thing.name))


def _among(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name is one of the names, or matches one of the globs."""
    return _matcher(frozenset(patterns))


@functools.lru_cache(maxsize=4096)
def _matcher(patterns: frozenset[str]) -> Callable[[str], bool]:
    """The same for patterns that come up again and again, as do the names that they are asked."""
    globs = sorted(p for p in patterns if _GLOB.search(p))
    names = patterns.difference(globs)
    # One pattern for all globs: a suite has thousands of pairs, and hundreds that are left out.
    glob = re.compile("|".join(map(fnmatch.translate, globs)) or "(?!)").match
    return functools.lru_cache(maxsize=4096)(lambda name: name in names or glob(name) is not None)


def over_of(artifacts: Sequence[Artifact]) -> dict[str, set[str]]:
    """What each artifact is made over, by itself or through what it needs."""
    over = {a.name: set[str](a.over) for a in artifacts}
    users: dict[str, list[str]] = {a.name: [] for a in artifacts}
    for artifact in artifacts:
        for name in artifact.needs:
            users[name].append(artifact.name)
    pending = [*over]
    while pending:  # each name comes up again at most three times: there are three kinds
        name = pending.pop()
        for user in users[name]:
            if not over[name] <= over[user]:
                over[user] |= over[name]
                pending.append(user)
    return over


def _overrides(scale: Scale, thing: Method | Task) -> None:
    """Checks those parameters of a method or task that replace a setting of the scale."""
    fields = type(scale.settings).model_fields
    own = {name: value for name, value in thing.params.items() if name in fields}
    if own:
        try:
            type(scale.settings).model_validate(scale.settings.plain() | own)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"{thing.name}: parameter {place} replaces a setting of scale {scale.name}: "
                f"{first['msg']}, found {repr(first['input'])[:60]}"
            ) from None


def _unique(what: str, things: Iterable[Spec]) -> None:
    counts = Counter(getattr(t, "name", "") for t in things)
    twice = sorted(name for name, number in counts.items() if number > 1)
    if twice:
        raise ValueError(f"{what}: {', '.join(twice)} named twice; names must be unique")


def _known(where: str, what: str, names: Iterable[str], allowed: set[str]) -> None:
    for name in names:
        if name not in allowed:
            raise ValueError(f"{where}: {unknown(what, name, allowed)}")


def _acyclic(artifacts: Sequence[Artifact]) -> None:
    """Walks the needs depth first, without recursion: a chain may be longer than the stack."""
    needs = {a.name: a.needs for a in artifacts}
    done: set[str] = set()
    for root, first in needs.items():
        path = dict.fromkeys([root])  # the names on the way, in order
        branches = [iter(first)]
        while branches:
            name = next(branches[-1], None)
            if name is None:
                branches.pop()
                done.add(path.popitem()[0])
            elif name in path:
                circle = [*path, name]
                if len(circle) > _SHOWN:
                    circle = ["...", *circle[-_SHOWN:]]
                raise ValueError(f"artifacts need each other in a circle: {' -> '.join(circle)}")
            elif name not in done:
                path[name] = None
                branches.append(iter(needs[name]))
