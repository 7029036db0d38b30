"""What a suite is: methods x tasks x seeds x scales of one paper, as frozen, validated, plain data.

A suite is a Python function that returns a `Suite`. Nothing here trains or reads files; functions
are named by import path (`"package.module:function"`), so that listing suites imports no torch.
"""

import fnmatch
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    SerializeAsAny,
    StringConstraints,
    ValidationError,
    model_validator,
)

from harness.settings import Settings, Spec

SPEC_VERSION = 1
"""Changes when the meaning of an identity changes; part of every identity."""
_DEEPEST = 50
"""Levels of lists and objects in parameters; a record holds them some levels further down."""
SEPARATOR = "+"
"""Between the size of a scale and what a variant of it replaces; see `harness.variants`."""
_SHOWN = 12
"""Artifacts of a long circle that a message names, the last ones."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._+-]{0,63}$")]
"""Names end up in file names: lower case, digits and `._+-`, at most 64 characters."""

ImportPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`package.module:function`, imported only when it is called."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or not path.isprintable():
        raise ValueError(f"file {path!r} is not a path inside the data folder; give one like a/b")
    return path


DataPath = Annotated[str, AfterValidator(_inside)]
"""A file inside the data folder, with forward slashes."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256, in hexadecimal."""


def _shallow(params: dict[str, JsonValue]) -> dict[str, JsonValue]:
    level: list[JsonValue] = [params]
    for _ in range(_DEEPEST):
        inner = [
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        ]
        level = [value for values in inner for value in values]
        if not level:
            return params
    raise ValueError(f"nested more than {_DEEPEST} deep")


Params = Annotated[dict[str, JsonValue], AfterValidator(_shallow)]
"""What methods, tasks and artifacts hand to the functions they name: JSON values only."""


class Paper(Spec):
    """The paper that a suite reproduces."""

    title: str
    authors: str
    arxiv: str
    """arXiv identifier without version, e.g. `2406.00418`."""
    venue: str
    year: int


class Metric(Spec):
    """A number that trials report, with everything needed to read it."""

    name: Name
    label: str
    """How tables head it."""
    unit: str
    """`%`, `nats`, `steps`, ... or an empty string for a pure number."""
    better: Literal["higher", "lower", "neither"]
    split: str
    """The data it is measured on: `test`, `val`, `held-out documents`, ..."""
    select: str
    """Which state of the training it belongs to: `best-val`, `last`, ..."""
    digits: int = Field(default=1, ge=0)
    """Decimals in tables."""


class Dataset(Spec):
    """An external dataset: a local folder, or a public hub when that is allowed."""

    name: Name
    files: dict[DataPath, Digest | None]
    """Path inside the data folder -> sha256 of the file (None where it is not known)."""
    licence: str
    source: str
    """Where the data were published, in words."""
    sizes: str
    splits: str
    fetch: ImportPath | None = None
    """`fetch(dataset, folder) -> None` gets it from a public hub; None: it cannot be fetched."""
    folder: str = ""
    """Where the files lie, of a dataset that a plugin brings; empty: in one of the data folders.
    No part of any identity."""
    note: str = ""


class Task(Spec):
    """Data plus metrics."""

    name: Name
    version: int = 1
    """Raised by hand when the task's meaning changes; part of the identity."""
    params: Params = Field(default_factory=dict)
    metrics: tuple[Name, ...]
    """What every method must return."""
    optional: tuple[Name, ...] = ()
    """What only some methods have: attention weights, routing statistics."""
    datasets: tuple[Name, ...] = ()
    """External datasets that it reads; empty for generated data."""
    protocol: str = "standard"
    """Named in every table. Where paper and released code disagree there is one task for each."""
    fallback: bool = False
    """True where synthetic data replace a real set; its numbers never mix with the real."""
    label: str = ""
    note: str = ""

    @property
    def reports(self) -> tuple[Name, ...]:
        """All metrics that a record of this task may hold."""
        return (*self.metrics, *self.optional)


class Artifact(Spec):
    """Something costly that trials share; built once, addressed by its recipe."""

    name: Name
    version: int = 1
    make: ImportPath
    """`make(ctx) -> dict[str, Json]` writes files into `ctx.out`; what it returns is kept."""
    params: Params = Field(default_factory=dict)
    needs: tuple[Name, ...] = ()
    datasets: tuple[Name, ...] = ()
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
    deviations: tuple[str, ...] = ()
    """Where it differs from the paper, one sentence each; printed in the report."""
    note: str = ""

    @property
    def title(self) -> str:
        """How people read it: the label, or the name where it has none."""
        return self.label or self.name


class Scale(Spec):
    """How big: names which trials run and hands numbers to the methods."""

    name: Annotated[str, StringConstraints(pattern=r"^(smoke|laptop|gpu|paper)(\+[a-z0-9._+-]+)?$")]
    """`smoke`, `laptop`, `gpu` or `paper`; of a variant with what it replaces behind a `+`."""
    seeds: tuple[int, ...]
    methods: tuple[str, ...] = ("*",)
    tasks: tuple[str, ...] = ("*",)
    """Names or globs."""
    exclude: tuple[str, ...] = ()
    """`method/task` globs that this scale leaves out, e.g. `mlp/neighbour-*`."""
    settings: SerializeAsAny[Settings] = Settings()
    """What the methods get: updates, nodes, widths, in a type of the suite's own. Part of every
    identity; a method's or task's parameter of the same name takes precedence."""
    trial_seconds: float = Field(default=3600, gt=0)
    """A trial that runs longer is recorded as `timeout`."""
    expected_seconds: float = Field(gt=0)
    """One trial on one core of a small machine; only for the estimate before anything has run."""
    threads: int = Field(default=1, ge=1)
    """CPU threads per trial; not part of the identity, recorded in the provenance."""
    deviations: tuple[str, ...] = ()
    """How this scale differs from the paper's setting."""

    @property
    def size(self) -> str:
        """The name of the scale that this is, or is a variant of."""
        return self.name.partition(SEPARATOR)[0]


class Reference(Spec):
    """A number that somebody published."""

    table: str
    task: str
    method: str
    metric: str
    value: float
    spread: float | None = None
    n: int | None = None
    note: str = ""
    source: str = "paper"
    """`paper`, or who else published it: then it is shown as an anchor, not as the paper's."""


class _Claim(Spec):
    name: Name
    text: str
    """The sentence of the paper, in our words."""
    source: str
    """Section, table or figure of the paper, or that it is an additional control."""
    metric: Name
    tasks: tuple[str, ...]
    """Names or globs of tasks that it speaks of."""
    caveat: str = ""
    """Why the verdict does not stand as it is, and what will be tested again; printed beside it."""


class Beats(_Claim):
    """`a` is better than `b`: the paired difference, averaged over tasks, is above zero."""

    kind: Literal["beats"] = "beats"
    a: Name
    b: Name
    margin: float = Field(gt=0)
    """Difference in the metric's unit below which the two count as equal; fixed in advance."""


class Competitive(_Claim):
    """`a` is not worse than `b` by `margin` or more (non-inferiority)."""

    kind: Literal["competitive"] = "competitive"
    a: Name
    b: Name
    margin: float = Field(gt=0)


class Equivalent(_Claim):
    """`a` and `b` differ by less than `margin` either way."""

    kind: Literal["equivalent"] = "equivalent"
    a: Name
    b: Name
    margin: float = Field(gt=0)


class Trend(_Claim):
    """The metric rises (or falls) with a task parameter; with `b`, more so for `a` than for `b`."""

    kind: Literal["trend"] = "trend"
    a: Name
    b: Name | None = None
    over: str
    """Task parameter on the x axis; the slope is per unit of it."""
    direction: Literal["up", "down"]
    margin: float = Field(gt=0)
    """Slope below which there is no trend."""
    group: tuple[str, ...] = ()
    """Task parameters that stay fixed within one line; slopes are averaged over the lines."""


class Level(_Claim):
    """The metric of `a` is above (or below) a value."""

    kind: Literal["level"] = "level"
    a: Name
    bound: float
    direction: Literal["above", "below"]
    margin: float = Field(gt=0)


class LowerSpread(_Claim):
    """Seeds scatter less for `a` than for `b`: log ratio of standard deviations below zero."""

    kind: Literal["lower-spread"] = "lower-spread"
    a: Name
    b: Name
    margin: float = Field(default=0.1, gt=0)
    """Log ratio within which the two spreads count as equal."""


class Exact(_Claim):
    """A quantity that must match to the last digit: a parameter count, FLOPs, a graph size."""

    kind: Literal["exact"] = "exact"
    a: Name
    value: float


Claim = Annotated[
    Beats | Competitive | Equivalent | Trend | Level | LowerSpread | Exact,
    Field(discriminator="kind"),
]


class Mark(Spec):
    """Sets off the cells of a table whose mean of another metric is below a bound."""

    metric: Name
    below: float
    text: str
    """What the mark means, a sentence."""


class Table(Spec):
    """A comparison table: one row per method, one column per task (or the other way round)."""

    name: Name
    title: str
    metric: Name
    methods: tuple[str, ...] = ("*",)
    tasks: tuple[str, ...] = ("*",)
    rows: Literal["methods", "tasks"] = "methods"
    note: str = ""
    mark: Mark | None = None


class Figure(Spec):
    """A picture drawn from the records alone."""

    name: Name
    title: str
    draw: ImportPath
    """`draw(records, suite, figure)` returns a matplotlib Figure, or None where there is nothing
    to draw; the records are those of one scale, one for each trial, in the suite's order."""
    params: Params = Field(default_factory=dict)
    caption: str = ""


T = TypeVar("T", Method, Task)


class Added(Spec):
    """What one plugin added to a suite, by name; see `harness.plugins`."""

    name: Name
    version: str
    source: ImportPath
    """The function that was asked; its module's source is the plugin's."""
    methods: tuple[Name, ...] = ()
    tasks: tuple[Name, ...] = ()
    artifacts: tuple[Name, ...] = ()


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
    preload: tuple[ImportPath, ...] = ()
    """Functions to call once before trials fork off: heavy imports, compiled kernels."""
    headline: str = ""
    """Name of the table that the README and the index page show."""
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
        methods = {m.name for m in self.methods}
        for task in self.tasks:
            _known(f"task {task.name}", "metric", task.reports, metrics)
            _known(f"task {task.name}", "dataset", task.datasets, datasets)
        for method in self.methods:
            _known(f"method {method.name}", "artifact", method.needs, artifacts)
        for artifact in self.artifacts:
            _known(f"artifact {artifact.name}", "artifact", artifact.needs, artifacts)
            _known(f"artifact {artifact.name}", "dataset", artifact.datasets, datasets)
        for claim in self.claims:
            _known(f"claim {claim.name}", "metric", [claim.metric], metrics)
            sides = (claim.a, getattr(claim, "b", None) or claim.a)
            _known(f"claim {claim.name}", "method", sides, methods)
            self._match(f"claim {claim.name}", "task", claim.tasks, self.tasks)
        for table in self.tables:
            marked = [table.mark.metric] if table.mark else []
            _known(f"table {table.name}", "metric", [table.metric, *marked], metrics)
            self._match(f"table {table.name}", "method", table.methods, self.methods)
            self._match(f"table {table.name}", "task", table.tasks, self.tasks)
        for scale in self.scales:
            if not scale.seeds or min(scale.seeds) < 0 or len(set(scale.seeds)) < len(scale.seeds):
                raise ValueError(f"scale {scale.name}: seeds must be distinct, >= 0, at least one")
            self._match(f"scale {scale.name}", "method", scale.methods, self.methods)
            self._match(f"scale {scale.name}", "task", scale.tasks, self.tasks)
            pairs = [f"{m.name}/{t.name}" for m in self.methods for t in self.tasks]
            for pattern in scale.exclude:
                if not fnmatch.filter(pairs, pattern):
                    raise ValueError(
                        f"scale {scale.name}: no method/task matches {pattern!r} in exclude"
                    )
            for method, task in self.pairs(scale):
                _overrides(scale, method)
                _overrides(scale, task)
        if self.headline:
            _known("headline", "table", [self.headline], {t.name for t in self.tables})
        _acyclic(self.artifacts)
        return self

    @staticmethod
    def _match(where: str, what: str, patterns: Iterable[str], things: Sequence[T]) -> None:
        for pattern in patterns:
            if not select(things, (pattern,)):
                names = ", ".join(t.name for t in things)
                raise ValueError(f"{where}: no {what} matches {pattern!r}; there are: {names}")

    def pairs(self, scale: Scale) -> tuple[tuple[Method, Task], ...]:
        """Which methods meet which tasks at a scale, task by task; each once for every seed."""
        methods = select(self.methods, scale.methods)
        return tuple(
            (method, task)
            for task in select(self.tasks, scale.tasks)
            for method in methods
            if not any(
                fnmatch.fnmatchcase(f"{method.name}/{task.name}", glob) for glob in scale.exclude
            )
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


def select(things: Sequence[T], patterns: Iterable[str]) -> tuple[T, ...]:
    """Those of `things` whose name matches one of the names or globs, in their own order."""
    patterns = tuple(patterns)
    return tuple(t for t in things if any(fnmatch.fnmatchcase(t.name, p) for p in patterns))


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
            there = ", ".join(sorted(allowed)) or "none"
            raise ValueError(f"{where}: unknown {what} {name!r}; there are: {there}")


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
