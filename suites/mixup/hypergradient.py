"""The gradient of the validation loss by alpha, through one unrolled step of W.

With W' a function of g = dL_tr(W, alpha)/dW and P = -dW'/dg,

    dL_val(W', alpha)/dalpha  =  direct  -  cross,
    direct = dL_val/dalpha at W',   cross = d2 L_tr(W, alpha)/(dalpha dW) u,   u = P dL_val(W')/dW'

P is that of the AdamW step and of the clipping before it (`adamw`), or something simpler that
stands for it, as in the released code.

`cross` is a derivative along one direction: by finite differences of dL_tr/dalpha, as the paper
does it (after DARTS, Liu et al. 2019, Eq. 8), or exactly, forward over reverse.

Forward differences need one more gradient where central ones need two: dL_tr/dalpha at W comes
with the gradient that the step to W' needs anyway.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suites.mixup.optimizer import mean_second_moment, members, step_slope
from suites.mixup.settings import Preconditioner

Tensors = Sequence[Tensor]
Objective = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""A loss as a function of W and alpha."""


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
    gradient: Callable[[float], Tensors],
    direction: Tensors,
    radius: float,
    here: Tensors | None = None,
) -> list[Tensor]:
    """The cross term by finite differences.

    Args:
        gradient: dL_tr/dalpha at W + step * direction, for a step.
        direction: u.
        radius: length of a shift.
        here: dL_tr/dalpha at W, for forward differences; central ones without it.
    """
    step = radius / max(norm(direction), 1e-12)
    if here is not None:
        ahead = gradient(step)
        return [(a - b) / step for a, b in zip(ahead, here, strict=True)]
    ahead, behind = list(gradient(step)), list(gradient(-step))
    return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


@torch.no_grad()
def precondition(
    kind: Preconditioner,
    optimizer: torch.optim.AdamW,
    steps: Tensors,
    values: Tensors,
    shrunk: float = 1.0,
) -> None:
    """Multiplies dL_val/dW', in place, with P.

    Args:
        kind: `adamw`: the derivative of the step, through both moments and the clipping. `sgd`: the
            learning rate. `adamw-tensor`: one over the root mean square of the second moment, one
            number a tensor and no learning rate, as the released code's library has it.
        optimizer: of W.
        steps: dL_tr/dW, clipped, with which the step to W' was made.
        values: dL_val/dW', in the optimiser's order.
        shrunk: what clipping multiplied the gradient with; 1 where it did nothing.
    """
    for (parameter, group), step, value in zip(members(optimizer), steps, values, strict=True):
        if kind == "sgd":
            value.mul_(group["lr"])
        elif kind == "adamw":
            value.mul_(step_slope(optimizer, parameter, group, step))
        else:
            mean = mean_second_moment(optimizer, parameter, group, step)
            value.div_(math.sqrt(mean) + group["eps"])
    if kind == "adamw" and shrunk < 1:  # a clipped gradient has no derivative along itself
        inner = sum(float((step * value).sum()) for step, value in zip(steps, values, strict=True))
        along = inner / max(norm(steps), 1e-300) ** 2
        for step, value in zip(steps, values, strict=True):
            value.sub_(step, alpha=along).mul_(shrunk)


def norm(values: Tensors) -> float:
    """Length of the tensors as one vector."""
    return float(torch.stack(torch._foreach_norm(list(values))).norm())
