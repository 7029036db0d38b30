"""The networks that are compared: layers in a row, ReLU between them and none after the last.

No normalisation, no dropout, no bias, one head: the setting of the GATE paper (Mustafa and
Burkholz, arXiv 2406.00418), kept for every method so that only the layer differs. Weights start
"looks-linear" orthogonal: each layer comes in pairs of units with opposite signs, so that the
network without its graph is an orthogonal linear map at the start, at any depth.

Shape suffixes: N nodes, E edges, F features of a layer, K classes, I inputs and O outputs of a
weight matrix.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.errors import SpecError, unknown
from suites.gate.conv import GATEConv


class Place(NamedTuple):
    """Where a layer stands and what it maps."""

    inputs: int
    outputs: int
    layer: int
    """1 is the first."""
    depth: int


class LayerOutput(NamedTuple):
    """What one layer hands on."""

    x_NF: Tensor
    """After ReLU, except for the last layer."""
    self_attention_N: Tensor | None
    """alpha_vv of each node; None for a layer without attention to the node itself."""


class Network(nn.Module):
    """Layers in a row with ReLU between them; a linear layer does not look at the edges."""

    noise: torch.Generator | None = None
    """What dropout draws from; None where training and evaluation are the same function."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stack = nn.ModuleList(layers)

    def forward(self, x_NF: Tensor, edge_index_2E: Tensor) -> Tensor:
        """Returns the logits, [N, K]."""
        output = LayerOutput(x_NF, None)
        for output in self.steps(x_NF, edge_index_2E):  # noqa: B007  the last one is wanted
            pass
        return output.x_NF

    def layers(self, x_NF: Tensor, edge_index_2E: Tensor) -> list[Tensor]:
        """Returns depth + 1 representations: the input, and what each layer hands on."""
        return [x_NF, *(output.x_NF for output in self.steps(x_NF, edge_index_2E))]

    def self_attention(self, x_NF: Tensor, edge_index_2E: Tensor) -> list[Tensor | None]:
        """Returns alpha_vv of each layer, [N]; None where a layer has no such weight."""
        return [output.self_attention_N for output in self.steps(x_NF, edge_index_2E)]

    def steps(self, x_NF: Tensor, edge_index_2E: Tensor) -> Iterator[LayerOutput]:
        """Runs the layers one after the other, so that a caller keeps only what it needs."""
        num_edges = edge_index_2E.size(1)
        for index, layer in enumerate(self.stack, start=1):
            self_attention_N = None
            if isinstance(layer, nn.Linear):
                x_NF = layer(x_NF)
            elif isinstance(layer, GATEConv) and layer.add_self_loops:
                x_NF, weights = layer(x_NF, edge_index_2E, return_attention_weights=True)
                self_attention_N = weights.alpha[num_edges:, 0]
            else:
                x_NF = layer(x_NF, edge_index_2E)
            if index < len(self.stack):
                x_NF = self.between(x_NF, index)
            yield LayerOutput(x_NF, self_attention_N)

    def between(self, x_NF: Tensor, layer: int) -> Tensor:
        """What the next layer gets of the output of a layer, of which 1 is the first."""
        return x_NF.relu()

    def initialise(self, generator: torch.Generator, *, uniform_attention: bool) -> None:
        """Draws every parameter: matrices looks-linear, GATE attention 0, GAT Xavier normal.

        Args:
            generator: The only source of randomness.
            uniform_attention: Start GAT's attention vectors at 0 too.
        """
        depth = len(self.stack)
        for index, layer in enumerate(self.stack, start=1):
            for name, parameter in layer.named_parameters():
                if name.endswith("weight"):
                    looks_linear_(parameter, index, depth, generator)
                elif name == "att":
                    # Drawn in any case, so that both starts leave the same matrices to the rest.
                    nn.init.normal_(parameter, std=parameter.size(-1) ** -0.5, generator=generator)
                    if uniform_attention:
                        nn.init.zeros_(parameter)
                else:
                    nn.init.zeros_(parameter)


class TunedGAT(Network):
    """A residual GAT with batch norm before each ReLU and dropout after it.

    Source: Luo et al., "Classic GNNs are Strong Baselines", NeurIPS 2024 (arXiv 2406.08993).
    DEVIATION: one rate of dropout for all graphs, the layers and the start of the other methods,
    and no linear layer at the end.
    """

    dropout = 0.2

    def __init__(self, layers: Sequence[nn.Module], hidden: int) -> None:
        super().__init__(layers)
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in layers[1:])
        self.noise = torch.Generator()

    def between(self, x_NF: Tensor, layer: int) -> Tensor:
        x_NF = self.norms[layer - 1](x_NF).relu()
        if not self.training:
            return x_NF
        kept_NF = torch.rand(x_NF.shape, generator=self.noise) >= self.dropout
        return x_NF * kept_NF.to(x_NF) / (1 - self.dropout)


class FAGCN(Network):
    """PyG's FAConv layers between a linear map in (with ReLU) and one out, as in Bo et al. 2021.

    DEVIATION: `depth` counts the FAConv layers; the map in belongs to the first and the map out
    to the last, so that `layers` has depth + 1 entries here too. No ReLU between the layers (the
    method needs signed features), and Glorot weights, since without it looks-linear has no use.
    """

    def __init__(self, in_features: int, hidden: int, classes: int, depth: int) -> None:
        from torch_geometric.nn import FAConv

        super().__init__([FAConv(hidden) for _ in range(depth)])
        self.lin_in = nn.Linear(in_features, hidden, bias=False)
        self.lin_out = nn.Linear(hidden, classes, bias=False)

    def steps(self, x_NF: Tensor, edge_index_2E: Tensor) -> Iterator[LayerOutput]:
        first_NF = self.lin_in(x_NF).relu()
        x_NF = first_NF
        for index, layer in enumerate(self.stack, start=1):
            x_NF = layer(x_NF, first_NF, edge_index_2E)
            yield LayerOutput(self.lin_out(x_NF) if index == len(self.stack) else x_NF, None)

    def initialise(self, generator: torch.Generator, *, uniform_attention: bool) -> None:
        for parameter in self.parameters():
            nn.init.xavier_uniform_(parameter, generator=generator)


def _linear(place: Place) -> nn.Module:
    return nn.Linear(place.inputs, place.outputs, bias=False)


_conv = partial(GATEConv, bias=False)


def _rigid(place: Place) -> nn.Module:
    """Every second layer is GAT, but never the last: layers 2, 4 of 5 and 2, 4, 6, 8 of 10."""
    if place.layer % 2 == 0 and place.layer < place.depth:
        return _conv(place.inputs, place.outputs, attention="gat", share_weights=True)
    return _linear(place)


def _gcn(place: Place) -> nn.Module:
    from torch_geometric.nn import GCNConv

    return GCNConv(place.inputs, place.outputs, bias=False)  # type: ignore[no-any-return]


def _sage(place: Place) -> nn.Module:
    from torch_geometric.nn import SAGEConv

    return SAGEConv(place.inputs, place.outputs, bias=False)  # type: ignore[no-any-return]


def _attention(
    *,
    gate: bool,
    shared: bool = False,
    residual: bool = False,
    loops: bool = True,
    gat_slope: float = 0.2,
    gate_slope: float = 0.0,
) -> Callable[[Place], nn.Module]:
    def layer(place: Place) -> nn.Module:
        return _conv(
            place.inputs,
            place.outputs,
            attention="gate" if gate else "gat",
            share_weights=shared,
            residual=residual,
            add_self_loops=loops,
            negative_slope=gat_slope,
            gate_slope=gate_slope,
        )

    return layer


LAYERS: dict[str, Callable[[Place], nn.Module]] = {
    "gat": _attention(gate=False),
    "gat-shared": _attention(gate=False, shared=True),
    "gate": _attention(gate=True),
    "gate-shared": _attention(gate=True, shared=True),
    "mlp": _linear,
    "mlp-gat": _rigid,
    "residual-gat": _attention(gate=False, residual=True),
    # A linear map of [own || message] is the sum of a map of each, and the map of the message
    # commutes with its weighted sum: a residual layer whose sum leaves the node itself out.
    # DEVIATION: Platonov et al. (2023) follow it with a feed-forward block; here it stands alone.
    "gat-sep": _attention(gate=False, residual=True, loops=False),
    "gcn": _gcn,
    "sage": _sage,
    "gate-leaky": _attention(gate=True, gate_slope=0.2),
    "gat-relu": _attention(gate=False, gat_slope=0.0),
    "gat-zero": _attention(gate=False),
    "gat-residual-tuned": _attention(gate=False, residual=True),
}
METHODS = (*LAYERS, "fagcn")


def build(
    name: str,
    in_features: int,
    hidden: int,
    classes: int,
    depth: int,
    generator: torch.Generator,
) -> Network:
    """Makes one of the compared networks, on the CPU.

    Args:
        name: One of `METHODS`.
        in_features: Features of a node.
        hidden: Width of every layer but the last; even, for the looks-linear start.
        classes: Outputs.
        depth: Number of layers, at least 1.
        generator: Draws every weight; the global random state is neither used nor changed.

    Raises:
        SpecError: If the name is unknown or a size is impossible.
    """
    if name not in METHODS:
        raise SpecError(unknown("method of gate", name, METHODS))
    if depth < 1 or in_features < 1 or classes < 1:
        raise SpecError(
            f"gate: {name} with depth {depth}, {in_features} features and {classes} classes; "
            f"each must be at least 1"
        )
    if hidden < 2 or hidden % 2:
        raise SpecError(
            f"gate: {name} with hidden width {hidden}; it must be even, since units start in "
            f"pairs of opposite sign"
        )
    widths = [in_features, *[hidden] * (depth - 1), classes]
    # Layers draw weights from the global state while they are made; all are drawn again below.
    with torch.random.fork_rng(devices=[]):
        if name == "fagcn":
            network: Network = FAGCN(in_features, hidden, classes, depth)
        else:
            places = (Place(widths[i], widths[i + 1], i + 1, depth) for i in range(depth))
            layers = [LAYERS[name](place) for place in places]
            tuned = name == "gat-residual-tuned"
            network = TunedGAT(layers, hidden) if tuned else Network(layers)
    # The released rigid network starts its GAT layers with attention 0.
    network.initialise(generator, uniform_attention=name in {"mlp-gat", "gat-zero"})
    return network


@torch.no_grad()
def looks_linear_(weight_OI: Tensor, layer: int, depth: int, generator: torch.Generator) -> Tensor:
    """Fills a weight in place with the looks-linear orthogonal start of its layer.

    With D orthogonal: [D; -D] in the first layer, [[D, -D], [-D, D]] in a hidden one and
    [D, -D] in the last, so that ReLU splits a vector into its positive and negative part and the
    next layer joins them again. Source: `LLortho` in the released code.

    The rule of the last layer wins in a network of one layer. Trap: [D, -D] then has half the
    rank of its inputs (rank 1 of 2 on the synthetic graphs), as in the released code.

    Args:
        weight_OI: The matrix to fill.
        layer: Number of the layer; 1 is the first.
        depth: Number of layers.
        generator: The only source of randomness.
    """
    outputs, inputs = weight_OI.shape
    if layer == depth and inputs % 2:
        # Trap: the released settings of one-layer networks on Cora ask for Xavier, but a typing
        # error makes them miss that branch and keep torch's default for a linear layer; with an
        # odd input width looks-linear is impossible there. This is that default.
        return nn.init.uniform_(weight_OI, -(inputs**-0.5), inputs**-0.5, generator=generator)

    def orthogonal(rows: int, columns: int) -> Tensor:
        return nn.init.orthogonal_(weight_OI.new_empty(rows, columns), generator=generator)

    if layer == depth:
        d_OI = orthogonal(outputs, inputs // 2)
        return weight_OI.copy_(torch.cat([d_OI, -d_OI], dim=1))
    if layer == 1:
        d_OI = orthogonal(outputs // 2, inputs)
        return weight_OI.copy_(torch.cat([d_OI, -d_OI]))
    d_OI = orthogonal(outputs // 2, inputs // 2)
    row_OI = torch.cat([d_OI, -d_OI], dim=1)
    return weight_OI.copy_(torch.cat([row_OI, -row_OI]))
