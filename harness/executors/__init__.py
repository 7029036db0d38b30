"""Places where a plan can run. All carry the same jobs; the store's locks keep them apart.

`Executor` is the whole contract: another place (a cluster, a queue) implements it in one module
beside `local.py` and needs nothing else, since a job names everything by plain strings and its
result is the record that it commits to the shared store.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import harness
from harness import registry
from harness.data import Sources
from harness.plan import Plan, Rerun, Trial, unmade, users
from harness.provenance import Commit
from harness.run import Job, Outcome, Progress
from harness.store import Store
from harness.suite import Added, Artifact


class Work(NamedTuple):
    """A job and the identities of the jobs that must be done before it."""

    job: Job
    after: frozenset[str] = frozenset()


class Event(NamedTuple):
    """Something that happened to a job: it started, it moved, or it ended."""

    job: Job
    progress: Progress | None = None
    outcome: Outcome | None = None
    seconds: float = 0.0
    """Since the job started."""


class Executor(Protocol):
    """Runs work somewhere."""

    parting: str
    """What a command says before its own words where it was stopped; `{kept}` is what is saved."""

    def run(self, work: Sequence[Work], observe: Callable[[Event], None]) -> bool:
        """Runs all work, each after what it needs; calls `observe` on every event.

        Returns:
            False where it was stopped before the end, by a signal, a deadline or a full disk; all
            that was stopped resumes from its checkpoint when the same work is run again.
        """
        ...


def work(
    made: Plan, store: Store, sources: Sources, rerun: Rerun = "none", per_gpu: int = 1
) -> list[Work]:
    """The jobs of a plan, artifacts that are not built yet first.

    `per_gpu`: how many trials share a GPU.

    Raises:
        StoreError: an artifact that is needed is corrupt.
    """
    if not made.todo:
        return []
    engine = Path(harness.__file__).parent
    commits = functools.cache(
        lambda *plugins: Commit.read(*registry.trees(made.suite, plugins), engine)
    )
    known = {added.name: added for added in made.suite.plugins}
    used = tuple(item.place.word for item in registry.used())
    for key, node in made.nodes.items():
        store.artifact(made.suite.name, node.artifact.name, key)  # says so if it is corrupt

    def job(trial: Trial, identity: str, artifact: Artifact | None, spec: dict[str, Any]) -> Job:
        names = spec.get("plugins", ())
        commit = commits(*names)
        return Job(
            suite=made.suite.name,
            scale=made.scale.name,
            settings=made.scale.settings.plain(),
            method=trial.method.name,
            task=trial.task.name,
            seed=trial.seed,
            device=made.device,
            id=identity,
            artifact=artifact.name if artifact else None,
            results=str(store.results.absolute()),  # whatever becomes of the working folder
            cache=str(store.cache.absolute()),
            data=str(sources.local.absolute()) if sources.local else None,
            threads=made.scale.threads,
            seconds=made.scale.trial_seconds,
            commit=commit.commit,
            dirty=commit.dirty,
            source_digest=registry.source_digest(artifact.make if artifact else trial.method.run),
            plugins=used,
            marks=tuple((f"plugin {name}", _state(known[name])) for name in names),
            force=artifact is None and rerun != "none",
            gpus=made.scale.gpus / per_gpu if made.device == "cuda" else 0.0,
            memory=int(made.scale.memory_gib * 2**30),
        )

    user = users(made.todo, made.nodes)
    first = [
        Work(job(user[node.id], node.id, node.artifact, node.spec), frozenset(node.needs.values()))
        for node in unmade(made, store)
    ]
    return first + [
        Work(job(trial, trial.id, None, trial.spec), frozenset(trial.needs.values()))
        for trial in made.todo
    ]


def _state(added: Added) -> str:
    """A plugin's version and digest, as `Provenance.packages` holds them."""
    return f"{added.version} sha256:{registry.source_digest(added.source)}"
