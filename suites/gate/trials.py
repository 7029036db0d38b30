"""Trains one network on one graph and measures it: the method function of the whole suite.

Full batch, cross-entropy, Adam without decay; stops when the training loss is fitted. The
reported value is the test value at the first epoch of the best validation value, as in the released
code; `<metric>-last` is the value after the last epoch, without any selection.

Without dropout and norms, the forward pass that a step trains with is the forward pass that an
evaluation before that step would make: validation costs nothing extra.

Shape suffixes: N nodes, C classes, F features, L layers.
"""

import math
import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from harness.run import Context
from harness.training import State, count_flops, finite, parameters
from suites.gate import kernels, measures, own, synthetic
from suites.gate.conv import GATEConv
from suites.gate.datasets import DATASETS
from suites.gate.graphs import Graph, check_digest, read_npz, read_ogbn_arxiv, with_protocol
from suites.gate.model import Network, build
from suites.gate.settings import (
    GateSettings,
    GraphTask,
    Minesweeper,
    NeighbourDependent,
    NetworkSettings,
    Own,
    Real,
    SelfSufficient,
)
from suites.gate.tasks import rigid

SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": measures.accuracy,
    "roc-auc": measures.roc_auc,
    "hard-roc-auc": measures.hard_roc_auc,
}


OFF = 0.9
"""Mean alpha_vv of the middle layers above which a network has switched its neighbours off."""


def run(ctx: Context) -> dict[str, float]:
    """Trains `ctx.subject` on `ctx.task`; returns the task's metrics, scores in percent."""
    task, training = ctx.settings(GraphTask), training_of(ctx)
    graph = _to(load(ctx), ctx.device)
    network = build(
        ctx.settings(NetworkSettings).network,
        graph.x_NF.size(1),
        training.hidden,
        graph.classes,
        task.depth,
        ctx.torch_generator("init"),
    ).to(ctx.device)
    fitted = fit(ctx, network, graph, training, SCORES[task.metric])
    network.load_state_dict(fitted.weights)
    scores = {task.metric: fitted.test, f"{task.metric}-last": fitted.last}
    return scores | measure(ctx, network, graph)


class Training(NamedTuple):
    """How the network of one trial is trained."""

    hidden: int
    lr: float
    epochs: int
    settings: GateSettings


def training_of(ctx: Context) -> Training:
    """Width, rate and epochs of the scale, or those that the released code uses for the task."""
    task, settings = ctx.settings(GraphTask), ctx.settings(GateSettings)
    if settings.run is None:
        rigid_network = ctx.settings(NetworkSettings).network == "mlp-gat"
        released = rigid(task) if rigid_network else task.released
        return Training(released.hidden, released.lr, released.epochs, settings)
    run = settings.run
    return Training(run.hidden, run.lr, run.epochs.of(task.source), settings)


def load(ctx: Context) -> Graph:
    """The graph of a trial: generated from its `data` stream, or read from a checked file."""
    protocol: Literal["standard", "paper-code"] = (
        "standard" if ctx.task.protocol == "standard" else "paper-code"
    )
    return with_protocol(_graph(ctx), protocol)


def _graph(ctx: Context) -> Graph:
    settings, rng = ctx.settings(GateSettings), ctx.numpy_generator("data")
    match ctx.settings(GraphTask).source:
        case SelfSufficient(structure="cora") as source:
            cora = _real(ctx, "cora", 0)
            return synthetic.self_sufficient(cora, source.labels, source.classes, rng)
        case SelfSufficient() as source:
            ctx.generated("erdos-renyi")
            return synthetic.self_sufficient(
                "erdos-renyi",
                source.labels,
                source.classes,
                rng,
                nodes=settings.nodes,
                p=settings.p,
            )
        case NeighbourDependent(hops=hops):
            ctx.generated("erdos-renyi")
            return synthetic.neighbour_dependent(hops, rng, nodes=settings.nodes, p=settings.p)
        case Minesweeper():
            ctx.generated("minesweeper")
            return synthetic.minesweeper(rng, side=settings.side)
        case Real(dataset=name):
            return _real(ctx, name, ctx.seed)
        case Own() as source:
            return own.read(ctx.dataset(source.dataset), source, ctx.seed % source.splits)


def _real(ctx: Context, name: str, split: int) -> Graph:
    file = DATASETS[name]
    path = ctx.dataset(name) / file.path
    if name == "ogbn-arxiv":
        return read_ogbn_arxiv(path)
    if file.sha256 is not None and len(file.sha256) < 64:  # first digits: the engine has no more
        check_digest(path, file)
    return read_npz(path, file, split % file.splits)


class Fitted(NamedTuple):
    """What training leaves; scores in percent."""

    test: float
    """At the first epoch of the best validation score."""
    last: float
    """Of the test nodes, after the last epoch."""
    weights: dict[str, Tensor]
    """At the first epoch of the best validation score."""


def fit(
    ctx: Context,
    network: Network,
    graph: Graph,
    training: Training,
    score: Callable[[Tensor, Tensor], float],
) -> Fitted:
    """Trains until the loss is fitted or the epochs are used up."""
    epochs, settings = training.epochs, training.settings
    optimizer = torch.optim.Adam(
        network.parameters(), lr=training.lr, betas=settings.betas, eps=settings.eps, fused=True
    )
    generators = {}
    if network.noise is not None:
        network.noise = generators["dropout"] = ctx.torch_generator("dropout")
    state = State(
        modules={"network": network}, optimizers={"adam": optimizer}, generators=generators
    )
    best = {"val": -1.0, "test": -1.0, "epoch": 0.0}
    state.values["best"] = best  # type: ignore[assignment]
    epoch = ctx.restore(state)
    best = state.values["best"]  # type: ignore[assignment]
    y_train = graph.y_N[graph.train_N]
    x_NF = _input(network, graph.x_NF)
    while True:
        network.train()
        logits_NC = network(x_NF, graph.edge_index_2E)
        loss = nn.functional.cross_entropy(logits_NC[graph.train_N], y_train)
        value = finite(loss.item(), epoch)
        network.eval()
        scored_NC = logits_NC.detach()
        if network.noise is not None:
            with torch.no_grad():
                scored_NC = network(x_NF, graph.edge_index_2E)
        val = _score(score, scored_NC, graph.y_N, graph.val_N)
        ctx.log(epoch, loss=value, val=val)
        if val > best["val"]:
            test = _score(score, scored_NC, graph.y_N, graph.test_N)
            best.update(val=val, test=test, epoch=epoch)
            state.tensors = {k: v.clone() for k, v in network.state_dict().items()}
        if value <= settings.fitted or epoch == epochs:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        epoch += 1
        ctx.tick(epoch, epochs, state)

    network.train()

    def step() -> None:  # with dense features: what the layers do, not how it is stored
        logits_NC = network(graph.x_NF, graph.edge_index_2E)
        nn.functional.cross_entropy(logits_NC[graph.train_N], y_train).backward()  # type: ignore[no-untyped-call]

    ctx.count(
        parameters=parameters(network),
        epochs=epoch,
        best_epoch=int(best["epoch"]),
        flops=count_flops(step) * epoch,
    )
    network.eval()
    last = _score(score, scored_NC, graph.y_N, graph.test_N)
    return Fitted(best["test"], last, state.tensors)


@torch.no_grad()
def measure(ctx: Context, network: Network, graph: Graph) -> dict[str, float]:
    """Smoothness by depth and alpha_vv by layer, as metrics and as series of the record.

    The deepest hidden representation is what over-smoothing would have flattened; `energy` is the
    common logarithm of its neighbour Dirichlet energy, `mad` its mean neighbour cosine distance.
    """
    layers_LNF = network.layers(graph.x_NF, graph.edge_index_2E)
    depths = list(range(len(layers_LNF)))
    energies = [measures.dirichlet_energy(x_NF, graph.edge_index_2E) for x_NF in layers_LNF]
    distances = [measures.mad(x_NF, graph.edge_index_2E) for x_NF in layers_LNF]
    ctx.series("energy-by-layer", depths, energies, "layer")
    ctx.series("mad-by-layer", depths, distances, "layer")
    found = {}
    if len(layers_LNF) > 2:
        found = {"energy": math.log10(energies[-2] + 1e-12), "mad": distances[-2]}
    means = []
    for layer, alpha_N in enumerate(network.self_attention(graph.x_NF, graph.edge_index_2E), 1):
        if alpha_N is None:
            continue
        summary = measures.alpha_summary(alpha_N)
        means.append((layer, summary.mean))
        edges = [bin_ / len(summary.histogram) for bin_ in range(len(summary.histogram))]
        ctx.series(f"alpha-layer-{layer}", edges, summary.histogram, "alpha_vv")
    if means:
        ctx.series("alpha-by-layer", [n for n, _ in means], [mean for _, mean in means], "layer")
        middle = [mean for layer, mean in means if 1 < layer < len(layers_LNF) - 1]
        if middle:
            found["alpha-middle"] = sum(middle) / len(middle)
            found["switched-off"] = 100.0 * (found["alpha-middle"] > OFF)
    return found


def _input(network: Network, x_NF: Tensor) -> Tensor:
    """The features as the first layer takes them fastest: bags of words as a sparse matrix.

    On the CPU a sparse product is five to ten times as fast there. PyG's layers that look at the
    neighbours before the weights cannot take one.
    """
    linear_first = isinstance(network.stack[0], nn.Linear | GATEConv)
    if x_NF.device.type == "cpu" and linear_first and float((x_NF != 0).float().mean()) < 0.02:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # "beta state"
            return x_NF.to_sparse_csr()
    return x_NF


def _score(
    score: Callable[[Tensor, Tensor], float], logits_NC: Tensor, y_N: Tensor, mask_N: Tensor
) -> float:
    return 100 * score(logits_NC[mask_N], y_N[mask_N])


def _to(graph: Graph, device: str) -> Graph:
    return Graph(*(v.to(device) if isinstance(v, Tensor) else v for v in graph))  # type: ignore[arg-type]


def warm_up() -> None:
    """Compiles the CPU kernels and imports what trials need, once, before they fork off."""
    kernels.warm_up((torch.float32,))
