"""Trainings and trials on a device that is not the CPU: see `tests/fake_device.py`."""

from pathlib import Path

import pytest

from harness import plan, registry
from harness.data import Sources
from harness.run import DONE, Context, Job, execute
from harness.store import Store
from tests.fake_device import FakeDevice

TRAINED = (
    "language-model", "policy-hopper-different", "policy-hopper-regularised",
    "policy-hopper-narrow", "policy-hidden-hopper-pretrained", "multitask", "finetuned-hopper",
)  # fmt: skip
"""One of each kind of training."""
TRIALS = (
    "individual", "fisher-paper-attn-common", "regmean-plus-attn-mlp-common", "mff",
    "attention-other",
)  # fmt: skip


class World:
    """Artifacts of the smoke scale are made on the CPU as they are asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "results", root / "cache")
        self.suite = registry.load("merging")

    def context(self, method: str, task: str, artifact: str = "") -> Context:
        """Of a trial, or of an artifact that it leads to; what either needs is made."""
        wanted = plan.Filters((method,), (task,), (0,))
        found, nodes = plan.trials(self.suite, self.suite.scale("smoke"), "cpu", wanted)
        trial = found[0]
        node = next((n for n in nodes.values() if n.artifact.name == artifact), None)
        for identity in (node or trial).needs.values():
            self._make(trial, nodes, identity)
        return Context(trial, self.store, Sources(None, self.root), node=node)

    def _make(self, trial: plan.Trial, nodes: dict[str, plan.Node], identity: str) -> None:
        node = nodes[identity]
        for need in node.needs.values():
            self._make(trial, nodes, need)
        job = Job(
            suite="merging", scale="smoke", settings={}, method=trial.method.name,
            task=trial.task.name, seed=0, device="cpu", id=node.id, artifact=node.artifact.name,
            results=str(self.store.results), cache=str(self.store.cache), data=None, threads=1,
            seconds=100, commit=None, dirty=None, source_digest="0" * 64,
        )  # fmt: skip
        outcome = execute(job)
        assert outcome.code == DONE, outcome.line


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("devices"))


def _through(name: str) -> tuple[str, str]:
    """A trial that leads to an artifact: its method and its task."""
    suite = registry.load("merging")
    scale = suite.scale("smoke")
    for method, task in suite.pairs(scale):
        wanted = plan.Filters((method.name,), (task.name,), (0,))
        nodes = plan.trials(suite, scale, "cpu", wanted)[1]
        if name in {node.artifact.name for node in nodes.values()}:
            return method.name, task.name
    raise AssertionError(name)


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_leaves_nothing_on_the_cpu(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = world.context(*_through(name), name)
    ctx.out.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        registry.call(ctx.subject.make)(ctx)  # type: ignore[union-attr]


@pytest.mark.parametrize("method", TRIALS)
def test_a_trial_leaves_nothing_on_the_cpu(
    world: World, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = world.context(method, "hopper")
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        found = registry.call(ctx.subject.run)(ctx)  # type: ignore[union-attr]
    assert "return" in found
