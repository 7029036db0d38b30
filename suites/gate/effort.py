"""What a trial makes a GPU do: layers times epochs, forward and backward; see `harness.gpu`."""

from itertools import pairwise

from harness.gpu import CONTEXT, Effort
from harness.suite import Method, Task
from suites.gate.datasets import DATASETS
from suites.gate.settings import GateSettings, GraphTask, Minesweeper, Own, Real, SelfSufficient
from suites.gate.tasks import rigid

_FORWARD = 40
"""Kernels of one layer's forward pass: products, edge operators of torch, softmax, activation."""
_EPOCH = 60
"""Kernels of an epoch beside the layers: loss, scores of validation, Adam."""
_MATRICES = {"gat": 2, "gate": 3, "mlp": 1}
"""Products of a layer's input with a matrix; of networks that are not named here, one."""
_COPIES = 12
"""Edge vectors of a layer that are read or written in a forward pass."""


def effort(method: Method, task: Task, settings: GateSettings) -> Effort:
    """Of one training; the graph is in the GPU's memory throughout."""
    graph = GraphTask.model_validate(task.params)
    nodes, edges, features, classes = _size(graph, settings)
    hidden, epochs = _training(method, graph, settings)
    widths = [features, *[hidden] * (graph.depth - 1), classes]
    network = str(method.params["network"])
    products = _MATRICES.get(network, 3 if network.startswith("gate-") else 1)
    edges = 0 if network == "mlp" else edges
    forward = traffic = held = 0.0
    for before, after in pairwise(widths):
        forward += products * 2 * nodes * before * after + 8 * edges * after
        traffic += 4 * (_COPIES * edges * after + nodes * (before + 4 * after))
        held += 4 * (3 * edges * after + 4 * nodes * after)
    return Effort(
        flops=3 * epochs * forward,
        moved=3 * epochs * traffic,
        kernels=epochs * (3 * _FORWARD * graph.depth + _EPOCH),
        memory=held + 4 * nodes * features + CONTEXT,
    )


def _training(method: Method, task: GraphTask, settings: GateSettings) -> tuple[int, int]:
    """Width and epochs."""
    if settings.run is not None:
        return settings.run.hidden, settings.run.epochs.of(task.source)
    released = rigid(task) if method.params["network"] == "mlp-gat" else task.released
    return released.hidden, released.epochs


def _size(task: GraphTask, settings: GateSettings) -> tuple[int, int, int, int]:
    """Nodes, directed edges with loops, features and classes."""
    source = task.source
    if isinstance(source, Real) or (
        isinstance(source, SelfSufficient) and source.structure != "erdos-renyi"
    ):
        file = DATASETS[source.dataset if isinstance(source, Real) else "cora"]
        labels = file.classes if isinstance(source, Real) else source.classes
        features = file.features if isinstance(source, Real) else source.classes
        return file.nodes, 2 * file.edges + file.nodes, features, labels
    if isinstance(source, Minesweeper):
        nodes = settings.side**2
        return nodes, 9 * nodes, 7, 2
    if isinstance(source, Own):
        return 10_000, 110_000, 256, source.classes  # its file is not read for an estimate
    nodes = settings.nodes
    edges = int(nodes * (nodes - 1) * settings.p) + nodes
    classes = source.classes if isinstance(source, SelfSufficient) else 2
    return nodes, edges, classes if isinstance(source, SelfSufficient) else 2, classes
