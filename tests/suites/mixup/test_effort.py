"""The estimated work of a finetuning: its passes are those of the methods' own options."""

import pytest

from harness import registry
from suites.mixup.effort import effort
from suites.mixup.settings import MixupOptions


def test_mixup_costs_its_passes() -> None:
    suite = registry.load("mixup")
    scale = suite.scale("gpu")
    task = next(t for t in suite.tasks if t.name == "sst-2-n300")
    vanilla, mixup, sam = (
        effort(next(m for m in suite.methods if m.name == name), task, scale.settings)
        for name in ("vanilla", "mixup-convex", "sam")
    )
    updates = 3 * 19
    ratio = MixupOptions().passes(300, 16, updates) / updates
    assert mixup.kernels / vanilla.kernels == pytest.approx(ratio, rel=0.1)  # and the test set
    assert sam.kernels / vanilla.kernels == pytest.approx(2, rel=0.1)
    # 6 weights a token and pass, 12 width^2 weights a layer
    assert mixup.flops > 6 * 6 * 12 * 384**2 * 16 * scale.settings.tokens * ratio * updates
