"""A store in which the artifacts of the smoke scale are made once for all tests of the suite."""

import os
from pathlib import Path
from typing import Any

import pytest

from harness import plan, registry
from harness.data import Sources
from harness.run import Context
from harness.store import Store
from harness.suite import Scale
from suites.bam.settings import BamSettings


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data."""
    if not (folder := os.environ.get("HARNESS_DATA")):
        pytest.skip("HARNESS_DATA is not set")
    return Path(folder)


def smoke(**settings: Any) -> Scale:
    """The smoke scale with all tasks and methods, some settings changed."""
    scale = registry.load("bam").scale("smoke")
    changed = BamSettings.model_validate({**scale.settings.plain(), **settings})
    return scale.model_copy(update={"settings": changed, "tasks": ("*",), "exclude": ()})


class Workshop:
    """Contexts of trials and artifacts; what an artifact needs is made first."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "results", root / "cache")
        self.sources = Sources(None, root / "hub")

    def trial(self, method: str, task: str, seed: int = 0, **params: Any) -> Context:
        """The context of a trial."""
        trial, nodes = self._plan(method, task, seed, params)
        for identity in trial.needs.values():
            self._make(trial, nodes, identity)
        return Context(trial, self.store, self.sources)

    def artifact(self, name: str, method: str = "btx", seed: int = 0, **params: Any) -> Context:
        """The context of an artifact that a method leads to, itself not made."""
        trial, nodes = self._plan(method, "mean-installed", seed, params)
        node = next(node for node in nodes.values() if node.artifact.name == name)
        for identity in node.needs.values():
            self._make(trial, nodes, identity)
        return Context(trial, self.store, self.sources, node=node)

    def _plan(self, method: str, task: str, seed: int, params: dict[str, Any]) -> Any:
        suite = registry.load("bam")
        wanted = plan.Filters((method,), (task,), (seed,))
        found, nodes = plan.trials(suite, smoke(**params), "cpu", wanted)
        return found[0], nodes

    def _make(self, trial: Any, nodes: Any, identity: str) -> None:
        node = nodes[identity]
        if self.store.artifact("bam", node.artifact.name, identity) is not None:
            return
        for need in node.needs.values():
            self._make(trial, nodes, need)
        ctx = Context(trial, self.store, self.sources, node=node)
        ctx.out.mkdir(parents=True, exist_ok=True)
        info = dict(registry.call(node.artifact.make)(ctx)) | {"contents": dict(ctx.contents)}
        folder = self.store.artifact_folder("bam", node.artifact.name, identity)
        self.store.commit_artifact(folder, ctx.out, node.spec, info)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One workshop for all tests: artifacts are made once."""
    return Workshop(tmp_path_factory.mktemp("workshop"))
