"""Fused edge operators of attention message passing: scores, softmax over edges, aggregation.

Each is a dispatcher operator in the namespace ``gate``: torch operations for every device and
dtype, compiled loops for float32 and float64 on the CPU, a fake kernel for torch.compile, and a
gradient that is an operator of the same make; `edge_checks` stands in front of all. Nothing of
shape [E, H, C] is kept for the backward pass. Edges may come in any order. Second derivatives are
not defined.

Shape suffixes: S source nodes, T target nodes, E edges, H heads, C channels of a head.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from harness.errors import MethodError
from suites.gate import composite_kernels, edge_checks, numba_kernels
from suites.gate.composite_kernels import DROPPED, NEIGHBOUR, SELF
from suites.gate.numba_kernels import warm_up

__all__ = [
    "DROPPED",
    "NEIGHBOUR",
    "SELF",
    "aggregate",
    "checked_edges",
    "edge_scores",
    "edge_softmax",
    "warm_up",
]


def edge_scores(
    s_SHC: Tensor,
    t_THC: Tensor,
    att_neighbour_HC: Tensor,
    att_self_HC: Tensor,
    src_E: Tensor,
    dst_E: Tensor,
    kind_E: Tensor,
    slope: float,
) -> Tensor:
    """Scores every edge by the attention vector of its kind.

    ``e_kh = sum_c att[h, c] * phi(s[src_k, h, c] + t[dst_k, h, c])`` with ``phi(z) = z`` for
    ``z > 0`` and ``slope * z`` elsewhere. The non-linearity sits between the linear maps and the
    attention vector (GATv2); GATE has one vector for neighbours and one for the node itself.

    Args:
        s_SHC: Source terms; may be the same tensor as ``t_THC`` (shared weights).
        t_THC: Target terms.
        att_neighbour_HC: Attention vector of edges whose kind is ``NEIGHBOUR``.
        att_self_HC: Attention vector of edges whose kind is ``SELF``; may be the same tensor.
        src_E: Source of each edge, int64.
        dst_E: Target of each edge, int64.
        kind_E: ``NEIGHBOUR``, ``SELF`` or ``DROPPED``, uint8; larger values count as dropped.
        slope: Slope of the non-linearity below zero: 0.0 is ReLU, 0.2 is LeakyReLU(0.2).

    Returns:
        Scores of shape [E, H]; dropped edges have -inf and carry no gradient.

    Raises:
        MethodError: Shapes disagree, or an index names no node.

    Source: GATE (arXiv:2406.00418), the definition of e_uv.
    """
    s, t, att_neighbour, att_self = _one_dtype(s_SHC, t_THC, att_neighbour_HC, att_self_HC)
    e_EH: Tensor = _ops.edge_scores.default(
        s, t, att_neighbour, att_self, src_E, dst_E, kind_E, slope
    )
    return e_EH


def edge_softmax(e_EH: Tensor, dst_E: Tensor, num_targets: int) -> Tensor:
    """Normalises scores over the edges that enter each target.

    Args:
        e_EH: Scores; -inf drops an edge.
        dst_E: Target of each edge, int64.
        num_targets: Number of target nodes.

    Returns:
        Weights of shape [E, H], exactly 0 where the score is -inf. They sum to 1 over the edges
        of a target and head, unless all its edges are dropped: then they are 0. A NaN or +inf
        score makes all weights of its target and head NaN.

    Raises:
        MethodError: Shapes disagree, or an index names no node.
    """
    alpha_EH: Tensor = _ops.edge_softmax.default(e_EH, dst_E, num_targets)
    return alpha_EH


def aggregate(
    x_SHC: Tensor, alpha_EH: Tensor, src_E: Tensor, dst_E: Tensor, num_targets: int
) -> Tensor:
    """Sums the values of the sources of each target, weighted by the edges.

    ``out[v, h] = sum over edges k into v of alpha[k, h] * x[src_k, h]``.

    Args:
        x_SHC: Values of the sources.
        alpha_EH: Weight of each edge and head.
        src_E: Source of each edge, int64.
        dst_E: Target of each edge, int64.
        num_targets: Number of target nodes.

    Returns:
        Sums of shape [T, H, C]; zeros for a target that no edge enters.

    Raises:
        MethodError: Shapes disagree, or an index names no node.
    """
    x, alpha = _one_dtype(x_SHC, alpha_EH)
    out_THC: Tensor = _ops.aggregate.default(x, alpha, src_E, dst_E, num_targets)
    return out_THC


def checked_edges(index_2E: Tensor, num_sources: int, num_targets: int) -> Tensor:
    """The edges as they are, for torch operations that would take a wrong index or break on it.

    Args:
        index_2E: Source and target of each edge, int64.
        num_sources: Number of source nodes.
        num_targets: Number of target nodes.

    Returns:
        A copy of shape [2, E].

    Raises:
        MethodError: An index names no node.
    """
    copy_2E: Tensor = _ops.edges.default(index_2E[0], index_2E[1], num_sources, num_targets)
    return copy_2E


def _one_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Promotes operands that autocast has left in several precisions to the widest of them."""
    if len({tensor.dtype for tensor in tensors}) == 1:
        return tensors
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return tuple(tensor.to(dtype) for tensor in tensors)


# ---- Gradients ----------------------------------------------------------------------------------


def _save_scores(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.slope = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_scores(ctx: Any, grad_e: Tensor) -> tuple[Tensor | None, ...]:
    grad_s, grad_t, grad_att_2HC = _ops.edge_scores_backward.default(
        grad_e, *ctx.saved_tensors, ctx.slope
    )
    return grad_s, grad_t, grad_att_2HC[NEIGHBOUR], grad_att_2HC[SELF], None, None, None, None


def _save_softmax(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, dst, ctx.num_targets = inputs
    ctx.save_for_backward(output, dst)


def _differentiate_softmax(ctx: Any, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:
    grad_e = _ops.edge_softmax_backward.default(grad_alpha, *ctx.saved_tensors, ctx.num_targets)
    return grad_e, None, None


def _save_aggregate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _differentiate_aggregate(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_alpha = _ops.aggregate_backward.default(grad_out, *ctx.saved_tensors)
    return grad_x, grad_alpha, None, None, None


def _refuse(ctx: Any, *grads: Tensor) -> NoReturn:
    raise MethodError(
        "gate: the edge operators have no second derivatives; "
        "call autograd without create_graph, or use the functions of composite_kernels"
    )


# ---- Registration -------------------------------------------------------------------------------

_ops = torch.ops.gate
_library: Any = torch.library.Library("gate", "DEF")  # type: ignore[no-untyped-call]


def _register(
    schema: str,
    fake: Callable[..., Any],
    flops: Callable[..., int],
    differentiate: Callable[..., Any] = _refuse,
    save: Callable[..., None] | None = None,
) -> None:
    name = schema[: schema.index("(")]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    check = getattr(edge_checks, name)
    for kernels, key in ((composite_kernels, "CompositeExplicitAutograd"), (numba_kernels, "CPU")):
        _library.impl(name, edge_checks.guarded(check, getattr(kernels, name)), key)
    torch.library.register_fake(f"gate::{name}", fake, lib=_library)
    torch.library.register_autograd(
        f"gate::{name}", differentiate, setup_context=save, lib=_library
    )
    register_flop_formula(getattr(_ops, name))(flops)


_SCORES = (
    "Tensor s, Tensor t, Tensor att_neighbour, Tensor att_self, "
    "Tensor src, Tensor dst, Tensor kind, float slope"
)

_register(
    "edges(Tensor src, Tensor dst, SymInt num_sources, SymInt num_targets) -> Tensor",
    fake=lambda src, *_: src.new_empty(2, src.shape[0]),
    flops=lambda *_, **__: 0,
)
# Arithmetic of an edge, counted from shapes: an addition, a multiplication, a comparison or an
# exponential is one, a multiply-add two. ReLU counts like LeakyReLU, and a dropped edge like any.
_register(
    f"edge_scores({_SCORES}) -> Tensor",
    fake=lambda s, t, n, a, src, *_: s.new_empty(src.shape[0], s.shape[1]),
    flops=lambda s, t, n, a, src, *_, **__: 4 * src[0] * math.prod(s[1:]),
    differentiate=_differentiate_scores,
    save=_save_scores,
)
_register(
    f"edge_scores_backward(Tensor grad_e, {_SCORES}) -> (Tensor, Tensor, Tensor)",
    fake=lambda g, s, t, n, *_: (
        s.new_empty(s.shape),
        t.new_empty(t.shape),
        n.new_empty(2, *n.shape),
    ),
    flops=lambda g, s, t, n, a, src, *_, **__: 8 * src[0] * math.prod(s[1:]),
)
_register(
    "edge_softmax(Tensor e, Tensor dst, SymInt num_targets) -> Tensor",
    fake=lambda e, dst, num_targets: e.new_empty(e.shape),
    flops=lambda e, *_, **__: 5 * math.prod(e),
    differentiate=_differentiate_softmax,
    save=_save_softmax,
)
_register(
    "edge_softmax_backward(Tensor grad_alpha, Tensor alpha, Tensor dst, SymInt num_targets)"
    " -> Tensor",
    fake=lambda g, alpha, dst, num_targets: alpha.new_empty(alpha.shape),
    flops=lambda g, *_, **__: 4 * math.prod(g),
)
_register(
    "aggregate(Tensor x, Tensor alpha, Tensor src, Tensor dst, SymInt num_targets) -> Tensor",
    fake=lambda x, alpha, src, dst, num_targets: x.new_empty(num_targets, *x.shape[1:]),
    flops=lambda x, alpha, *_, **__: 2 * alpha[0] * math.prod(x[1:]),
    differentiate=_differentiate_aggregate,
    save=_save_aggregate,
)
_register(
    "aggregate_backward(Tensor grad_out, Tensor x, Tensor alpha, Tensor src, Tensor dst)"
    " -> (Tensor, Tensor)",
    fake=lambda g, x, alpha, src, dst: (x.new_empty(x.shape), alpha.new_empty(alpha.shape)),
    flops=lambda g, x, alpha, *_, **__: 4 * alpha[0] * math.prod(x[1:]),
)
