"""Feed-forward experts: SwiGLU networks of which each token visits the best few.

Shape suffixes: B sequences, T tokens, N = B * T, D features, F hidden width, E experts, R rows
sorted by expert.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suites.bam.model.configuration import BamConfig
from suites.bam.model.routing import Dispatch, Router, Routing, route

Activate = Callable[[Tensor], Tensor]

ACTIVATIONS: Mapping[str, Activate] = {
    "silu": F.silu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


class FeedForward(nn.Module):
    """`num_ffn_experts` SwiGLU networks in stacked tensors; with one expert, a dense network.

    out = sum over the top-k experts i of  p_i(h) down_i (silu(gate_i h) * up_i h),
    p = softmax over all experts. Source: BAM, section 3.3. With a shared expert, which is not in
    the paper, the output is w shared(h) + (1 - w) out, w the configuration's weight.
    """

    def __init__(self, config: BamConfig) -> None:
        super().__init__()
        self.top_k = config.ffn_top_k
        self.renormalise = config.norm_topk_prob
        self.activation = ACTIVATIONS[config.hidden_act]
        experts, width, features = (
            config.num_ffn_experts,
            config.intermediate_size,
            config.hidden_size,
        )
        self.gate = nn.Parameter(torch.empty(experts, width, features))
        self.up = nn.Parameter(torch.empty(experts, width, features))
        self.down = nn.Parameter(torch.empty(experts, features, width))
        self.router = Router(features, experts) if experts > 1 else None
        self.shared_weight = config.shared_expert_weight
        self.shared = SharedExpert(config) if config.shared_expert_weight else None

    def forward(self, h_BTD: Tensor) -> tuple[Tensor, Routing | None]:
        """Output [B, T, D], and the routing where there is more than one expert."""
        if self.router is None:
            gate_FD, up_FD, down_DF = (stacked.squeeze(0) for stacked in self._matrices())
            return _swiglu(h_BTD, gate_FD, up_FD, down_DF, self.activation), None
        out_BTD, routing = self._routed(h_BTD, self.router)
        if self.shared is not None:
            out_BTD = torch.lerp(out_BTD, self.shared(h_BTD).to(out_BTD.dtype), self.shared_weight)
        return out_BTD, routing

    def _routed(self, h_BTD: Tensor, router: nn.Module) -> tuple[Tensor, Routing]:
        h_ND = h_BTD.flatten(0, 1)
        routing = route(router(h_ND), self.top_k, self.renormalise)
        dispatch = Dispatch(routing.expert_NK, len(self.gate))
        x_RD = dispatch.scatter(h_ND)
        if x_RD.is_cuda:
            y_RD = _grouped_swiglu(x_RD, *self._matrices(), dispatch.end_E, self.activation)
        else:  # a product for each expert is as fast on a CPU, and keeps its block in the cache
            blocks = zip(
                x_RD.split(dispatch.sizes()),  # type: ignore[no-untyped-call]
                *(stacked.unbind() for stacked in self._matrices()),
                strict=True,
            )
            y_RD = torch.cat([_swiglu(x, g, u, d, self.activation) for x, g, u, d in blocks])
        return dispatch.gather(y_RD, routing.gate_NK).view_as(h_BTD), routing

    def _matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.gate, self.up, self.down


class SharedExpert(nn.Module):
    """The expert that every token visits; shaped as a stack of one, like a dense network."""

    def __init__(self, config: BamConfig) -> None:
        super().__init__()
        width, features = config.intermediate_size, config.hidden_size
        self.activation = ACTIVATIONS[config.hidden_act]
        self.gate = nn.Parameter(torch.empty(1, width, features))
        self.up = nn.Parameter(torch.empty(1, width, features))
        self.down = nn.Parameter(torch.empty(1, features, width))

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Output [B, T, D]."""
        return _swiglu(h_BTD, self.gate[0], self.up[0], self.down[0], self.activation)


def _swiglu(
    x_RD: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor, activation: Activate
) -> Tensor:
    return F.linear(activation(F.linear(x_RD, gate_FD)) * F.linear(x_RD, up_FD), down_DF)


def _grouped_swiglu(
    x_RD: Tensor,
    gate_EFD: Tensor,
    up_EFD: Tensor,
    down_EDF: Tensor,
    end_E: Tensor,
    activation: Activate,
) -> Tensor:
    """Each block of rows through its expert, in three grouped products."""
    if torch.is_autocast_enabled("cuda"):  # grouped_mm does not know of autocast
        dtype = torch.get_autocast_dtype("cuda")
        x_RD, gate_EFD, up_EFD, down_EDF = (
            tensor.to(dtype) for tensor in (x_RD, gate_EFD, up_EFD, down_EDF)
        )
    gate_RF, up_RF = (
        F.grouped_mm(x_RD, weight_EFD.transpose(1, 2), offs=end_E)
        for weight_EFD in (gate_EFD, up_EFD)
    )
    return F.grouped_mm(activation(gate_RF) * up_RF, down_EDF.transpose(1, 2), offs=end_E)
