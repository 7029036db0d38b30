"""Trainings and trials on a device that is not the CPU: see `tests/fake_device.py`."""

import pytest

from harness import registry
from tests.fake_device import FakeDevice
from tests.suites.merging.world import World

TRAINED = (
    "language-model", "policy-hopper-different", "policy-hopper-regularised",
    "policy-hopper-narrow", "policy-hidden-hopper-pretrained", "multitask", "finetuned-hopper",
)  # fmt: skip
"""One of each kind of training."""
TRIALS = (
    "individual", "fisher-paper-attn-common", "regmean-plus-attn-mlp-common", "mff",
    "attention-other",
)  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_leaves_nothing_on_the_cpu(
    smoke: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = smoke.artifact(name)
    ctx.out.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        registry.call(ctx.subject.make)(ctx)  # type: ignore[union-attr]


@pytest.mark.parametrize("method", TRIALS)
def test_a_trial_leaves_nothing_on_the_cpu(
    smoke: World, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = smoke.context(method)
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        found = registry.call(ctx.subject.run)(ctx)  # type: ignore[union-attr]
    assert "return" in found
