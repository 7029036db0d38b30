"""The edge operators compiled by Numba: float32 and float64 on the CPU, one thread.

No tensor of shape [E, H, C] is made, forward or backward: each edge is computed where it is used.
Edges are visited in order, so results repeat bit for bit; sorted by target they are faster.
Tensors that are not contiguous are copied; other dtypes, and an installation without Numba, fall
back to the composite operators.

The kernels take addresses and offsets rather than arrays: half the compile time, no conversion of
tensors at a call, no wrap-around of negative indices in the inner loops. `edge_checks` has looked
at all shapes and indices before an address is handed over. A float32 sum over more than HUB edges
of one node runs in rows of HUB edges, which are added up in float64: accurate to 1e-6 at any
degree, and a graph without such nodes pays for counting degrees alone. In the kernels ``zero`` is
a zero of the working dtype, because a literal would promote float32 arithmetic to float64.

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

from suites.gate import composite_kernels as composite
from suites.gate.composite_kernels import DROPPED, HUB, NEIGHBOUR

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


def _spread(index, into, degree, first, E, N):
    """Rows to add edges into: the node itself, or one of the further rows of a hub.

    Returns how many further rows there are; without any, `into` is of no use.
    """
    for i in range(N):
        degree[i] = 0
    for k in range(E):
        i = index[k]
        into[k] = degree[i]  # how many edges of the node came before
        degree[i] += 1
    rows = N
    for i in range(N):
        first[i] = -1
        if degree[i] > HUB:
            first[i] = rows
            rows += (degree[i] + HUB - 1) // HUB
    if rows > N:
        for k in range(E):
            row = first[index[k]]
            into[k] = index[k] if row < 0 else row + into[k] // HUB
    return rows - N


def _gather(out, degree, first, wide, N, W):
    for i in range(N):
        if first[i] < 0:
            continue
        for c in range(W):
            wide[c] = 0.0
        for r in range(first[i], first[i] + (degree[i] + HUB - 1) // HUB):
            for c in range(W):
                wide[c] += out[r * W + c]
        for c in range(W):
            out[i * W + c] = wide[c]
    return 0


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
    g, s, t, att_neighbour, att_self, src, dst, kind, to_s, to_t, gs, gt, block, gatt,
    E, H, C, slope, zero,
):  # fmt: skip
    for k in range(E):
        for h in range(H):
            if kind[k] >= DROPPED:
                continue
            att = att_neighbour if kind[k] == NEIGHBOUR else att_self
            u, v, w = (src[k] * H + h) * C, (dst[k] * H + h) * C, h * C
            p, q = (to_s[k] * H + h) * C, (to_t[k] * H + h) * C
            b = (kind[k] * H + h) * C
            up = g[k * H + h]
            down = up * slope
            for c in range(C):
                z = s[u + c] + t[v + c]
                grad_phi = up if z > zero else down
                grad_z = grad_phi * att[w + c]
                gs[p + c] += grad_z
                gt[q + c] += grad_z
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


def _aggregate(x, alpha, src, to, out, E, H, C):
    for k in range(E):
        for h in range(H):
            u, v = (src[k] * H + h) * C, (to[k] * H + h) * C
            weight = alpha[k * H + h]
            for c in range(C):
                out[v + c] += weight * x[u + c]
    return 0


def _aggregate_backward(g, x, alpha, src, dst, to, gx, galpha, E, H, C, zero):
    for k in range(E):
        for h in range(H):
            u, v = (src[k] * H + h) * C, (dst[k] * H + h) * C
            p = (to[k] * H + h) * C
            weight = alpha[k * H + h]
            total = zero
            for c in range(C):
                total += g[v + c] * x[u + c]
                gx[p + c] += weight * g[v + c]
            galpha[k * H + h] = total
    return 0


class Kernels(NamedTuple):
    """The compiled kernels of one dtype, to be called with addresses and numbers."""

    spread: Callable[..., int]
    gather: Callable[..., int]
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
        spread=build(_spread, "iiiinn"),
        gather=build(_gather, "fiidnn"),
        scores=build(_scores, "ffffiiufnnnxx"),
        scores_backward=build(_scores_backward, "fffffiiuiifffdnnnxx"),
        softmax_shift=build(_softmax_shift, "fiffnnnx"),
        sum_by_target=build(_sum_by_target, "fidfnnn"),
        softmax_divide=build(_softmax_divide, "fifnnxx"),
        softmax_backward=build(_softmax_backward, "ffiffnn"),
        aggregate=build(_aggregate, "ffiifnnn"),
        aggregate_backward=build(_aggregate_backward, "fffiiiffnnnx"),
    )


# ---- Operators ----------------------------------------------------------------------------------


edges = composite.edges


class _Rows:
    """Where a sum over the edges of N nodes is collected: a row per node, further ones for hubs."""

    def __init__(self, kernels: Kernels, index_E: Tensor, nodes: int, like: Tensor) -> None:
        (E,), (H, C) = index_E.shape, like.shape[1:]
        self.kernels, self.nodes, self.width, self.extra = kernels, nodes, H * C, 0
        self.into_E = index_E
        if like.dtype is torch.float32 and E > HUB:
            into_E = torch.empty_like(index_E)
            self.degree_N, self.first_N = index_E.new_empty(nodes), index_E.new_empty(nodes)
            addresses = (x.data_ptr() for x in (index_E, into_E, self.degree_N, self.first_N))
            self.extra = kernels.spread(*addresses, E, nodes)
            if self.extra:
                self.into_E = into_E
        self.sums = like.new_zeros(nodes + self.extra, H, C)

    def total(self) -> Tensor:
        """The sums of the nodes, [N, H, C], once all edges are in."""
        if not self.extra:
            return self.sums
        wide = self.sums.new_empty(self.width, dtype=torch.float64)
        addresses = (x.data_ptr() for x in (self.sums, self.degree_N, self.first_N, wide))
        self.kernels.gather(*addresses, self.nodes, self.width)
        return self.sums[: self.nodes].clone()  # the rows of the hubs are let go


def _suits(dtype: torch.dtype) -> bool:
    return numba is not None and dtype in (torch.float32, torch.float64)


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
    if not _suits(s.dtype):
        return composite.edge_scores(s, t, att_neighbour, att_self, src, dst, kind, slope)
    E, (_, H, C) = src.shape[0], s.shape
    operands = [x.contiguous() for x in (s, t, att_neighbour, att_self, src, dst, kind)]
    e_EH = s.new_empty(E, H)
    _compile(s.dtype).scores(*(x.data_ptr() for x in (*operands, e_EH)), E, H, C, slope, 0.0)
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
    if not _suits(s.dtype):
        return composite.edge_scores_backward(*reals, src, dst, kind, slope)
    E, (_, H, C) = src.shape[0], s.shape
    kernels = _compile(s.dtype)
    operands = [x.contiguous() for x in (*reals, src, dst, kind)]
    of_s = _Rows(kernels, operands[5], s.shape[0], s)
    of_t = _Rows(kernels, operands[6], t.shape[0], t)
    block_2HC = s.new_zeros(2, H, C)
    grad_att_2HC = s.new_zeros(2, H, C, dtype=torch.float64)
    results = (of_s.into_E, of_t.into_E, of_s.sums, of_t.sums, block_2HC, grad_att_2HC)
    kernels.scores_backward(*(x.data_ptr() for x in (*operands, *results)), E, H, C, slope, 0.0)
    return of_s.total(), of_t.total(), grad_att_2HC.to(s.dtype)


def edge_softmax(e: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    if not _suits(e.dtype):
        return composite.edge_softmax(e, dst, num_targets)
    (E, H), T = e.shape, num_targets
    kernels = _compile(e.dtype)
    e, dst = e.contiguous(), dst.contiguous()
    alpha_EH, node_TH = e.new_empty(E, H), e.new_empty(T, H)
    wide_TH = e.new_empty(T, H, dtype=torch.float64)
    alpha, node, index = alpha_EH.data_ptr(), node_TH.data_ptr(), dst.data_ptr()
    kernels.softmax_shift(e.data_ptr(), index, node, alpha, E, T, H, math.inf)
    alpha_EH.exp_()  # LLVM has no vector exponential, torch has
    kernels.sum_by_target(alpha, index, wide_TH.data_ptr(), node, E, T, H)
    kernels.softmax_divide(alpha, index, node, E, H, 0.0, 1.0)
    return alpha_EH


def edge_softmax_backward(
    grad_alpha: Tensor, alpha: Tensor, dst: Tensor, num_targets: int
) -> Tensor:
    if not _suits(alpha.dtype):
        return composite.edge_softmax_backward(grad_alpha, alpha, dst, num_targets)
    (E, H), T = alpha.shape, num_targets
    kernels = _compile(alpha.dtype)
    grad_alpha, alpha, dst = grad_alpha.contiguous(), alpha.contiguous(), dst.contiguous()
    grad_e, dot_TH = grad_alpha * alpha, alpha.new_empty(T, H)
    wide_TH = alpha.new_empty(T, H, dtype=torch.float64)
    out, dot, index = grad_e.data_ptr(), dot_TH.data_ptr(), dst.data_ptr()
    kernels.sum_by_target(out, index, wide_TH.data_ptr(), dot, E, T, H)
    kernels.softmax_backward(grad_alpha.data_ptr(), alpha.data_ptr(), index, dot, out, E, H)
    return grad_e


def aggregate(x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, num_targets: int) -> Tensor:
    if not _suits(x.dtype):
        return composite.aggregate(x, alpha, src, dst, num_targets)
    E, (_, H, C) = src.shape[0], x.shape
    kernels = _compile(x.dtype)
    operands = [y.contiguous() for y in (x, alpha, src, dst)]
    out = _Rows(kernels, operands.pop(), num_targets, x)
    results = (out.into_E, out.sums)
    kernels.aggregate(*(y.data_ptr() for y in (*operands, *results)), E, H, C)
    return out.total()


def aggregate_backward(
    grad_out: Tensor, x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    if not _suits(x.dtype):
        return composite.aggregate_backward(grad_out, x, alpha, src, dst)
    E, (_, H, C) = src.shape[0], x.shape
    kernels = _compile(x.dtype)
    operands = [y.contiguous() for y in (grad_out, x, alpha, src, dst)]
    of_x = _Rows(kernels, operands[3], x.shape[0], x)
    grad_alpha = x.new_empty(E, H)
    results = (of_x.into_E, of_x.sums, grad_alpha)
    kernels.aggregate_backward(*(y.data_ptr() for y in (*operands, *results)), E, H, C, 0.0)
    return of_x.total(), grad_alpha
