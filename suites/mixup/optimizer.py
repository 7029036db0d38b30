"""AdamW and its parameter groups, the AdamW step looked ahead, and RecAdam."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.settings import AdamW
from suites.mixup import kernels
from suites.mixup.encoder import is_norm

Tensors = Sequence[Tensor]


def groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    exclude: Sequence[Tensor] = (),
) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: biases and norms are not decayed."""
    excluded = {id(parameter) for parameter in exclude}
    norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if is_norm(module)
        for own, _ in module.named_parameters()
    }
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in excluded:
            plain = name in norms or name.endswith("bias")
            (free if plain else decayed).append(parameter)
    return [
        {"params": members, "lr": learning_rate, "initial_lr": learning_rate, "weight_decay": decay}
        for members, decay in ((decayed, weight_decay), (free, 0.0))
        if members
    ]


def adamw(
    model: nn.Module, learning_rate: float, settings: AdamW, exclude: Sequence[Tensor] = ()
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters but those excluded; see `groups`."""
    return torch.optim.AdamW(
        groups(model, learning_rate, settings.weight_decay, exclude),
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group to its initial learning rate times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def members(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Every parameter with its group, in the optimiser's order."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield parameter, group


@torch.no_grad()
def look_ahead(optimizer: torch.optim.AdamW, gradients: Tensors, out: Tensors) -> None:
    """Writes into `out` where one step would take the parameters; changes nothing else.

    Args:
        optimizer: AdamW; its parameters, moments and step counts stay as they are.
        gradients: one a parameter, in the optimiser's order.
        out: buffers of the same shapes.
    """
    for (parameter, group), gradient, ahead in zip(members(optimizer), gradients, out, strict=True):
        first, second, step = _moments(optimizer, parameter)
        numbers: dict[str, Any] = {
            "betas": group["betas"],
            "step": step + 1,
            "rate": group["lr"],
            "decay": group["weight_decay"],
            "eps": group["eps"],
        }
        if kernels.usable(parameter, gradient, ahead):
            kernels.look_ahead(parameter, gradient, first, second, ahead, **numbers)
        else:
            _look_ahead(parameter, gradient, first, second, ahead, **numbers)


def _look_ahead(
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
    mean = torch.lerp(first, gradient, 1 - betas[0])
    size = torch.mul(gradient, gradient).mul_(1 - betas[1]).add_(second, alpha=betas[1])
    size.div_(1 - betas[1] ** step).sqrt_().add_(eps)
    torch.mul(parameter, 1 - rate * decay, out=out)
    out.addcdiv_(mean, size, value=-rate / (1 - betas[0] ** step))


def _moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> tuple[Tensor, Tensor, int]:
    """First and second moment and the steps done; zeros before the first."""
    slots = optimizer.state.get(parameter)
    if not slots:
        zeros = torch.zeros_like(parameter)
        return zeros, zeros, 0
    return slots["exp_avg"], slots["exp_avg_sq"], int(slots["step"])


def second_moment(
    optimizer: torch.optim.Optimizer, parameter: Tensor, group: dict[str, Any], gradient: Tensor
) -> Tensor:
    """Bias-corrected mean of squared gradients, as the step with this gradient would use it."""
    beta2 = group["betas"][1]
    _, second, step = _moments(optimizer, parameter)
    moment = (gradient * gradient).mul_(1 - beta2).add_(second, alpha=beta2)
    return moment.div_(1 - beta2 ** (step + 1))


def step_slope(
    optimizer: torch.optim.Optimizer, parameter: Tensor, group: dict[str, Any], gradient: Tensor
) -> Tensor:
    """-dW'/dg of the step with this gradient g, element by element.

    With W' = W (1 - r d) - r m / (s + eps), m and s^2 the bias-corrected moments of update t,

        -dW'/dg = r [ (1 - b1) / (1 - b1^t) / (s + eps) - m s' / (s + eps)^2 ]
        s' = (1 - b2) / (1 - b2^t) g / s

    Where a gradient was never anything but 0, s' is taken as 0: s has a kink there.
    """
    beta1, beta2 = group["betas"]
    first, _, step = _moments(optimizer, parameter)
    mean = torch.lerp(first, gradient, 1 - beta1).div_(1 - beta1 ** (step + 1))
    root = second_moment(optimizer, parameter, group, gradient).sqrt_()
    bend = gradient / root * ((1 - beta2) / (1 - beta2 ** (step + 1)))
    bend.masked_fill_(root == 0, 0.0)
    size = root.add_(group["eps"])
    slope = mean.mul_(bend).div_(size.square()).neg_()
    slope.add_(size.reciprocal(), alpha=(1 - beta1) / (1 - beta1 ** (step + 1)))
    return slope.mul_(group["lr"])


def mean_second_moment(
    optimizer: torch.optim.Optimizer, parameter: Tensor, group: dict[str, Any], gradient: Tensor
) -> float:
    """The mean of `second_moment`, without making it."""
    beta2 = group["betas"][1]
    _, second, step = _moments(optimizer, parameter)
    square = gradient.norm() ** 2 / gradient.numel()
    moment = beta2 * second.mean() + (1 - beta2) * square
    return float(moment / (1 - beta2 ** (step + 1)))


class RecAdam(torch.optim.Optimizer):
    """Adam whose step gives way, as training proceeds, from a pull to W0 to the task.

        W <- W - lr * l(t) * m_hat / (sqrt(v_hat) + eps)
        W <- W - lr * (1 - l(t)) * gamma * (W - W0)          where a group has an anchor
        W <- W - lr * decay * W
        l(t) = sigmoid(k (t - t0)),   t = 1, 2, ...

    Groups without `anchors` take plain AdamW steps.

    Source: Chen et al., "Recall and Learn", EMNLP 2020, Eq. 11 and Algorithm 1.
    """

    def __init__(
        self,
        parameter_groups: list[dict[str, Any]],
        *,
        gamma: float,
        k: float,
        t0: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameter_groups, {"betas": betas, "eps": eps, "weight_decay": 0.0})
        self.anchors: dict[Tensor, Tensor] = {}
        """W0 of the parameters that have one."""
        self.gamma = gamma
        self.k = k
        self.t0 = t0

    def share(self, t: int) -> float:
        """l(t)."""
        return 1 / (1 + math.exp(min(700.0, -self.k * (t - self.t0))))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for parameter, group in members(self):
            if parameter.grad is None:
                continue
            slots = self.state[parameter]
            if not slots:
                slots["step"] = torch.tensor(0.0)
                slots["exp_avg"] = torch.zeros_like(parameter)
                slots["exp_avg_sq"] = torch.zeros_like(parameter)
            slots["step"] += 1
            t, rate = int(slots["step"]), group["lr"]
            beta1, beta2 = group["betas"]
            slots["exp_avg"].lerp_(parameter.grad, 1 - beta1)
            slots["exp_avg_sq"].mul_(beta2).addcmul_(
                parameter.grad, parameter.grad, value=1 - beta2
            )
            size = (slots["exp_avg_sq"] / (1 - beta2**t)).sqrt_().add_(group["eps"])
            anchor = self.anchors.get(parameter)
            share = 1.0 if anchor is None else self.share(t)
            parameter.addcdiv_(slots["exp_avg"], size, value=-rate * share / (1 - beta1**t))
            if anchor is not None:
                parameter.sub_(parameter - anchor, alpha=rate * (1 - share) * self.gamma)
            parameter.mul_(1 - rate * group["weight_decay"])
