"""The edge operators compiled by Numba: float32 and float64 on the CPU, one thread.

No tensor of shape [E, H, C] is made, forward or backward: each edge is computed where it is used.
Edges are visited in order, so results repeat bit for bit; sorted by target they are faster.
Tensors that are not contiguous are copied; other dtypes, and an installation without Numba, fall
back to the composite operators.

The kernels take addresses and offsets rather than arrays: half the compile time, no conversion of
tensors at a call, no wrap-around of negative indices in the inner loops. The functions below check
all shapes and indices before they hand an address over. In the kernels ``zero`` is a zero of the
working dtype, because a literal would promote float32 arithmetic to float64.

Shape suffixes: S source nodes, T target nodes, E edges, H heads, C channels of a head.
"""

# ruff: noqa: PLR0917
# mypy: disable-error-code=no-untyped-def

import ctypes
import functools
import math
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.errors import MethodError
from suites.gate import composite_kernels as composite
from suites.gate.composite_kernels import DROPPED, NEIGHBOUR

numba: Any = import_module("numba") if find_spec("numba") else None


def warm_up(dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> None:
    """Compiles the kernels now, so that processes forked later share them.

    Without a call, the kernels of a dtype are compiled at their first use (one to two seconds).
    Nothing is cached on disk. Does nothing where Numba is not installed.
    """
    if numba is not None:
        for dtype in dtypes:
            _compile(dtype)


# ---- Kernels ------------------------------------------------------------------------------------


def _outside(index, E, size):
    lowest = highest = 0
    for k in range(E):
        lowest = min(lowest, index[k])
        highest = max(highest, index[k])
    return lowest < 0 or (E > 0 and highest >= size)


def _scores(s, t, att_neighbour, att_self, src, dst, kind, e, E, H, C, slope, zero):
    for k in range(E):
        for h in range(H):
            if kind[k] >= DROPPED:
                e[k * H + h] = -math.inf
                continue
            att = att_neighbour if kind[k] == NEIGHBOUR else att_self
            u, v, w = (src[k] * H + h) * C, (dst[k] * H + h) * C, h * C
            total = zero
            for c in range(C):
                z = s[u + c] + t[v + c]
                total += att[w + c] * (z if z > zero else slope * z)
            e[k * H + h] = total
    return 0


def _scores_backward(
    g, s, t, att_neighbour, att_self, src, dst, kind, gs, gt, block, gatt, E, H, C, slope, zero
):
    for k in range(E):
        for h in range(H):
            if kind[k] >= DROPPED:
                continue
            att = att_neighbour if kind[k] == NEIGHBOUR else att_self
            u, v, w = (src[k] * H + h) * C, (dst[k] * H + h) * C, h * C
            b = (kind[k] * H + h) * C
            up = g[k * H + h]
            down = up * slope
            for c in range(C):
                z = s[u + c] + t[v + c]
                grad_phi = up if z > zero else down
                grad_z = grad_phi * att[w + c]
                gs[u + c] += grad_z
                gt[v + c] += grad_z
                block[b + c] += grad_phi * z
        # Sums of 64 edges in the working dtype, sums of those in float64: accurate for any number
        # of edges, and the inner loop converts nothing.
        if k % 64 == 63 or k == E - 1:
            for c in range(2 * H * C):
                gatt[c] += block[c]
                block[c] = zero
    return 0


def _softmax_shift(e, dst, peak, out, E, T, H, infinity):
    for i in range(T * H):
        peak[i] = -infinity
    for k in range(E):
        for h in range(H):
            v = dst[k] * H + h
            # Whether a NaN wins does not matter: its own weight is NaN, and so is their sum.
            peak[v] = max(peak[v], e[k * H + h])
    for k in range(E):
        for h in range(H):
            score = e[k * H + h]
            # -inf stays -inf even where the peak is -inf too: exp makes it 0, not NaN.
            out[k * H + h] = score if score == -infinity else score - peak[dst[k] * H + h]
    return 0


def _sum_by_target(p, dst, wide, out, E, T, H):
    # The sum of a run of edges into one target stays in a register: a trip through memory at
    # every edge takes twice the time.
    for i in range(T * H):
        wide[i] = 0.0
    for h in range(H):
        target, total = -1, 0.0
        for k in range(E):
            if dst[k] != target:
                if target >= 0:
                    wide[target * H + h] = total
                target = dst[k]
                total = wide[target * H + h]
            total += p[k * H + h]
        if target >= 0:
            wide[target * H + h] = total
    for i in range(T * H):
        out[i] = wide[i]
    return 0


def _softmax_divide(alpha, dst, total, E, H, zero, one):
    for k in range(E):
        for h in range(H):
            divisor = total[dst[k] * H + h]
            alpha[k * H + h] /= divisor if divisor != zero else one
    return 0


def _softmax_backward(g, alpha, dst, dot, out, E, H):
    for k in range(E):
        for h in range(H):
            out[k * H + h] = alpha[k * H + h] * (g[k * H + h] - dot[dst[k] * H + h])
    return 0


def _aggregate(x, alpha, src, dst, out, E, H, C):
    for k in range(E):
        for h in range(H):
            u, v = (src[k] * H + h) * C, (dst[k] * H + h) * C
            weight = alpha[k * H + h]
            for c in range(C):
                out[v + c] += weight * x[u + c]
    return 0


def _aggregate_backward(g, x, alpha, src, dst, gx, galpha, E, H, C, zero):
    for k in range(E):
        for h in range(H):
            u, v = (src[k] * H + h) * C, (dst[k] * H + h) * C
            weight = alpha[k * H + h]
            total = zero
            for c in range(C):
                total += g[v + c] * x[u + c]
                gx[u + c] += weight * g[v + c]
            galpha[k * H + h] = total
    return 0


class Kernels(NamedTuple):
    """The compiled kernels of one dtype, to be called with addresses and numbers."""

    outside: Callable[..., int]
    scores: Callable[..., int]
    scores_backward: Callable[..., int]
    softmax_shift: Callable[..., int]
    sum_by_target: Callable[..., int]
    softmax_divide: Callable[..., int]
    softmax_backward: Callable[..., int]
    aggregate: Callable[..., int]
    aggregate_backward: Callable[..., int]


@functools.cache
def _compile(dtype: torch.dtype) -> Kernels:
    is_single = dtype is torch.float32
    real = numba.float32 if is_single else numba.float64
    pointees = {"f": real, "d": numba.float64, "i": numba.int64, "u": numba.uint8}
    types = {key: numba.types.CPointer(pointee) for key, pointee in pointees.items()}
    types |= {"n": numba.int64, "x": real}
    c_types: dict[str, Any] = dict.fromkeys(pointees, ctypes.c_void_p)
    c_types |= {"n": ctypes.c_int64, "x": ctypes.c_float if is_single else ctypes.c_double}
    # All of fastmath but nnan and ninf: a diverged training must show, and -inf means dropped.
    flags = {"reassoc", "contract", "nsz", "arcp"}

    def build(source: Callable[..., Any], arguments: str) -> Callable[..., int]:
        """Compiles a kernel; each letter is an argument.

        Addresses: f working dtype, d float64, i int64, u uint8. Numbers: n int64, x working dtype.
        """
        signature = numba.int64(*(types[letter] for letter in arguments))
        code = numba.cfunc(signature, fastmath=flags, error_model="numpy")(source)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *(c_types[letter] for letter in arguments))
        call = prototype(code.address)
        call.owner = code  # type: ignore[attr-defined] # the machine code lives as long as this
        return call

    return Kernels(
        outside=build(_outside, "inn"),
        scores=build(_scores, "ffffiiufnnnxx"),
        scores_backward=build(_scores_backward, "fffffiiufffdnnnxx"),
        softmax_shift=build(_softmax_shift, "fiffnnnx"),
        sum_by_target=build(_sum_by_target, "fidfnnn"),
        softmax_divide=build(_softmax_divide, "fifnnxx"),
        softmax_backward=build(_softmax_backward, "ffiffnn"),
        aggregate=build(_aggregate, "ffiifnnn"),
        aggregate_backward=build(_aggregate_backward, "fffiiffnnnx"),
    )


# ---- Operators ----------------------------------------------------------------------------------


def _suits(reals: tuple[Tensor, ...], indices: tuple[Tensor, ...]) -> bool:
    dtype = reals[0].dtype
    return (
        numba is not None
        and (dtype is torch.float32 or dtype is torch.float64)
        and all(real.dtype is dtype for real in reals)
        and all(index.dtype is torch.int64 for index in indices)
    )


def _check_index(kernels: Kernels, index_E: Tensor, size: int, what: str) -> None:
    if kernels.outside(index_E.data_ptr(), index_E.shape[0], size):
        raise MethodError(
            f"{what} runs from {int(index_E.min())} to {int(index_E.max())}, but there are {size} "
            f"nodes; give indices of 0 to {size - 1}, and the sizes they belong to"
        )


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
    if kind.dtype is not torch.uint8 or not _suits((s, t, att_neighbour, att_self), (src, dst)):
        return composite.edge_scores(s, t, att_neighbour, att_self, src, dst, kind, slope)
    n = composite.sizes_of_scores(s, t, att_neighbour, att_self, src, dst, kind)
    kernels = _compile(s.dtype)
    operands = [x.contiguous() for x in (s, t, att_neighbour, att_self, src, dst, kind)]
    _check_index(kernels, operands[4], n.S, "edge_scores: src")
    _check_index(kernels, operands[5], n.T, "edge_scores: dst")
    e_EH = s.new_empty(n.E, n.H)
    kernels.scores(*(x.data_ptr() for x in (*operands, e_EH)), n.E, n.H, n.C, slope, 0.0)
    return e_EH


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
    reals = (grad_e, s, t, att_neighbour, att_self)
    if kind.dtype is not torch.uint8 or not _suits(reals, (src, dst)):
        return composite.edge_scores_backward(*reals, src, dst, kind, slope)
    n = composite.sizes_of_scores(s, t, att_neighbour, att_self, src, dst, kind)
    composite.check_gradient("edge_scores_backward", grad_e, (n.E, n.H))
    kernels = _compile(s.dtype)
    operands = [x.contiguous() for x in (*reals, src, dst, kind)]
    _check_index(kernels, operands[5], n.S, "edge_scores_backward: src")
    _check_index(kernels, operands[6], n.T, "edge_scores_backward: dst")
    grad_s, grad_t = s.new_zeros(n.S, n.H, n.C), s.new_zeros(n.T, n.H, n.C)
    block_2HC = s.new_zeros(2, n.H, n.C)
    grad_att_2HC = s.new_zeros(2, n.H, n.C, dtype=torch.float64)
    results = (grad_s, grad_t, block_2HC, grad_att_2HC)
    kernels.scores_backward(
        *(x.data_ptr() for x in (*operands, *results)), n.E, n.H, n.C, slope, 0.0
    )
    return grad_s, grad_t, grad_att_2HC.to(s.dtype)


def edge_softmax(e: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    if not _suits((e,), (dst,)):
        return composite.edge_softmax(e, dst, num_targets)
    n = composite.sizes_of_softmax(e, dst, num_targets)
    kernels = _compile(e.dtype)
    e, dst = e.contiguous(), dst.contiguous()
    _check_index(kernels, dst, n.T, "edge_softmax: dst")
    alpha_EH, node_TH = e.new_empty(n.E, n.H), e.new_empty(n.T, n.H)
    wide_TH = e.new_empty(n.T, n.H, dtype=torch.float64)
    alpha, node, index = alpha_EH.data_ptr(), node_TH.data_ptr(), dst.data_ptr()
    kernels.softmax_shift(e.data_ptr(), index, node, alpha, n.E, n.T, n.H, math.inf)
    alpha_EH.exp_()  # LLVM has no vector exponential, torch has
    kernels.sum_by_target(alpha, index, wide_TH.data_ptr(), node, n.E, n.T, n.H)
    kernels.softmax_divide(alpha, index, node, n.E, n.H, 0.0, 1.0)
    return alpha_EH


def edge_softmax_backward(
    grad_alpha: Tensor, alpha: Tensor, dst: Tensor, num_targets: int
) -> Tensor:
    if not _suits((grad_alpha, alpha), (dst,)):
        return composite.edge_softmax_backward(grad_alpha, alpha, dst, num_targets)
    n = composite.sizes_of_softmax(alpha, dst, num_targets)
    composite.check_gradient("edge_softmax_backward", grad_alpha, (n.E, n.H))
    kernels = _compile(alpha.dtype)
    grad_alpha, alpha, dst = grad_alpha.contiguous(), alpha.contiguous(), dst.contiguous()
    _check_index(kernels, dst, n.T, "edge_softmax_backward: dst")
    grad_e, dot_TH = grad_alpha * alpha, alpha.new_empty(n.T, n.H)
    wide_TH = alpha.new_empty(n.T, n.H, dtype=torch.float64)
    out, dot, index = grad_e.data_ptr(), dot_TH.data_ptr(), dst.data_ptr()
    kernels.sum_by_target(out, index, wide_TH.data_ptr(), dot, n.E, n.T, n.H)
    kernels.softmax_backward(grad_alpha.data_ptr(), alpha.data_ptr(), index, dot, out, n.E, n.H)
    return grad_e


def aggregate(x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    if not _suits((x, alpha), (src, dst)):
        return composite.aggregate(x, alpha, src, dst, num_targets)
    n = composite.sizes_of_aggregate(x, alpha, src, dst, num_targets)
    kernels = _compile(x.dtype)
    operands = [y.contiguous() for y in (x, alpha, src, dst)]
    _check_index(kernels, operands[2], n.S, "aggregate: src")
    _check_index(kernels, operands[3], n.T, "aggregate: dst")
    out_THC = x.new_zeros(n.T, n.H, n.C)
    kernels.aggregate(*(y.data_ptr() for y in (*operands, out_THC)), n.E, n.H, n.C)
    return out_THC


def aggregate_backward(
    grad_out: Tensor, x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    if not _suits((grad_out, x, alpha), (src, dst)):
        return composite.aggregate_backward(grad_out, x, alpha, src, dst)
    n = composite.sizes_of_aggregate(x, alpha, src, dst, grad_out.shape[0])
    composite.check_gradient("aggregate_backward", grad_out, (n.T, n.H, n.C))
    kernels = _compile(x.dtype)
    operands = [y.contiguous() for y in (grad_out, x, alpha, src, dst)]
    _check_index(kernels, operands[3], n.S, "aggregate_backward: src")
    _check_index(kernels, operands[4], n.T, "aggregate_backward: dst")
    grad_x, grad_alpha = x.new_zeros(n.S, n.H, n.C), x.new_empty(n.E, n.H)
    kernels.aggregate_backward(
        *(y.data_ptr() for y in (*operands, grad_x, grad_alpha)), n.E, n.H, n.C, 0.0
    )
    return grad_x, grad_alpha
