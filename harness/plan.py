"""The plan: which artifacts and trials a command will run, in what order, and why each or not.

Order: seed 0 of every method before seed 1 of any, so that a stopped run leaves a balanced table.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness import registry
from harness.data import Sources
from harness.errors import HarnessError, UsageError
from harness.record import Record, digest
from harness.store import Store
from harness.suite import SPEC_VERSION, Artifact, Dataset, Method, Scale, Suite, Task, select

Rerun = Literal["none", "failed", "stale", "all"]


class Filters(NamedTuple):
    """What the command line narrows a plan to: names or globs; empty means all."""

    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


EVERYTHING = Filters()


class Node(NamedTuple):
    """An artifact to be made: for one seed and one task where the artifact asks for that."""

    artifact: Artifact
    task: Task | None
    seed: int | None
    spec: dict[str, Any]
    id: str
    needs: dict[str, str]
    """Artifact name -> identity."""


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
    """The artifacts that are to be made first: not there, or made by source that has changed.

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
    methods = _filtered("method", select(suite.methods, scale.methods), filters.methods, suite)
    tasks = _filtered("task", select(suite.tasks, scale.tasks), filters.tasks, suite)
    return tuple(
        (method, task)
        for task in tasks
        for method in methods
        if not any(
            fnmatch.fnmatchcase(f"{method.name}/{task.name}", pattern) for pattern in scale.exclude
        )
    )


def trials(
    suite: Suite, scale: Scale, device: str = "cpu", filters: Filters = EVERYTHING
) -> tuple[list[Trial], dict[str, Node]]:
    """All trials of a suite at a scale, in running order, with the artifacts that they need.

    Raises:
        UsageError: a filter that matches nothing; the message lists what there is.
    """
    meetings = pairs(suite, scale, filters)
    odd = sorted(set(filters.seeds) - set(scale.seeds))
    if odd:
        raise UsageError(
            f"scale {scale.name} has no seed {odd[0]}; it has {_ranges(scale.seeds)}; see --seeds"
        )
    datasets = {d.name: d for d in suite.datasets}
    artifacts = {a.name: a for a in suite.artifacts}
    kind = device.partition(":")[0]
    nodes: dict[str, Node] = {}

    def common(seed: int | None, data: Iterable[str], needs: dict[str, str]) -> dict[str, Any]:
        return {
            "spec_version": SPEC_VERSION,
            "suite": suite.name,
            "seed": seed,
            "scale": {"name": scale.name, "params": scale.params},
            "dtype": suite.dtype,
            "device": kind,
            "data": {name: datasets[name].files for name in data},
            "artifacts": needs,
        }

    def resolve(names: Iterable[str], task: Task, seed: int) -> dict[str, str]:
        return {name: node(artifacts[name], task, seed).id for name in names}

    def node(artifact: Artifact, task: Task, seed: int) -> Node:
        over_task = task if "task" in artifact.over else None
        over_seed = seed if "seed" in artifact.over else None
        needs = resolve(artifact.needs, task, seed)
        own = artifact.datasets
        if "data" in artifact.over:
            own = tuple(name for name in own if name in task.datasets)
        data = (*own, *(over_task.datasets if over_task else ()))
        spec = common(over_seed, data, needs) | {
            "artifact": _identified(artifact),
            "task": _identified(over_task) if over_task else None,
        }
        made = Node(artifact, over_task, over_seed, spec, digest(spec), needs)
        return nodes.setdefault(made.id, made)

    method_identity = {m.name: _identified(m) for m, _ in meetings}
    task_identity = {t.name: _identified(t) for _, t in meetings}
    found = []
    for seed in filters.seeds or scale.seeds:
        for method, task in meetings:
            needs = resolve(method.needs, task, seed)
            spec = common(seed, task.datasets, needs) | {
                "method": method_identity[method.name],
                "task": task_identity[task.name],
            }
            found.append(Trial(suite, method, task, seed, scale, device, spec, digest(spec), needs))
    return found, nodes


def make(
    suite: Suite,
    scale: Scale,
    records: Sequence[Record],
    store: Store,
    sources: Sources,
    *,
    device: str = "cpu",
    filters: Filters = EVERYTHING,
    rerun: Rerun = "none",
) -> Plan:
    """The plan of a command: every trial with its state, what happens to it, and why."""
    wanted, nodes = trials(suite, scale, device, filters)
    by_id = {record.id: record for record in records}
    datasets = {d.name: d for d in suite.datasets}
    steps = []
    for trial in wanted:
        record = by_id.get(trial.id)
        state, reason = _state(trial, record, store)
        again = record is not None and (
            rerun == "all" or (rerun == state and rerun in ("failed", "stale"))
        )
        runs = again or record is None
        absent = _absent(trial, nodes, datasets, sources) if runs else ""
        if absent and record is None:
            state, reason, runs = "no data", absent, False
        elif absent:
            reason, runs = f"{reason}; cannot run again: {absent}", False
        elif again:
            reason = f"{reason}; --rerun {rerun}"
        steps.append(Step(trial, state, "run" if runs else "skip", reason))
    needed = reachable([step.trial.needs for step in steps if step.action == "run"], nodes)
    return Plan(suite, scale, device, tuple(steps), {k: n for k, n in nodes.items() if k in needed})


def is_stale(record: Record, method: Method) -> bool:
    """Whether the method's source has changed since the record was written."""
    return record.provenance.source_digest != registry.source_digest(method.run)


def leftovers(store: Store) -> list[Path]:
    """Folders of the cache that no suite refers to any more, or whose trial has its record.

    What may be of a suite that is not here (`strangers`) is none. Nor is what is in use.

    Raises:
        StoreError: the cache is not the harness's own, or records cannot be read.
    """
    if not store.owned() or not (any(store.artifacts()) or any(store.unfinished())):
        return []
    strange = strangers(store)
    wanted: set[str] = set()
    for name in registry.origins():
        if name not in strange:
            wanted |= _identities(registry.load(name))
    finished = {r.id for r in store.load().records if r.status == "ok"}
    made, pending = {key[:12] for key in wanted}, {key[:32] for key in wanted - finished}
    recorded = {key[:32] for key in finished}
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
            if (folder.name in recorded or not strange)
            and folder.name not in pending
            and not store.locked(folder.name)
        ),
    ]


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
            for scale in suite.scales
            for device in sorted({str(r.spec["device"]) for r in own if r.scale == scale.name})
            for trial in trials(suite, scale, device)[0]
        }
        current[suite.name] = {r.id for r in own if r.id in wanted}
        stale[suite.name] = {r.id for r in own if r.id in wanted and is_stale(r, wanted[r.id])}
    return current, stale


def _state(trial: Trial, record: Record | None, store: Store) -> tuple[State, str]:
    if record is None:
        if store.states(trial.id):
            return "interrupted", "interrupted; goes on from its checkpoint"
        return "missing", "no record yet"
    if record.status != "ok":
        return "failed", f"{record.status}: {record.error}"
    if is_stale(record, trial.method):
        return "stale", "recorded, but the code has changed since"
    return "done", "recorded"


def _absent(
    trial: Trial, nodes: dict[str, Node], datasets: dict[str, Dataset], sources: Sources
) -> str:
    names = list(trial.task.datasets)
    for identity in reachable([trial.needs], nodes):
        names += nodes[identity].spec["data"]
    for name in names:
        if sources.find(datasets[name]) is None:
            return f"dataset {name}: {sources.missing(datasets[name])}"
    return ""


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


def _identified(thing: Method | Task | Artifact) -> dict[str, Any]:
    """What of a method, task or artifact decides numbers: not its label, notes or import path."""
    kept = {k: getattr(thing, k) for k in ("name", "version", "params")}
    if isinstance(thing, Task):
        kept["protocol"] = thing.protocol
        kept |= {"metrics": sorted(thing.metrics), "optional": sorted(thing.optional)}
    return kept


def _filtered(
    what: str, there: Sequence[Any], patterns: tuple[str, ...], suite: Suite
) -> Sequence[Any]:
    for pattern in patterns:
        if not select(there, (pattern,)):
            names = [thing.name for thing in there]
            raise UsageError(registry.unknown(what, pattern, names, f"harness show {suite.name}"))
    return select(there, patterns) if patterns else there


def _ranges(numbers: Sequence[int]) -> str:
    ordered = sorted(numbers)
    whole = ordered == list(range(ordered[0], ordered[-1] + 1)) and len(ordered) > 2
    return f"{ordered[0]}-{ordered[-1]}" if whole else ", ".join(map(str, ordered))
