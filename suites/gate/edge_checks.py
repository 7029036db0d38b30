"""What the edge operators demand of their operands: one gate in front of every implementation.

Whatever passes here is safe to compute with: shapes agree, indices are int64 on the operands'
device and name nodes that exist. The implementations check nothing again.

Shape suffixes: S source nodes, T target nodes, E edges, H heads, C channels of a head.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.errors import MethodError


def check_index(what: str, index_E: Tensor, size: int) -> None:
    """Raises MethodError unless every entry is one of 0 to size - 1.

    On a GPU it waits for the values; while a CUDA graph is captured they cannot be looked at.
    """
    if index_E.numel() == 0 or (index_E.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    low, high = (int(bound) for bound in index_E.aminmax())
    if low < 0 or high >= size:
        named = f"0 to {size - 1}" if size else "none"
        raise MethodError(
            f"{what} runs from {low} to {high}, but there are {size} nodes; give indices of "
            f"{named}, and the sizes they belong to"
        )


def edges(src: Tensor, dst: Tensor, num_sources: int, num_targets: int) -> None:
    _whole("edges", torch.int64, src, dst)
    if src.dim() != 1 or dst.shape != src.shape:
        raise MethodError(
            f"edges: got src {list(src.shape)} and dst {list(dst.shape)}; needs twice [E]"
        )
    check_index("src", src, num_sources)
    check_index("dst", dst, num_targets)


def edge_scores(
    s: Tensor,
    t: Tensor,
    att_neighbour: Tensor,
    att_self: Tensor,
    src: Tensor,
    dst: Tensor,
    kind: Tensor,
    slope: float,
) -> None:
    shape_HC = s.shape[1:]
    if (
        s.dim() != 3
        or t.dim() != 3
        or t.shape[1:] != shape_HC
        or att_neighbour.shape != shape_HC
        or att_self.shape != shape_HC
        or src.dim() != 1
        or dst.shape != src.shape
        or kind.shape != src.shape
    ):
        raise MethodError(
            f"edge_scores: got s {list(s.shape)}, t {list(t.shape)}, attention vectors "
            f"{list(att_neighbour.shape)} and {list(att_self.shape)}, src, dst and kind "
            f"{[list(tensor.shape) for tensor in (src, dst, kind)]}; "
            "needs [S, H, C], [T, H, C], twice [H, C] and three times [E]"
        )
    _real("edge_scores", s, t, att_neighbour, att_self)
    _whole("edge_scores", torch.int64, src, dst)
    _whole("edge_scores", torch.uint8, kind)
    check_index("edge_scores: src", src, s.shape[0])
    check_index("edge_scores: dst", dst, t.shape[0])


def edge_scores_backward(grad_e: Tensor, s: Tensor, *rest: Any) -> None:
    edge_scores(s, *rest)
    _gradient("edge_scores_backward", grad_e, s, (rest[3].shape[0], s.shape[1]))


def edge_softmax(e: Tensor, dst: Tensor, num_targets: int) -> None:
    if e.dim() != 2 or dst.dim() != 1 or e.shape[0] != dst.shape[0] or num_targets < 0:
        raise MethodError(
            f"edge_softmax: got scores {list(e.shape)}, dst {list(dst.shape)} and "
            f"{num_targets} targets; needs [E, H], [E] and a number that is not negative"
        )
    _real("edge_softmax", e)
    _whole("edge_softmax", torch.int64, dst)
    check_index("edge_softmax: dst", dst, num_targets)


def edge_softmax_backward(grad_alpha: Tensor, alpha: Tensor, dst: Tensor, num_targets: int) -> None:
    edge_softmax(alpha, dst, num_targets)
    _gradient("edge_softmax_backward", grad_alpha, alpha, tuple(alpha.shape))


def aggregate(x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, num_targets: int) -> None:
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
    _real("aggregate", x, alpha)
    _whole("aggregate", torch.int64, src, dst)
    check_index("aggregate: src", src, x.shape[0])
    check_index("aggregate: dst", dst, num_targets)


def aggregate_backward(
    grad_out: Tensor, x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor
) -> None:
    targets = grad_out.shape[0] if grad_out.dim() else 0
    aggregate(x, alpha, src, dst, targets)
    _gradient("aggregate_backward", grad_out, x, (targets, *x.shape[1:]))


def guarded(check: Callable[..., None], operator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator behind its check; both take the same operands."""

    def run(*operands: Any) -> Any:
        check(*operands)
        return operator(*operands)

    return run


def _real(operator: str, *tensors: Tensor) -> None:
    first = tensors[0]
    for tensor in tensors:
        if not tensor.is_floating_point() or tensor.dtype != first.dtype:
            raise MethodError(
                f"{operator}: got {', '.join(str(t.dtype) for t in tensors)}; needs real numbers "
                f"of one dtype"
            )


def _whole(operator: str, dtype: torch.dtype, *tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.dtype != dtype:
            raise MethodError(f"{operator}: got indices of {tensor.dtype}; needs {dtype}")


def _gradient(operator: str, grad: Tensor, like: Tensor, shape: tuple[int, ...]) -> None:
    if grad.shape != shape or grad.dtype != like.dtype:
        raise MethodError(
            f"{operator}: got a gradient of shape {list(grad.shape)} and {grad.dtype}; "
            f"needs {list(shape)} and {like.dtype}"
        )
