"""The plan: which artifacts and trials a command will run, in what order, and why each or not.

Order: seed 0 of every method before seed 1 of any, so that a stopped run leaves a balanced table.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness import registry, variants
from harness.check import methods_of
from harness.claim import Claim, Trend, sides_of
from harness.data import Sources
from harness.errors import HarnessError, UsageError, quoted, unknown
from harness.identity import Node, Recipes, digest
from harness.record import Heading, Record
from harness.store import Store
from harness.suite import Dataset, Method, Scale, Suite, Task, select

Rerun = Literal["none", "failed", "stale", "all"]


class Filters(NamedTuple):
    """What the command line narrows a plan to: names or globs; empty means all."""

    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    claims: tuple[str, ...] = ()
    """Names or globs of claims, or roles: only what these need."""
    shard: tuple[int, int] = (1, 1)
    """Which of how many equal shares of the trials, from 1."""


EVERYTHING = Filters()


class Trial(NamedTuple):
    """One method on one task with one seed at one scale."""

    suite: Suite
    method: Method
    task: Task
    seed: int
    scale: Scale
    device: str
    spec: dict[str, Any]
    """All that decides the numbers; its canonical JSON hashes to `id`."""
    id: str
    needs: dict[str, str]

    @property
    def title(self) -> str:
        """How people name it."""
        return f"{self.method.name} on {self.task.name}, seed {self.seed}"


State = Literal["done", "failed", "stale", "missing", "interrupted", "no data"]


class Step(NamedTuple):
    """A trial and what is to happen to it."""

    trial: Trial
    state: State
    action: Literal["run", "skip"]
    reason: str


class Plan(NamedTuple):
    """Everything one command will do."""

    suite: Suite
    scale: Scale
    device: str
    steps: tuple[Step, ...]
    nodes: dict[str, Node]
    """Identity -> artifact, in an order in which each comes after what it needs."""

    @property
    def todo(self) -> tuple[Trial, ...]:
        """The trials that will run, in order."""
        return tuple(step.trial for step in self.steps if step.action == "run")


def unmade(made: Plan, store: Store) -> list[Node]:
    """The artifacts to build first: missing, or built by source that has changed.

    A trial's numbers are those of one source, from its data to its metrics. Nothing is verified.
    """
    return [
        node
        for node in made.nodes.values()
        if store.artifact_source(made.suite.name, node.artifact.name, node.id)
        != registry.source_digest(node.artifact.make)
    ]


def pairs(
    suite: Suite, scale: Scale, filters: Filters = EVERYTHING
) -> tuple[tuple[Method, Task], ...]:
    """Which methods meet which tasks at a scale; each of them once for every seed.

    Raises:
        UsageError: a filter that matches nothing; the message lists what there is.
    """
    methods = _filtered("method", suite.methods, scale.methods, filters.methods, suite, scale)
    tasks = _filtered("task", suite.tasks, scale.tasks, filters.tasks, suite, scale)
    chosen = {m.name for m in methods}, {t.name for t in tasks}
    needed = needed_by(suite, filters.claims)
    return tuple(
        (method, task)
        for method, task in suite.pairs(scale)
        if method.name in chosen[0]
        and task.name in chosen[1]
        and (not filters.claims or (method.name, task.name) in needed)
    )


def needed_by(suite: Suite, names: Iterable[str]) -> set[tuple[str, str]]:
    """Methods and tasks that claims and their checks rest on.

    Args:
        suite: whose claims.
        names: names or globs of claims, or roles.

    Raises:
        UsageError: a name that no claim and no role has.
    """
    found: set[tuple[str, str]] = set()
    for claim in claims_of(suite, names):
        asked = [(sides_of(claim), claim.tasks)]
        asked += [(methods_of(check), check.tasks or claim.tasks) for check in claim.checks]
        for methods, tasks in asked:
            found |= {(m, t.name) for m in methods for t in select(suite.tasks, tasks)}
    return found


def claims_of(suite: Suite, names: Iterable[str]) -> list[Claim]:
    """The claims with these names, in the suite's order.

    Args:
        suite: whose claims.
        names: names or globs of claims, or roles.

    Raises:
        UsageError: a name that no claim and no role has.
    """
    chosen: set[str] = set()
    for name in names:
        claims = [c for c in suite.claims if c.role == name] or select(suite.claims, [name])
        if not claims:
            there = [*dict.fromkeys(c.role for c in suite.claims), *(c.name for c in suite.claims)]
            raise UsageError(unknown("claim", name, there, f"harness show {suite.name}"))
        chosen |= {claim.name for claim in claims}
    return [claim for claim in suite.claims if claim.name in chosen]


def places(suite: Suite, scale: Scale, filters: Filters = EVERYTHING) -> list[tuple[Suite, Scale]]:
    """The scale, then the points of its axes that a command reaches, each with a suite that has it.

    Claims reach the points of those axes alone that one of them is a trend over.

    Raises:
        UsageError: a claim that is not there, or an axis with a value that its setting does not
            allow.
    """
    followed = scale
    if filters.claims:
        over = {c.over for c in claims_of(suite, filters.claims) if isinstance(c, Trend)}
        axes = tuple(axis for axis in scale.axes if axis.name in over)
        followed = scale.model_copy(update={"axes": axes})
    points = variants.around(suite, followed, filters.methods, filters.tasks)
    return [(suite, scale), *itertools.islice(points, 1, None)]


def trials(
    suite: Suite, scale: Scale, device: str = "cpu", filters: Filters = EVERYTHING
) -> tuple[list[Trial], dict[str, Node]]:
    """All trials of a suite at a scale, in running order, with the artifacts that they need.

    Seeds that a filter names and the scale does not have are added to it.

    Raises:
        UsageError: a filter that matches nothing; the message lists what there is.
    """
    meetings = pairs(suite, scale, filters)
    scale = variants.seeded(scale, filters.seeds)
    recipes = Recipes(suite, scale, device)
    seeds = {m.name: suite.seeds(scale, m) for m, _ in meetings}
    found = [
        Trial(suite, method, task, seed, scale, device, *recipes.trial(method, task, seed))
        for seed in filters.seeds or scale.seeds
        for method, task in meetings
        if seed in seeds[method.name]
    ]
    if filters.seeds and meetings and not found:
        names = ", ".join(seeds)
        raise UsageError(
            f"no seed touches {names}: each runs once, with seed {scale.seeds[0]}; name that one, "
            "or leave out --seeds"
        )
    return _share(found, *filters.shard), recipes.nodes


def _share(found: list[Trial], number: int, count: int) -> list[Trial]:
    """Every `count`-th trial by identity: a share that no order of methods or tasks biases."""
    if count == 1:
        return found
    kept = {trial.id for trial in sorted(found, key=lambda t: t.id)[number - 1 :: count]}
    return [trial for trial in found if trial.id in kept]


def make(
    suite: Suite,
    scale: Scale,
    records: Iterable[Heading],
    store: Store,
    sources: Sources,
    *,
    device: str = "cpu",
    filters: Filters = EVERYTHING,
    rerun: Rerun = "none",
) -> Plan:
    """The plan of a command: every trial with its state, what happens to it, and why."""
    scale = variants.seeded(scale, filters.seeds)
    wanted, nodes = trials(suite, scale, device, filters)
    by_id = {record.id: record for record in records}
    absent_data = functools.cache(lambda: _absent_data(suite.datasets_at(scale), nodes, sources))
    steps = []
    for trial in wanted:
        record = by_id.get(trial.id)
        state, reason = _state(trial, record, store)
        again = record is not None and (
            rerun == "all" or (rerun == state and rerun in ("failed", "stale"))
        )
        runs = again or record is None
        absent = _absent(trial, absent_data()) if runs else ""
        if absent and record is None:
            state, reason, runs = "no data", absent, False
        elif absent:
            reason, runs = f"{reason}; cannot run again: {absent}", False
        elif again:
            reason = f"{reason}; --rerun {rerun}"
        steps.append(Step(trial, state, "run" if runs else "skip", reason))
    needed = reachable([step.trial.needs for step in steps if step.action == "run"], nodes)
    return Plan(suite, scale, device, tuple(steps), {k: n for k, n in nodes.items() if k in needed})


def is_stale(source_digest: str, method: Method) -> bool:
    """Whether the method's source has changed since the record with that digest was written."""
    return source_digest != registry.source_digest(method.run)


def leftovers(store: Store) -> list[Path]:
    """Folders of the cache that no suite refers to any more, or whose trial has its record.

    What may be of a suite that is not here (`strangers`) or of a plugin that is not loaded is none.
    Nor is what is in use.

    Raises:
        StoreError: the cache is not the harness's own, or records cannot be read.
    """
    if not store.owned() or not (any(store.artifacts()) or any(store.unfinished())):
        return []
    strange = strangers(store)
    records = store.load().records
    specs = [*(r.spec for r in records), *store.specs()]
    wanted: set[str] = set()
    for name in registry.origins():
        if name not in strange:
            own = [spec for spec in specs if spec["suite"] == name]
            wanted |= _identities(variants.added(registry.load(name), own))
    wanted |= _of_unloaded(specs)
    half_done = {str(s["folder"]) for s in specs if "folder" in s and registry.unloaded(s)}
    finished = {r.id for r in records if r.status == "ok"}
    made, pending = {key[:12] for key in wanted}, {key[:32] for key in wanted - finished}
    recorded = {key[:32] for key in finished}
    built = {path.name.rpartition("-")[2] for path in store.artifacts() if store.is_built(path)}
    # Folders are listed after the records: a trial that finishes in between is still pending.
    return [
        *(
            folder
            for folder in store.artifacts()
            if folder.parent.name not in strange and folder.name.rpartition("-")[2] not in made
        ),
        *(
            folder
            for folder in store.unfinished()
            if (folder.name in recorded or not (strange or folder.name in half_done))
            and (folder.name not in pending or folder.name[:12] in built)
            and not store.locked(folder.name)
        ),
    ]


def _of_unloaded(specs: Iterable[Mapping[str, Any]]) -> set[str]:
    """Identities of artifacts that plugins stand on which are not loaded here."""
    specs = list(specs)
    known = {digest(dict(spec)): spec for spec in specs if "artifact" in spec}
    pending = [key for key, spec in known.items() if registry.unloaded(spec)]
    for spec in specs:
        if registry.unloaded(spec):
            pending += dict(spec.get("artifacts", {})).values()
    seen: set[str] = set()
    while pending:
        key = pending.pop()
        if key not in seen:
            seen.add(key)
            pending += dict(known.get(key, {}).get("artifacts", {})).values()
    return seen


def strangers(store: Store) -> dict[str, str]:
    """Suites that have worked here and cannot be asked what they refer to, with the reason.

    Raises:
        Unreadable: the results or the cache folder cannot be listed.
    """
    here = registry.origins()
    there = store.noted_suites() | store.suites()
    found = dict.fromkeys(sorted(there - set(here)), "not installed")
    for name in here:
        try:
            registry.load(name)
        except HarnessError as error:
            found[name] = str(error)
    return found


def _identities(suite: Suite) -> set[str]:
    """Identities of all trials and artifacts that a suite refers to, on any device."""
    wanted: set[str] = set()
    for scale in suite.scales:
        for device in ("cpu", "cuda"):
            found, nodes = trials(suite, scale, device)
            wanted |= {trial.id for trial in found} | set(nodes)
    return wanted


def standing(
    suites: Sequence[Suite], records: Sequence[Record]
) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Identities that today's suites would give, and those whose code has changed since."""
    current: dict[str, set[str]] = {}
    stale: dict[str, set[str]] = {}
    for suite in suites:
        own = [r for r in records if r.suite == suite.name]
        wanted = {
            trial.id: trial.method
            for scale in variants.added(suite, [r.spec for r in own]).scales
            for device in sorted({str(r.spec["device"]) for r in own if r.scale == scale.name})
            for trial in trials(suite, scale, device)[0]
        }
        current[suite.name] = {r.id for r in own if r.id in wanted}
        stale[suite.name] = {
            r.id
            for r in own
            if r.id in wanted and is_stale(r.provenance.source_digest, wanted[r.id])
        }
    return current, stale


def _state(trial: Trial, record: Heading | None, store: Store) -> tuple[State, str]:
    if record is None:
        if store.states(trial.id):
            return "interrupted", "interrupted; resumes from its checkpoint"
        return "missing", "no record yet"
    if record.status != "ok":
        return "failed", f"{record.status}: {record.error}"
    if is_stale(record.source_digest, trial.method):
        return "stale", "recorded, but the code has changed since"
    return "done", "recorded"


def _absent_data(
    datasets: Iterable[Dataset], nodes: dict[str, Node], sources: Sources
) -> dict[str, str]:
    """What is not there: datasets by name, and artifacts by identity, with the reason of each."""
    found = {
        dataset.name: f"dataset {dataset.name}: {sources.missing(dataset)}"
        for dataset in datasets
        if sources.find(dataset) is None
    }
    for node in nodes.values():  # each comes after what it needs
        for key in (*node.spec["data"], *node.needs.values()):
            if key in found:
                found[node.id] = found[key]
                break
    return found


def _absent(trial: Trial, absent: dict[str, str]) -> str:
    keys = (*trial.task.datasets, *trial.needs.values())
    return next((absent[key] for key in keys if key in absent), "")


def reachable(needs: Iterable[dict[str, str]], nodes: dict[str, Node]) -> set[str]:
    """Identities of all artifacts that some needs lead to, directly or not."""
    pending = [identity for need in needs for identity in need.values()]
    seen: set[str] = set()
    while pending:
        identity = pending.pop()
        if identity not in seen:
            seen.add(identity)
            pending += nodes[identity].needs.values()
    return seen


def users(wanted: Iterable[Trial], nodes: dict[str, Node]) -> dict[str, Trial]:
    """Identity of every artifact that trials need, directly or not -> the first that needs it."""
    found: dict[str, Trial] = {}
    for trial in wanted:
        pending = list(trial.needs.values())
        while pending:
            identity = pending.pop()
            if identity not in found:
                found[identity] = trial
                pending += nodes[identity].needs.values()
    return found


def _filtered(
    what: Literal["method", "task"],
    known: Sequence[Any],
    of_scale: tuple[str, ...],
    wanted: tuple[str, ...],
    suite: Suite,
    scale: Scale,
) -> Sequence[Any]:
    """Those of a suite's methods or tasks that a scale runs and a filter wants."""
    there = select(known, of_scale)
    for pattern in wanted:
        if select(there, (pattern,)):
            continue
        if select(known, (pattern,)):
            raise UsageError(
                f"scale {scale.name} of suite {suite.name} does not run {what} {quoted(pattern)}; "
                f"add it to the scale's {what}s, or choose another scale"
            )
        names = [thing.name for thing in there]
        raise UsageError(unknown(what, pattern, names, f"harness show {suite.name}"))
    return select(there, wanted) if wanted else there
