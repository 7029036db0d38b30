"""GATE against GAT: graph attention that can switch neighbours off."""

from harness.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__, {"GATEConv": "suites.gate.conv", "graph_task": "suites.gate.own"}
)
