"""The edge operators in torch operations: every device and dtype, and the oracle of the fast ones.

Edges are taken in blocks, so that no tensor of shape [E, H, C] is held whole. Half precision is
accumulated in float32, and sums over the edges of a hub in float64. Operands are those that
`edge_checks` lets through. On CUDA the sums repeat bit for bit only under
``torch.use_deterministic_algorithms``.

Shape suffixes: S source nodes, T target nodes, E edges, H heads, C channels of a head.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

NEIGHBOUR = 0
SELF = 1
DROPPED = 2

# Elements of the largest [edges, H, C] block: 64 MiB in float32.
_BLOCK_ELEMENTS = 2**24

HUB = 64
"""Edges of a node up to which a plain sum in float32 is accurate to 1e-6 of its absolute terms."""


def _wide(dtype: torch.dtype, *sums: tuple[Tensor, int]) -> torch.dtype:
    """The dtype to accumulate in; each of `sums` is (index, number of nodes) of a sum over edges.

    Half precision loses too much over many edges, and single precision where a node has very many.
    """
    if dtype is torch.float64:
        return dtype
    many = any(
        index.numel() > HUB and int(index.bincount(minlength=nodes).max()) > HUB
        for index, nodes in sums
    )
    return torch.float64 if many else torch.float32


def _blocks(num_edges: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(1, width))
    for start in range(0, num_edges, step):
        yield slice(start, min(start + step, num_edges))


def edges(src: Tensor, dst: Tensor, num_sources: int, num_targets: int) -> Tensor:
    return torch.stack((src, dst))


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
    E, (_, H, C) = src.shape[0], s.shape
    wide = _wide(s.dtype)
    att_2HC = torch.stack((att_neighbour, att_self)).to(wide)
    e_EH = s.new_empty(E, H)
    for k in _blocks(E, H * C):
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
    E, (_, H, C) = src.shape[0], s.shape
    wide = _wide(s.dtype, (src, s.shape[0]), (dst, t.shape[0]))
    att_2HC = torch.stack((att_neighbour, att_self)).to(wide)
    grad_s, grad_t = torch.zeros_like(s, dtype=wide), torch.zeros_like(t, dtype=wide)
    grad_att_2HC = torch.zeros_like(att_2HC)
    for k in _blocks(E, H * C):
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
    H = e.shape[1]
    e_EH = e.to(_wide(e.dtype, (dst, num_targets)))
    dst_EH = dst[:, None].expand(-1, H)
    peak_TH = e_EH.new_full((num_targets, H), -math.inf).scatter_reduce_(0, dst_EH, e_EH, "amax")
    # Without an edge that counts the peak is -inf, and -inf minus -inf would be NaN.
    peak_TH.masked_fill_(peak_TH == -math.inf, 0.0)
    p_EH = (e_EH - peak_TH.index_select(0, dst)).exp_()
    total_TH = e_EH.new_zeros(num_targets, H).index_add_(0, dst, p_EH)
    total_TH.masked_fill_(total_TH == 0, 1.0)
    return p_EH.div_(total_TH.index_select(0, dst)).to(e.dtype)


def edge_softmax_backward(
    grad_alpha: Tensor, alpha: Tensor, dst: Tensor, num_targets: int
) -> Tensor:
    wide = _wide(alpha.dtype, (dst, num_targets))
    alpha_EH, grad_EH = alpha.to(wide), grad_alpha.to(wide)
    dot_TH = alpha_EH.new_zeros(num_targets, alpha.shape[1]).index_add_(0, dst, alpha_EH * grad_EH)
    return (alpha_EH * (grad_EH - dot_TH.index_select(0, dst))).to(alpha.dtype)


def aggregate(x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    E, (_, H, C) = src.shape[0], x.shape
    wide = _wide(x.dtype, (dst, num_targets))
    out_THC = x.new_zeros(num_targets, H, C, dtype=wide)
    for k in _blocks(E, H * C):
        message = x.index_select(0, src[k]).to(wide) * alpha[k].to(wide)[:, :, None]
        out_THC.index_add_(0, dst[k], message)
    return out_THC.to(x.dtype)


def aggregate_backward(
    grad_out: Tensor, x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    E, (_, H, C) = src.shape[0], x.shape
    wide = _wide(x.dtype, (src, x.shape[0]))
    grad_x = torch.zeros_like(x, dtype=wide)
    grad_alpha = torch.empty_like(alpha)
    for k in _blocks(E, H * C):
        grad = grad_out.index_select(0, dst[k]).to(wide)
        message = x.index_select(0, src[k]).to(wide)
        grad_alpha[k] = (grad * message).sum(-1).to(x.dtype)
        grad_x.index_add_(0, src[k], grad.mul_(alpha[k].to(wide)[:, :, None]))
    return grad_x.to(x.dtype), grad_alpha
