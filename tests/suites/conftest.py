"""What the tests of several suites need."""

from collections.abc import Callable
from typing import Any

import pytest

from harness import plan, registry
from harness.context import Context
from harness.data import Sources
from harness.store import Store

Measure = Callable[[str, str, str], list[dict[str, float]]]


@pytest.fixture(scope="session")
def with_two_seeds(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """`with_two_seeds(suite, method, task)`: the metrics of a smoke trial with seeds 0 and 1.

    A method that declares `seeds="none"` must give the same ones. Artifacts are made once.
    """
    root = tmp_path_factory.mktemp("seeds")
    store, sources = Store(root / "results", root / "cache"), Sources(None, root / "hub")

    def make(trial: Any, nodes: Any, identity: str) -> None:
        node = nodes[identity]
        if store.artifact(trial.suite.name, node.artifact.name, identity) is not None:
            return
        for need in node.needs.values():
            make(trial, nodes, need)
        ctx = Context(trial, store, sources, node=node)
        ctx.out.mkdir(parents=True, exist_ok=True)
        info = dict(registry.call(node.artifact.make)(ctx)) | {"contents": dict(ctx.contents)}
        folder = store.artifact_folder(trial.suite.name, node.artifact.name, identity)
        store.commit_artifact(folder, ctx.out, node.spec, info)

    def measure(name: str, method: str, task: str) -> list[dict[str, float]]:
        suite = registry.load(name)
        every = tuple(m.model_copy(update={"seeds": "each"}) for m in suite.methods)
        scale = suite.scale("smoke").model_copy(update={"seeds": (0, 1)})
        scale = scale.model_copy(update={"tasks": ("*",)})
        found, nodes = plan.trials(
            suite.model_copy(update={"methods": every}), scale, "cpu",
            plan.Filters((method,), (task,)),
        )  # fmt: skip
        out = []
        for trial in found:
            for identity in trial.needs.values():
                make(trial, nodes, identity)
            out.append(registry.call(trial.method.run)(Context(trial, store, sources)))
        return out

    return measure
