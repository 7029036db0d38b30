"""Whole trials on a device that is not the CPU: everything is put there, every generator fits.

See `tests/fake_device.py`: shapes and devices are those of a GPU, numbers are not.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from harness import plan, registry
from harness.data import Sources
from harness.run import Context
from harness.store import Store
from tests.fake_device import FakeDevice

SLOW = {"averaging-only", "vanilla-equal-updates", "vanilla-equal-time"}
"""Many steps, all of kinds that others make too."""


def _trials() -> Iterator[tuple[str, str, str]]:
    for name, tasks in (
        ("gate", ("self-er8-l2",)),
        ("mixup", ("generated-topics", "generated-overlap")),
    ):
        suite = registry.load(name)
        seen: set[str] = set()
        for method, task in suite.pairs(suite.scale("smoke")):
            once = method.name not in seen and not method.needs
            slow = method.name in SLOW or method.name.startswith(("mixup-", "random-alpha-"))
            if task.name in tasks and once and (not slow or method.name == "mixup-code-k1"):
                seen.add(method.name)
                yield name, method.name, task.name


@pytest.mark.parametrize(("name", "method", "task"), list(_trials()))
def test_a_trial_leaves_nothing_on_the_cpu(
    name: str, method: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = registry.load(name)
    wanted = plan.Filters((method,), (task,), (0,))
    trial = plan.trials(suite, suite.scale("smoke"), "cpu", wanted)[0][0]
    ctx = Context(trial, Store(tmp_path / "r", tmp_path / "c"), Sources(None, tmp_path))
    monkeypatch.setattr(ctx, "device", "meta")
    with FakeDevice():
        found = registry.call(trial.method.run)(ctx)
    assert set(trial.task.metrics) <= set(found)


def test_the_fake_device_refuses_what_a_gpu_would() -> None:
    here, there = torch.ones(3), torch.ones(3, device="meta")
    with FakeDevice():
        assert (there + there).is_meta
        assert (there * torch.tensor(2.0)).is_meta  # a number is welcome anywhere
        assert there.cpu().tolist() == [0, 0, 0]
        assert there.sum().item() == 0.5
        with pytest.raises(RuntimeError, match="operands on"):
            torch.mv(torch.ones(3, 3, device="meta"), here)
        with pytest.raises(RuntimeError, match="a generator on cpu for a GPU's tensor"):
            nn.init.normal_(there, generator=torch.Generator())
