"""The edge operators in torch operations: every device and dtype, and the oracle of the fast ones.

Edges are taken in blocks, so that no tensor of shape [E, H, C] is held whole. Half precision is
accumulated in float32. On CUDA the sums repeat bit for bit only under
``torch.use_deterministic_algorithms``.

Shape suffixes: S source nodes, T target nodes, E edges, H heads, C channels of a head.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import MethodError

NEIGHBOUR = 0
SELF = 1
DROPPED = 2

# Elements of the largest [edges, H, C] block: 64 MiB in float32.
_BLOCK_ELEMENTS = 2**24


class Sizes(NamedTuple):
    """The sizes that the operands of an operator agree on."""

    S: int
    T: int
    E: int
    H: int
    C: int


def sizes_of_scores(
    s: Tensor, t: Tensor, att_neighbour: Tensor, att_self: Tensor, *per_edge: Tensor
) -> Sizes:
    shape_HC = s.shape[1:]
    edges = per_edge[0].shape
    if (
        s.dim() != 3
        or t.dim() != 3
        or t.shape[1:] != shape_HC
        or att_neighbour.shape != shape_HC
        or att_self.shape != shape_HC
        or any(tensor.shape != edges for tensor in per_edge)
        or len(edges) != 1
    ):
        raise MethodError(
            f"edge_scores: got s {list(s.shape)}, t {list(t.shape)}, attention vectors "
            f"{list(att_neighbour.shape)} and {list(att_self.shape)}, src, dst and kind "
            f"{[list(tensor.shape) for tensor in per_edge]}; "
            "needs [S, H, C], [T, H, C], twice [H, C] and three times [E]"
        )
    return Sizes(s.shape[0], t.shape[0], edges[0], shape_HC[0], shape_HC[1])


def sizes_of_softmax(e: Tensor, dst: Tensor, num_targets: int) -> Sizes:
    if e.dim() != 2 or dst.dim() != 1 or e.shape[0] != dst.shape[0] or num_targets < 0:
        raise MethodError(
            f"edge_softmax: got scores {list(e.shape)}, dst {list(dst.shape)} and "
            f"{num_targets} targets; needs [E, H], [E] and a number that is not negative"
        )
    return Sizes(0, num_targets, e.shape[0], e.shape[1], 1)


def sizes_of_aggregate(
    x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, num_targets: int
) -> Sizes:
    if (
        x.dim() != 3
        or alpha.dim() != 2
        or x.shape[1] != alpha.shape[1]
        or src.shape != alpha.shape[:1]
        or dst.shape != src.shape
        or num_targets < 0
    ):
        raise MethodError(
            f"aggregate: got x {list(x.shape)}, alpha {list(alpha.shape)}, src and dst "
            f"{[list(src.shape), list(dst.shape)]} and {num_targets} targets; "
            "needs [S, H, C], [E, H], twice [E] and a number that is not negative"
        )
    return Sizes(x.shape[0], num_targets, alpha.shape[0], x.shape[1], x.shape[2])


def check_gradient(operator: str, grad: Tensor, shape: tuple[int, ...]) -> None:
    """Raises MethodError unless a gradient has the shape of the output it belongs to."""
    if grad.shape != shape:
        raise MethodError(
            f"{operator}: got a gradient of shape {list(grad.shape)}; needs {list(shape)}"
        )


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype to accumulate in: half precision loses too much over many edges."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _blocks(num_edges: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(1, width))
    for start in range(0, num_edges, step):
        yield slice(start, min(start + step, num_edges))


def edge_scores(
    s: Tensor,
    t: Tensor,
    att_neighbour: Tensor,
    att_self: Tensor,
    src: Tensor,
    dst: Tensor,
    kind: Tensor,
    slope: float,
) -> Tensor:
    n = sizes_of_scores(s, t, att_neighbour, att_self, src, dst, kind)
    wide = _wide(s.dtype)
    att_2HC = torch.stack((att_neighbour, att_self)).to(wide)
    e_EH = s.new_empty(n.E, n.H)
    for k in _blocks(n.E, n.H * n.C):
        z = s.index_select(0, src[k]).to(wide) + t.index_select(0, dst[k]).to(wide)
        phi = torch.where(z > 0, z, z * slope)
        e_EH[k] = (att_2HC[(kind[k] == SELF).long()] * phi).sum(-1).to(s.dtype)
    return e_EH.masked_fill_((kind >= DROPPED)[:, None], -math.inf)


def edge_scores_backward(
    grad_e: Tensor,
    s: Tensor,
    t: Tensor,
    att_neighbour: Tensor,
    att_self: Tensor,
    src: Tensor,
    dst: Tensor,
    kind: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    n = sizes_of_scores(s, t, att_neighbour, att_self, src, dst, kind)
    check_gradient("edge_scores_backward", grad_e, (n.E, n.H))
    wide = _wide(s.dtype)
    att_2HC = torch.stack((att_neighbour, att_self)).to(wide)
    grad_s, grad_t = torch.zeros_like(s, dtype=wide), torch.zeros_like(t, dtype=wide)
    grad_att_2HC = torch.zeros_like(att_2HC)
    for k in _blocks(n.E, n.H * n.C):
        z = s.index_select(0, src[k]).to(wide) + t.index_select(0, dst[k]).to(wide)
        grad = grad_e[k].to(wide)[:, :, None]
        grad_phi = torch.where(z > 0, grad, grad * slope)
        grad_att = grad_phi * z
        for which in (NEIGHBOUR, SELF):
            of_kind = (kind[k] == which)[:, None, None]
            grad_att_2HC[which] += torch.where(of_kind, grad_att, 0.0).sum(0)
        grad_z = grad_phi.mul_(att_2HC[(kind[k] == SELF).long()])
        grad_z.masked_fill_((kind[k] >= DROPPED)[:, None, None], 0.0)
        grad_s.index_add_(0, src[k], grad_z)
        grad_t.index_add_(0, dst[k], grad_z)
    return grad_s.to(s.dtype), grad_t.to(s.dtype), grad_att_2HC.to(s.dtype)


def edge_softmax(e: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    n = sizes_of_softmax(e, dst, num_targets)
    e_EH = e.to(_wide(e.dtype))
    dst_EH = dst.long()[:, None].expand(-1, n.H)
    peak_TH = e_EH.new_full((n.T, n.H), -math.inf).scatter_reduce_(0, dst_EH, e_EH, "amax")
    # Without an edge that counts the peak is -inf, and -inf minus -inf would be NaN.
    peak_TH.masked_fill_(peak_TH == -math.inf, 0.0)
    p_EH = (e_EH - peak_TH.index_select(0, dst)).exp_()
    total_TH = e_EH.new_zeros(n.T, n.H).index_add_(0, dst, p_EH)
    total_TH.masked_fill_(total_TH == 0, 1.0)
    return p_EH.div_(total_TH.index_select(0, dst)).to(e.dtype)


def edge_softmax_backward(
    grad_alpha: Tensor, alpha: Tensor, dst: Tensor, num_targets: int
) -> Tensor:
    n = sizes_of_softmax(alpha, dst, num_targets)
    check_gradient("edge_softmax_backward", grad_alpha, (n.E, n.H))
    wide = _wide(alpha.dtype)
    alpha_EH, grad_EH = alpha.to(wide), grad_alpha.to(wide)
    dot_TH = alpha_EH.new_zeros(n.T, n.H).index_add_(0, dst, alpha_EH * grad_EH)
    return (alpha_EH * (grad_EH - dot_TH.index_select(0, dst))).to(alpha.dtype)


def aggregate(x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    n = sizes_of_aggregate(x, alpha, src, dst, num_targets)
    wide = _wide(x.dtype)
    out_THC = x.new_zeros(n.T, n.H, n.C, dtype=wide)
    for k in _blocks(n.E, n.H * n.C):
        message = x.index_select(0, src[k]).to(wide) * alpha[k].to(wide)[:, :, None]
        out_THC.index_add_(0, dst[k], message)
    return out_THC.to(x.dtype)


def aggregate_backward(
    grad_out: Tensor, x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    n = sizes_of_aggregate(x, alpha, src, dst, grad_out.shape[0])
    check_gradient("aggregate_backward", grad_out, (n.T, n.H, n.C))
    wide = _wide(x.dtype)
    grad_x = torch.zeros_like(x, dtype=wide)
    grad_alpha = torch.empty_like(alpha)
    for k in _blocks(n.E, n.H * n.C):
        grad = grad_out.index_select(0, dst[k]).to(wide)
        message = x.index_select(0, src[k]).to(wide)
        grad_alpha[k] = (grad * message).sum(-1).to(x.dtype)
        grad_x.index_add_(0, src[k], grad.mul_(alpha[k].to(wide)[:, :, None]))
    return grad_x.to(x.dtype), grad_alpha
