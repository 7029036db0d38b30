"""A graph of one's own in the suite gate: two groups of people, and who knows whom.

harness run gate --plugin docs/examples/my_graph.py --tasks my-graph-l2 --scale smoke
"""

import numpy as np
import torch
from torch_geometric.data import Data

from harness.plugins import Plugin
from suites import gate


def people() -> Data:
    """40 people in two groups, who know two others each; any PyG `Data` does."""
    rng = np.random.default_rng(0)
    group = np.arange(40) % 2
    features = rng.normal(size=(40, 8)) + group[:, None]
    others = rng.integers(0, 40, size=(2, 80))
    return Data(
        x=torch.tensor(features, dtype=torch.float32),
        edge_index=torch.tensor(others),
        y=torch.tensor(group),
    )


def plugin() -> Plugin:
    return gate.graph_task("my-graph", data=people(), splits=5)
