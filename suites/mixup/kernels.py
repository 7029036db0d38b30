"""Mixing and AdamW in one sweep over memory each, for float32 on the CPU, compiled by Numba.

A bilevel step mixes four times, pulls gradients back four times and looks ahead once. Operator by
operator these together cost as much as a whole pass of a small encoder: they do nothing but read
and write. Results repeat bit for bit; one thread.

Shape suffixes: O output features, I input features.
"""

# ruff: noqa: PLR0917
# mypy: disable-error-code="untyped-decorator, call-arg"

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
_FAST = {"reassoc", "contract"}  # sums may be vectorised


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels take these: contiguous float32 on the CPU."""
    return all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors
    )


def mix(
    weight_OI: Tensor,
    pretrained_OI: Tensor,
    rows_O: Tensor,
    columns_I: Tensor,
    out_OI: Tensor,
    convex: bool,
) -> None:
    """Writes the mixed weight; see `suites.mixup.mixing`."""
    _mix(*_arrays(weight_OI, pretrained_OI, rows_O, columns_I, out_OI), convex)


def pull(
    weight_OI: Tensor,
    pretrained_OI: Tensor,
    rows_O: Tensor,
    columns_I: Tensor,
    gradient_OI: Tensor,
    convex: bool,
    weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of a, [O], and c, [I]; that of W is written over `gradient_OI` if wanted."""
    own_O, own_I = torch.empty_like(rows_O), torch.zeros_like(columns_I)
    arrays = _arrays(weight_OI, pretrained_OI, rows_O, columns_I, gradient_OI, own_O, own_I)
    _pull(*arrays, convex, weight)
    return own_O, own_I


def look_ahead(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    out: Tensor,
    *,
    betas: tuple[float, float],
    step: int,
    rate: float,
    decay: float,
    eps: float,
) -> None:
    """Writes into `out` where AdamW's update number `step` takes the parameter."""
    arrays = (a.reshape(-1) for a in _arrays(parameter, gradient, first, second, out))
    numbers = (
        betas[0],
        1 - betas[0],
        betas[1],
        1 - betas[1],
        rate / (1 - betas[0] ** step),
        1 / math.sqrt(1 - betas[1] ** step),
        1 - rate * decay,
        eps,
    )
    _look_ahead(*arrays, *map(np.float32, numbers))


def warm_up() -> None:
    """Compiles the kernels now, so that processes forked later share them."""
    square_OI, vector = torch.ones(2, 2), torch.ones(2)
    mix(square_OI, square_OI, vector, vector, square_OI.clone(), True)
    pull(square_OI, square_OI, vector, vector, square_OI.clone(), True, True)
    look_ahead(
        *(square_OI.clone() for _ in range(5)),
        betas=(0.9, 0.999),
        step=1,
        rate=0.0,
        decay=0.0,
        eps=1e-8,
    )


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    return tuple(t.detach().numpy() for t in tensors)


@njit(nogil=True, fastmath=_FAST)
def _mix(
    weight: Floats, pretrained: Floats, a: Floats, c: Floats, out: Floats, convex: bool
) -> None:
    one = np.float32(1)
    for i in range(weight.shape[0]):
        if convex:
            for j in range(weight.shape[1]):
                change = weight[i, j] - pretrained[i, j]
                out[i, j] = pretrained[i, j] + a[i] * c[j] * change
        else:
            for j in range(weight.shape[1]):
                rest = (one - a[i]) * (one - c[j])
                out[i, j] = a[i] * c[j] * weight[i, j] + rest * pretrained[i, j]


@njit(nogil=True, fastmath=_FAST)
def _pull(
    weight: Floats,
    pretrained: Floats,
    a: Floats,
    c: Floats,
    gradient: Floats,
    own_a: Floats,
    own_c: Floats,
    convex: bool,
    wanted: bool,
) -> None:
    one = np.float32(1)
    for i in range(weight.shape[0]):
        total = np.float32(0)
        if convex:  # the difference first: W is close to W0
            for j in range(weight.shape[1]):
                by_alpha = gradient[i, j] * (weight[i, j] - pretrained[i, j])
                total += by_alpha * c[j]
                own_c[j] += by_alpha * a[i]
        else:
            for j in range(weight.shape[1]):
                by_task = gradient[i, j] * weight[i, j]
                by_rest = gradient[i, j] * pretrained[i, j]
                total += by_task * c[j] - by_rest * (one - c[j])
                own_c[j] += by_task * a[i] - by_rest * (one - a[i])
        own_a[i] = total
        if wanted:
            for j in range(weight.shape[1]):
                gradient[i, j] *= a[i] * c[j]


@njit(nogil=True, fastmath=_FAST)
def _look_ahead(
    parameter: Floats,
    gradient: Floats,
    first: Floats,
    second: Floats,
    out: Floats,
    beta1: np.float32,
    rest1: np.float32,
    beta2: np.float32,
    rest2: np.float32,
    rate: np.float32,
    scale: np.float32,
    keep: np.float32,
    eps: np.float32,
) -> None:
    for i in range(parameter.size):
        mean = beta1 * first[i] + rest1 * gradient[i]
        square = beta2 * second[i] + rest2 * gradient[i] * gradient[i]
        out[i] = keep * parameter[i] - rate * mean / (np.sqrt(square) * scale + eps)
