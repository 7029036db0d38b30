"""Artifacts and trials on a device that is not the CPU: see `tests/fake_device.py`."""

from typing import Any

import pytest

from harness import registry
from suites.bam.model.routing import Dispatch
from tests.fake_device import FakeDevice

SUITE = registry.load("bam")
TRAINED = (
    "seed", "expert-law", "dense", "mixture-btx", "mixture-btx-top2", "mixture-bam-shared-kv",
    "mixture-bam-uniform", "mixture-bam-means", "mixture-bam-frozen", "mixture-drop-upcycling",
)  # fmt: skip
"""One of each kind, but for ridge routers: they solve equations, which zeros do not have."""


@pytest.fixture(autouse=True)
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every expert gets as many tokens: no numbers come back that would say how many."""

    def sizes(self: Dispatch) -> list[int]:
        experts = len(self.end_E)
        each, left = divmod(len(self.order_R), experts)
        return [each + (expert < left) for expert in range(experts)]

    monkeypatch.setattr(Dispatch, "sizes", sizes)


def _through(name: str) -> str:
    """A method that an artifact leads to."""
    artifacts = {a.name: a for a in SUITE.artifacts}

    def needed(names: tuple[str, ...]) -> set[str]:
        return {n for name in names for n in (name, *needed(artifacts[name].needs))}

    return next(m.name for m in SUITE.methods if name in needed(tuple(m.needs)))


@pytest.mark.filterwarnings("ignore:router_from")  # texts look alike where all is zero
@pytest.mark.parametrize("name", TRAINED)
def test_a_training_leaves_nothing_on_the_cpu(
    workshop: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workshop.artifact(name, _through(name))
    ctx.out.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        assert registry.call(ctx.subject.make)(ctx)


@pytest.mark.parametrize("task", ["mean-installed", "cost-installed"])
@pytest.mark.parametrize("method", ["seed", "btx", "bam", "btm"])
def test_a_trial_leaves_nothing_on_the_cpu(
    workshop: Any, method: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workshop.trial(method, task)
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        found = registry.call(ctx.subject.run)(ctx)
    assert set(ctx.task.metrics) <= set(found)
