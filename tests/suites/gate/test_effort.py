"""The estimated work of a training, against torch's own count of its operations."""

import pytest
import torch
from torch import nn

from harness import registry
from harness.training import count_flops
from suites.gate.effort import effort
from suites.gate.model import build
from suites.gate.settings import Epochs, GateSettings, Run


@pytest.mark.parametrize("network", ["gat", "gat-shared", "gate", "mlp"])
@pytest.mark.parametrize("depth", [2, 5])
def test_flops_are_those_that_torch_counts(network: str, depth: int) -> None:
    suite = registry.load("gate")
    method = next(m for m in suite.methods if m.name == network)
    task = next(t for t in suite.tasks if t.name == f"self-er8-l{depth}")
    settings = GateSettings(run=Run(hidden=32, epochs=Epochs.all(7)), nodes=120, p=0.05)
    nodes, edges = 120, int(120 * 119 * 0.05)
    model = build(network, 8, 32, 8, depth, torch.Generator().manual_seed(0))
    x_NF, edge_index = torch.randn(nodes, 8), torch.randint(nodes, (2, edges))

    def step() -> None:
        nn.functional.cross_entropy(model(x_NF, edge_index), torch.zeros(nodes).long()).backward()

    told = effort(method, task, settings)
    assert told.flops / 7 == pytest.approx(count_flops(step), rel=0.5)
    longer = effort(
        method, task, settings.model_copy(update={"run": Run(hidden=32, epochs=Epochs.all(14))})
    )
    assert longer.flops == 2 * told.flops
    assert longer.memory == told.memory
