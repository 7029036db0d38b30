"""The attention layers GAT, GAT_S, GATE and GATE_S, as one layer with PyG's interface.

Every layer computes, for target v and the sources u of its edges (own loop included),

    out_v = sum_u alpha_uv W x_u,   alpha_uv = softmax over u of  a_uv . phi(U x_u + V x_v)

| layer  | attention | share_weights | matrices         | a_uv                    | phi       |
|--------|-----------|---------------|------------------|-------------------------|-----------|
| GAT    | "gat"     | False         | W (= U), V       | att                     | LeakyReLU |
| GAT_S  | "gat"     | True          | W (= U = V)      | att                     | LeakyReLU |
| GATE   | "gate"    | False         | W, U, V          | att_neighbour, att_self | ReLU      |
| GATE_S | "gate"    | True          | W (= U = V)      | att_neighbour, att_self | ReLU      |

W is lin_value, U lin_source, V lin_target; att_self is the vector of a node's edge to itself.

Source: Mustafa and Burkholz, "GATE: How to Keep Out Intrusive Neighbors", ICML 2024
(arXiv 2406.00418); the "gat" rows are Brody et al.'s GATv2.

Shape suffixes: S source nodes, T target nodes (S = T = N for one node set), F input features,
E given edges, L own loops, M = E + L edges in all, D edge features, B = L + 1 bins of these,
H heads, C channels a head, O = H * C output features (C when heads are averaged).
"""

import math
import warnings
from typing import Any, Literal, NamedTuple, NoReturn, cast

import torch
from torch import Tensor, nn

from harness.errors import MethodError, SpecError, unknown
from suites.gate.arguments import (
    REDUCTIONS,
    demand_alike,
    demand_edges,
    demand_fill_value,
    demand_number,
    demand_whole,
    pair_of_features,
    pair_of_widths,
)
from suites.gate.kernels import (
    DROPPED,
    NEIGHBOUR,
    SELF,
    aggregate,
    checked_edges,
    edge_scores,
    edge_softmax,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG scripts classes while it is imported
    from torch_geometric import EdgeIndex
    from torch_geometric.nn import MessagePassing

Attention = Literal["gate", "gat"]


class AttentionWeights(NamedTuple):
    """Attention of one forward pass, edge for edge.

    The E given edges come first, in the given order; node i's own loop is at E + i when the layer
    adds loops. A given edge that is itself a loop is replaced by the own loop: its weight is 0.
    """

    edge_index: Tensor
    """[2, M] int64, source then target."""
    alpha: Tensor
    """[M, H], sums to 1 over the edges of a target; before attention dropout."""


class _Edges(NamedTuple):
    index_2M: Tensor
    kind_M: Tensor
    num_loops: int


class GATEConv(MessagePassing):  # type: ignore[misc]  # PyG has no types
    """Graph attention with separate weights for neighbours and for the node itself.

    Takes the arguments of PyG's `GATv2Conv` in the same order, and with `attention="gat"` computes
    the same function. Works on one node set (`x` a tensor) or on two (`x` a pair of source and
    target features), inside `to_hetero` and `HeteroConv`, under autocast and `torch.compile`.

    Not supported, and refused in one line: lazy widths (-1), adjacency matrices (`torch.sparse`,
    `SparseTensor`), which `torch_geometric.utils.to_edge_index` turns into edges, and whatever
    looks into message passing (its hooks, `explain`, `propagate`), since the layer has no messages
    in memory. The transforms of `torch.func` do not know its kernels. PyG's `flow`, `aggr`,
    `node_dim` and TorchScript are not offered.

    Args:
        in_channels: Features of a node, or (source features, target features). Not -1: the layer
            is made whole, so that its parameters can be counted before it runs.
        out_channels: Channels C of each head.
        heads: Number of heads H.
        concat: Concatenate the heads (H * C outputs) or average them (C outputs).
        negative_slope: Slope of the LeakyReLU of "gat", at least 0. "gate" uses ReLU:
            since that is never negative, the sign of an attention vector opens or closes an edge.
        dropout: Probability, 0 to 1, with which an attention weight is dropped in training.
        add_self_loops: Give every node its own loop, in place of loops among the given edges.
            If False, a given edge with source = target is the self edge of "gate" on one node
            set; between two node sets no given edge is a self edge.
        edge_dim: Features of an edge; they enter the score inside the nonlinearity.
        fill_value: Edge features of own loops: a number, a tensor, or how to reduce the features
            of the edges that arrive at the node ("add", "mean", "min", "max", "mul").
        bias: Add a bias to the output and, as PyG does, to each matrix.
        share_weights: Use one matrix for value, source and target.
        residual: Add a linear map of the target's own features to the output.
        attention: "gate" or "gat"; see the table at the top of the module.
        gate_slope: Slope below 0 of the nonlinearity of "gate": 0 is the paper's ReLU, more is a
            LeakyReLU, which tells what the ReLU does apart from the second attention vector.

    Raises:
        SpecError: If an argument is not one of those above.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | Tensor | str = "mean",
        bias: bool = True,
        share_weights: bool = False,
        residual: bool = False,
        *,
        attention: Attention = "gate",
        gate_slope: float = 0.0,
    ) -> None:
        super().__init__()
        if attention not in ("gate", "gat"):
            raise SpecError(unknown("attention of GATEConv", attention, ("gate", "gat")))
        source_in, target_in = pair_of_widths(in_channels)
        demand_whole("out_channels", out_channels)
        demand_whole("heads", heads)
        if edge_dim is not None:
            demand_whole("edge_dim", edge_dim)
        demand_number("dropout", dropout, 0.0, 1.0)
        demand_number("negative_slope", negative_slope, 0.0, math.inf)
        demand_number("gate_slope", gate_slope, 0.0, math.inf)
        demand_fill_value(fill_value, edge_dim)
        flags = {
            "concat": concat,
            "add_self_loops": add_self_loops,
            "bias": bias,
            "share_weights": share_weights,
            "residual": residual,
        }
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                raise SpecError(f"GATEConv: {name}={flag!r}; it must be True or False")
        if share_weights and source_in != target_in:
            raise SpecError(
                f"GATEConv: share_weights=True needs equal source and target widths, not "
                f"{source_in} and {target_in}; use share_weights=False"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.add_self_loops = add_self_loops
        self.edge_dim = edge_dim
        self.fill_value = fill_value
        self.share_weights = share_weights
        self.residual = residual
        self.attention = attention
        self.gate_slope = gate_slope

        width = heads * out_channels
        total = width if concat else out_channels

        self.lin_value = nn.Linear(source_in, width, bias)
        # DEVIATION: the released GATE also creates an unused second source matrix; it never gets
        # a gradient, so it is left out here and from the parameter count.
        separate_source = attention == "gate" and not share_weights
        self.lin_source = nn.Linear(source_in, width, bias) if separate_source else None
        self.lin_target = None if share_weights else nn.Linear(target_in, width, bias)
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, width, bias=False)
        self.res = nn.Linear(target_in, total, bias=False) if residual else None
        if attention == "gate":
            self.att_neighbour = nn.Parameter(torch.empty(heads, out_channels))
            self.att_self = nn.Parameter(torch.empty(heads, out_channels))
        else:
            self.att = nn.Parameter(torch.empty(heads, out_channels))
        self.bias = nn.Parameter(torch.empty(total)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values, from torch's global generator as PyG layers do.

        Matrices: Glorot uniform. Attention: zero for "gate", so that alpha starts uniform;
        Xavier normal, standard deviation 1 / sqrt(C), for "gat" (both as in the released code).
        """
        for linear in (self.lin_value, self.lin_source, self.lin_target, self.lin_edge, self.res):
            if linear is not None:
                linear.reset_parameters()
                nn.init.xavier_uniform_(linear.weight)
        if self.attention == "gate":
            nn.init.zeros_(self.att_neighbour)
            nn.init.zeros_(self.att_self)
        else:
            nn.init.normal_(self.att, std=self.out_channels**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, AttentionWeights]:
        """Runs the layer.

        Args:
            x: Node features [N, F], or a pair of source [S, F] and target [T, F] features.
            edge_index: [2, E] int64, source then target.
            edge_attr: Edge features [E, D], or [E] when D = 1.
            return_attention_weights: If true, the attention comes back too.

        Returns:
            Node features [T, O]; with `return_attention_weights`, the pair of these and the
            `AttentionWeights`, whose edges are the given ones in order and then node i's own
            loop at E + i.

        Raises:
            MethodError: If a tensor is of another kind, dtype, device or width than the layer
                takes, or an edge names no node.
        """
        x_SF, x_TF = pair_of_features(x)
        if isinstance(edge_index, EdgeIndex):
            edge_index = edge_index.as_tensor()
        self._check(x_SF, x_TF, edge_index, edge_attr)
        heads_shape = (-1, self.heads, self.out_channels)
        value_SHC = self.lin_value(x_SF).view(heads_shape)
        source_SHC = (
            value_SHC if self.lin_source is None else self.lin_source(x_SF).view(heads_shape)
        )
        if self.lin_target is not None:
            target_THC = self.lin_target(x_TF).view(heads_shape)
        elif x_TF is x_SF:
            target_THC = value_SHC
        else:
            target_THC = self.lin_value(x_TF).view(heads_shape)

        num_targets = x_TF.size(0)
        if edge_attr is not None:  # torch operations take these edges before the kernels check them
            edge_index = checked_edges(edge_index, x_SF.size(0), num_targets)
        edges = self._edges(edge_index, x_SF.size(0), num_targets, isinstance(x, Tensor))
        src_M, dst_M = edges.index_2M[0], edges.index_2M[1]
        if self.lin_edge is None or edge_attr is None:
            slope, att_neighbour_HC, att_self_HC = self._attention()
            e_MH = edge_scores(
                source_SHC,
                target_THC,
                att_neighbour_HC,
                att_self_HC,
                src_M,
                dst_M,
                edges.kind_M,
                slope,
            )
        else:
            e_MH = self._edge_feature_scores(source_SHC, target_THC, edges, edge_attr)
        alpha_MH = edge_softmax(e_MH, dst_M, num_targets)
        kept_MH = nn.functional.dropout(alpha_MH, self.dropout, self.training)
        out_THC = aggregate(value_SHC, kept_MH, src_M, dst_M, num_targets)

        out_TO = out_THC.flatten(1) if self.concat else out_THC.mean(dim=1)
        if self.res is not None:
            out_TO = out_TO + self.res(x_TF)
        if self.bias is not None:
            out_TO = out_TO + self.bias
        if return_attention_weights:
            return out_TO, AttentionWeights(edges.index_2M, alpha_MH)
        return out_TO

    def _attention(self) -> tuple[float, Tensor, Tensor]:
        if self.attention == "gate":
            return self.gate_slope, self.att_neighbour, self.att_self
        return self.negative_slope, self.att, self.att

    def _edges(
        self, edge_index_2E: Tensor, num_sources: int, num_targets: int, one_node_set: bool
    ) -> _Edges:
        """Given edges, then own loops: shapes depend on no value, so the layer compiles whole."""
        if self.add_self_loops:
            num_loops = min(num_sources, num_targets)
            loop_E = edge_index_2E[0] == edge_index_2E[1]
            own_L = torch.arange(num_loops, device=edge_index_2E.device)
            index_2M = torch.cat([edge_index_2E, own_L.expand(2, num_loops)], dim=1)
            given_E = torch.where(loop_E, DROPPED, NEIGHBOUR).to(torch.uint8)
            kind_M = torch.cat([given_E, given_E.new_full((num_loops,), SELF)])
            return _Edges(index_2M, kind_M, num_loops)
        if one_node_set:
            loop_E = edge_index_2E[0] == edge_index_2E[1]
            kind_E = torch.where(loop_E, SELF, NEIGHBOUR).to(torch.uint8)
        else:
            kind_E = edge_index_2E.new_full((edge_index_2E.size(1),), NEIGHBOUR, dtype=torch.uint8)
        return _Edges(edge_index_2E, kind_E, 0)

    def _edge_feature_scores(
        self, source_SHC: Tensor, target_THC: Tensor, edges: _Edges, edge_attr: Tensor
    ) -> Tensor:
        """Scores with edge features; unlike the kernel this holds [M, H, C] in memory."""
        edge_attr_ED = edge_attr.view(-1, 1) if edge_attr.dim() == 1 else edge_attr
        edge_attr_MD = edge_attr_ED
        if self.add_self_loops:
            edge_attr_MD = torch.cat([edge_attr_ED, self._loop_features(edge_attr_ED, edges)])
        feature_MHC = cast(nn.Module, self.lin_edge)(edge_attr_MD)
        feature_MHC = feature_MHC.view(-1, self.heads, self.out_channels)
        src_M, dst_M = edges.index_2M[0], edges.index_2M[1]
        slope, att_neighbour_HC, att_self_HC = self._attention()
        z_MHC = source_SHC[src_M] + target_THC[dst_M] + feature_MHC
        z_MHC = nn.functional.leaky_relu(z_MHC, slope)
        e_MH = torch.einsum("mhc,hc->mh", z_MHC, att_neighbour_HC)
        if self.attention == "gate":
            self_MH = torch.einsum("mhc,hc->mh", z_MHC, att_self_HC)
            e_MH = torch.where((edges.kind_M == SELF).unsqueeze(1), self_MH, e_MH)
        return e_MH.masked_fill((edges.kind_M == DROPPED).unsqueeze(1), float("-inf"))

    def _loop_features(self, edge_attr_ED: Tensor, edges: _Edges) -> Tensor:
        num_given, num_features = edge_attr_ED.shape
        num_loops = edges.num_loops
        if isinstance(self.fill_value, str):
            # Dropped loops, and targets that get no own loop, go to a bin that is cut off.
            dst_E = edges.index_2M[1, :num_given]
            unused_E = (edges.kind_M[:num_given] == DROPPED) | (dst_E >= num_loops)
            bin_E = torch.where(unused_E, num_loops, dst_E)
            # A node without other edges keeps 0; any value would do, its own loop weighs 1 alone.
            features_BD = edge_attr_ED.new_zeros(num_loops + 1, num_features)
            bin_ED = bin_E.unsqueeze(1).expand_as(edge_attr_ED)
            features_BD = features_BD.scatter_reduce(
                0, bin_ED, edge_attr_ED, REDUCTIONS[self.fill_value], include_self=False
            )
            return features_BD[:num_loops]
        if isinstance(self.fill_value, Tensor):
            return self.fill_value.to(edge_attr_ED).view(1, -1).expand(num_loops, num_features)
        return edge_attr_ED.new_full((num_loops, num_features), self.fill_value)

    def _check(
        self, x_SF: Tensor, x_TF: Tensor, edge_index: Tensor, edge_attr: Tensor | None
    ) -> None:
        weight = self.lin_value.weight
        expected = self.lin_value.in_features, (self.lin_target or self.lin_value).in_features
        for side, x_NF, width in zip(("source", "target"), (x_SF, x_TF), expected, strict=True):
            if x_NF.dim() != 2 or x_NF.size(1) != width:
                raise MethodError(
                    f"GATEConv: {side} features have shape {list(x_NF.shape)}; the layer was made "
                    f"for [nodes, {width}]"
                )
            demand_alike(f"{side} features", x_NF, weight)
        demand_edges(edge_index)
        if edge_index.device != weight.device:
            raise MethodError(
                f"GATEConv: edge_index is on {edge_index.device}, the layer on {weight.device}; "
                f"move one with .to()"
            )
        if edge_attr is None:
            return
        if not isinstance(edge_attr, Tensor):
            raise MethodError(
                f"GATEConv: edge_attr is a {type(edge_attr).__name__}; it must be a tensor or None"
            )
        width = 1 if edge_attr.dim() == 1 else edge_attr.size(-1) if edge_attr.dim() == 2 else -1
        if self.edge_dim != width or edge_attr.size(0) != edge_index.size(1):
            raise MethodError(
                f"GATEConv: edge_attr has shape {list(edge_attr.shape)}; with "
                f"edge_dim={self.edge_dim} it must be "
                + ("None" if self.edge_dim is None else f"[{edge_index.size(1)}, {self.edge_dim}]")
            )
        demand_alike("edge_attr", edge_attr, weight)

    # ---- What message passing offers and a fused layer cannot -----------------------------------

    @property
    def explain(self) -> bool | None:
        """Never True: PyG's explainers read messages."""
        return None

    @explain.setter
    def explain(self, explain: bool | None) -> None:
        if explain:
            _refuse()

    def propagate(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        _refuse()

    def edge_updater(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        _refuse()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, heads={self.heads}, "
            f"attention={self.attention!r}, share_weights={self.share_weights})"
        )


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise MethodError(
        "GATEConv has no messages to look at: its kernels compute each where it is used; take the "
        "weights from return_attention_weights=True, or GATv2Conv for PyG's explainers and hooks"
    )


for _name in vars(MessagePassing):
    if _name.startswith("register_"):  # the hooks of propagate, message, aggregate, edge_update
        setattr(GATEConv, _name, _refuse)
