"""The gradient of the validation loss by alpha, through one unrolled step of W.

With W' = W - P dL_tr(W, alpha)/dW for a diagonal P,

    dL_val(W', alpha)/dalpha  =  direct  -  cross,
    direct = dL_val/dalpha at W',   cross = d2 L_tr(W, alpha)/(dalpha dW) u,   u = P dL_val(W')/dW'

`cross` is a derivative along one direction: by finite differences of dL_tr/dalpha, as the paper
does it (after DARTS, Liu et al. 2019, Eq. 8), or exactly, forward over reverse.

Forward differences need one more gradient where central ones need two: dL_tr/dalpha at W comes
with the gradient that the step to W' needs anyway.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from harness.errors import MethodError
from suites.mixup.optimizer import mean_second_moment, members, second_moment

Tensors = Sequence[Tensor]
Objective = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""A loss as a function of W and alpha."""

Preconditioner = Literal["sgd", "adamw", "adamw-tensor"]
"""P: the learning rate; AdamW's, its moments held; one number per tensor, as released."""

RADIUS = 0.01
"""Norm of the shift of W in finite differences; from DARTS."""


def cross_exact(
    objective: Objective, weights: Tensors, alphas: Tensors, direction: Tensors
) -> tuple[Tensor, ...]:
    """The cross term, forward over reverse: one tensor for each of alpha's."""

    def gradient(*moved: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.func.grad(objective, argnums=1)(moved, tuple(alphas))
        return found

    cross: tuple[Tensor, ...] = torch.func.jvp(gradient, tuple(weights), tuple(direction))[1]
    return cross


def cross_by_differences(
    gradient: Callable[[float], Tensors], direction: Tensors, here: Tensors | None = None
) -> list[Tensor]:
    """The cross term by finite differences.

    Args:
        gradient: dL_tr/dalpha at W + step * direction, for a step.
        direction: u; a shift has length `RADIUS`.
        here: dL_tr/dalpha at W, for forward differences; central ones without it.
    """
    step = RADIUS / max(norm(direction), 1e-12)
    if here is not None:
        ahead = gradient(step)
        return [(a - b) / step for a, b in zip(ahead, here, strict=True)]
    ahead, behind = list(gradient(step)), list(gradient(-step))
    return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


@torch.no_grad()
def precondition(
    kind: Preconditioner, optimizer: torch.optim.AdamW, steps: Tensors, values: Tensors
) -> None:
    """Multiplies dL_val/dW', in place, with P.

    Args:
        kind: `sgd`: the learning rate. `adamw`: that over the root of the second moment, element
            by element. `adamw-tensor`: one over the root mean square of the moment, one number a
            tensor and no learning rate, as the released code's library has it.
        optimizer: of W.
        steps: dL_tr/dW, with which the step to W' was made.
        values: dL_val/dW', in the optimiser's order.
    """
    if kind not in get_args(Preconditioner):
        raise MethodError(
            f"preconditioner {kind!r} does not exist; choose from {get_args(Preconditioner)}"
        )
    for (parameter, group), step, value in zip(members(optimizer), steps, values, strict=True):
        if kind == "sgd":
            value.mul_(group["lr"])
        elif kind == "adamw":
            moment = second_moment(optimizer, parameter, group, step)
            value.div_(moment.sqrt_().add_(group["eps"])).mul_(group["lr"])
        else:
            mean = mean_second_moment(optimizer, parameter, group, step)
            value.div_(math.sqrt(mean) + group["eps"])


def norm(values: Tensors) -> float:
    """Length of the tensors as one vector."""
    return float(torch.stack(torch._foreach_norm(list(values))).norm())
