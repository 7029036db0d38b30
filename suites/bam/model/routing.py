"""Routers: which experts a token goes to, how evenly, and how tokens get there and back.

Shape suffixes: N tokens (batch and sequence together), D features, E experts, K experts chosen for
a token, R = N * K rows, a token being a row for each of its experts.
"""

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Router(nn.Linear):
    """Logits of the experts, without bias; a class of its own for its own initial scale."""

    def __init__(self, hidden_size: int, num_experts: int) -> None:
        super().__init__(hidden_size, num_experts, bias=False)


class Routing(NamedTuple):
    """What a router decided."""

    logits_NE: Tensor
    probability_NE: Tensor
    """Softmax over all experts, float32."""
    gate_NK: Tensor
    """Weight of each chosen expert's output."""
    expert_NK: Tensor
    """Index of each chosen expert, the best first."""


def route(logits_NE: Tensor, top_k: int, renormalise: bool) -> Routing:
    """Chooses the `top_k` best experts of each token.

    The gates are the probabilities under a softmax over all experts, so that a token with one
    expert still sends a gradient to the router; with `renormalise` they are scaled to sum 1.
    Source: BAM, section 3.3; BTX, section 3.2, renormalises.
    """
    probability_NE = logits_NE.float().softmax(dim=-1)
    gate_NK, expert_NK = probability_NE.topk(top_k, dim=-1)
    if renormalise:
        gate_NK = gate_NK / gate_NK.sum(dim=-1, keepdim=True)
    return Routing(logits_NE, probability_NE, gate_NK, expert_NK)


def token_mean(x: Tensor, weight_N: Tensor | None = None) -> Tensor:
    """Mean over the tokens, the first dimension; `weight_N` weighs them, 0 leaves padding out."""
    if weight_N is None:
        return x.mean(dim=0)
    weight_N = weight_N.to(x.dtype)
    mean: Tensor = torch.tensordot(weight_N, x, dims=1) / weight_N.sum()
    return mean


def load(routing: Routing, weight_N: Tensor | None = None) -> Tensor:
    """Share of the tokens that is sent to each expert, [E]; sums to K."""
    sent_NE = torch.zeros_like(routing.probability_NE).scatter_(1, routing.expert_NK, 1.0)
    return token_mean(sent_NE, weight_N)


def load_balancing_loss(routing: Routing, weight_N: Tensor | None = None) -> Tensor:
    """E * sum_i f_i P_i, with f_i the share of tokens sent to expert i, P_i its mean probability.

    K when balanced, at most E. The gradient flows through P alone. Source: BAM, Eq. 2.
    """
    probability_E = token_mean(routing.probability_NE, weight_N)
    return torch.dot(load(routing, weight_N), probability_E) * probability_E.numel()


def z_loss(routing: Routing, weight_N: Tensor | None = None) -> Tensor:
    """Mean over the tokens of the squared logsumexp of the logits. Source: BAM, Eq. 2."""
    square_N = routing.logits_NE.float().logsumexp(dim=-1).square()
    return token_mean(square_N, weight_N)


def entropy(gate_NE: Tensor, weight_N: Tensor | None = None) -> Tensor:
    """Mean over the tokens of the entropy of the gates, nats; log E when they are equal."""
    return token_mean(torch.special.entr(gate_NE).sum(dim=-1), weight_N)


class Dispatch:
    """Sorts tokens into one block for each expert, and puts the results back.

    Forward and backward are permutations of rows: no atomic additions, so results are the same bit
    for bit on every run.
    """

    def __init__(self, expert_NK: Tensor, num_experts: int) -> None:
        self.top_k = expert_NK.size(1)
        sorted_R, self.order_R = expert_NK.flatten().sort(stable=True)
        self.inverse_R = self.order_R.argsort()
        expert_E = torch.arange(num_experts, device=sorted_R.device)
        self.end_E = torch.searchsorted(sorted_R, expert_E, right=True, out_int32=True)
        """Row at which the block of each expert ends, int32."""

    def sizes(self) -> list[int]:
        """Rows of each expert's block."""
        ends: list[int] = self.end_E.tolist()
        return [end - start for start, end in itertools.pairwise([0, *ends])]

    def scatter(self, x_ND: Tensor) -> Tensor:
        """Rows [R, D], those of expert 0 first."""
        x_RD = x_ND if self.top_k == 1 else x_ND.repeat_interleave(self.top_k, dim=0)
        return _permuted(x_RD, self.order_R, self.inverse_R)

    def gather(self, y_RD: Tensor, gate_NK: Tensor) -> Tensor:
        """Sum of the rows of each token, weighted by its gates, [N, D]."""
        y_RD = _permuted(y_RD, self.inverse_R, self.order_R)
        y_RD = y_RD * gate_NK.reshape(-1, 1).to(y_RD.dtype)
        return y_RD if self.top_k == 1 else y_RD.view(*gate_NK.shape, -1).sum(dim=1)


def _permuted(x_RD: Tensor, index_R: Tensor, inverse_R: Tensor) -> Tensor:
    rows: Tensor = _Permute.apply(x_RD, index_R, inverse_R)  # type: ignore[no-untyped-call]
    return rows


class _Permute(torch.autograd.Function):
    """Permutes rows. The backward of plain indexing adds rows up one by one; this gathers."""

    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, index_R: Tensor, inverse_R: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_R)
        return x_RD.index_select(0, index_R)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (inverse_R,) = ctx.saved_tensors
        return grads[0].index_select(0, inverse_R), None, None
