"""DPS: sub-networks chosen again and again, by the gradients seen since the last choice.

Training goes in cycles of two equal stages, each 5 % of all updates. Stage I collects squared
gradients; stage II trains the 1 - p of each tensor's weights whose score is highest.

`dense`  stage I trains everything, score = sum of g^2; stage II masks gradients.
`mix`    stage I is Mixout towards W0, score = (sum of g^2 / hits) * exp(-hits / stage), hits being
         how often a weight was let through (no exponential under 50 steps); stage II mixes the
         unchosen with the weights at its start, rescaled as Mixout does.

Source: Zhang et al., "Fine-Tuning Pre-Trained Language Models Effectively by Optimizing
Subnetworks Adaptively", NeurIPS 2022, Algorithms 1 and 2. Their code takes the stage from one
epoch and divides by 0 below 305 examples; ours has at least one step. Dropout is off, as it is
there below 2,000 updates. Their backward pass of `mix` gives W the gradient m * dL/dM, without the
1 / (1 - p) of the true derivative; AdamW does not see a constant factor.

Shape suffixes: O output features, I input features.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from suites.mixup.encoder import Classifier
from suites.mixup.finetuning.mixout import encoder_linears, without_dropout
from suites.mixup.hooks import Kept, Method, Setting
from suites.mixup.settings import DPSOptions


def highest(score: Tensor, share: float) -> Tensor:
    """Mask of the entries among that share of the highest of a tensor."""
    kept = max(1, math.ceil(share * score.numel()))
    threshold = score.flatten().kthvalue(score.numel() - kept + 1).values
    return (score >= threshold).to(score.dtype)


class DPS(Method):
    """What both kinds share: the cycle."""

    Options = DPSOptions
    options: DPSOptions
    stage = 1
    """Updates of a stage."""

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Fixes the length of a stage."""
        steps = self.steps(setting)
        self.stage = max(1, int(self.options.stage * steps))
        if steps < self.options.dropout_from:
            without_dropout(model)

    def collects(self, step: int) -> bool:
        """Whether a step lies in stage I."""
        return step % (2 * self.stage) < self.stage

    def begins(self, step: int) -> bool:
        """Whether a stage begins with this step."""
        return step % self.stage == 0


class DPSDense(DPS):
    """Masks gradients of the weights of the encoder's linear layers; all else trains throughout."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._masks: list[Tensor] = []

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Makes room for the squares."""
        super().attach(model, setting)
        squares = Kept(torch.zeros_like(weight) for weight in self.masked(model))
        model.add_module("dps_squares", squares)

    @staticmethod
    def masked(model: Classifier) -> list[Tensor]:
        """The matrices, those of a pooler among them, as in the released code."""
        return [linear.weight for linear in encoder_linears(model) if linear.weight.requires_grad]

    @torch.no_grad()
    def after_backward(self, model: Classifier, step: int) -> None:
        """Collects in stage I, masks in stage II."""
        parameters = self.masked(model)
        squares = list(model.dps_squares.buffers())  # type: ignore[union-attr]
        collects = self.collects(step)
        if collects and self.begins(step):
            torch._foreach_zero_(squares)
            self._masks = []
        if not collects and not self._masks:
            self._masks = [highest(score, 1 - self.options.p) for score in squares]
        for index, parameter in enumerate(parameters):
            if parameter.grad is None:
                continue
            if collects:
                squares[index].addcmul_(parameter.grad, parameter.grad)
            else:
                parameter.grad.mul_(self._masks[index])

    def detach(self, model: Classifier) -> None:
        """Drops the squares."""
        del model.dps_squares


class Subnetwork(nn.Module):
    """The parametrisation of one weight by DPS mix."""

    pretrained_OI: Tensor
    start_OI: Tensor
    squares_OI: Tensor
    hits_I: Tensor
    chosen_OI: Tensor
    collecting: Tensor

    def __init__(self, pretrained_OI: Tensor, p: float, penalty_from: int) -> None:
        super().__init__()
        self.p = p
        self.penalty_from = penalty_from
        pretrained_OI = pretrained_OI.detach()
        self.register_buffer("pretrained_OI", pretrained_OI.clone())
        self.register_buffer("start_OI", pretrained_OI.clone())
        self.register_buffer("squares_OI", torch.zeros_like(pretrained_OI))
        self.register_buffer("hits_I", torch.zeros_like(pretrained_OI[0]))
        self.register_buffer("chosen_OI", torch.ones_like(pretrained_OI))
        self.register_buffer("collecting", torch.tensor(True))
        self._keep_I = torch.ones_like(pretrained_OI[0])

    def forward(self, weight_OI: Tensor) -> Tensor:
        """The weight of this pass, [O, I]."""
        if not self.training:
            return weight_OI
        if self.collecting:
            self._keep_I = torch.empty_like(self.hits_I).bernoulli_(1 - self.p)
            target_OI, keep = self.pretrained_OI, self._keep_I
        else:
            target_OI, keep = self.start_OI, self.chosen_OI
        return torch.addcmul(target_OI, keep / (1 - self.p), weight_OI - target_OI)

    def collect(self, gradient_OI: Tensor) -> None:
        """Adds the gradient of the last pass, zero where the mask was."""
        self.squares_OI.addcmul_(gradient_OI, gradient_OI)
        self.hits_I += self._keep_I

    def restart(self) -> None:
        """Begins stage I."""
        self.collecting.fill_(True)
        self.squares_OI.zero_()
        self.hits_I.zero_()

    def choose(self, weight_OI: Tensor, stage: int) -> None:
        """Begins stage II."""
        self.collecting.fill_(False)
        score_OI = self.squares_OI / self.hits_I.clamp(min=1)
        if stage >= self.penalty_from:
            score_OI = score_OI * torch.exp(-self.hits_I / stage)
        self.chosen_OI.copy_(highest(score_OI, 1 - self.p))
        self.start_OI.copy_(weight_OI)


class DPSMix(DPS):
    """Mixes the weights of the encoder's linear layers."""

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Parametrises the linear layers."""
        super().attach(model, setting)
        for linear in encoder_linears(model):
            subnetwork = Subnetwork(linear.weight, self.options.p, self.options.penalty_from)
            parametrize.register_parametrization(linear, "weight", subnetwork)

    @torch.no_grad()
    def after_backward(self, model: Classifier, step: int) -> None:
        """Collects in stage I."""
        if self.collects(step):
            for subnetwork, weight_OI in _subnetworks(model):
                if weight_OI.grad is not None:
                    subnetwork.collect(weight_OI.grad)

    @torch.no_grad()
    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """Changes the stage where the next step begins one."""
        if not self.begins(step + 1):
            return
        for subnetwork, weight_OI in _subnetworks(model):
            if self.collects(step + 1):
                subnetwork.restart()
            else:
                subnetwork.choose(weight_OI, self.stage)

    def detach(self, model: Classifier) -> None:
        """Leaves W."""
        model.eval()
        for linear in encoder_linears(model):
            parametrize.remove_parametrizations(linear, "weight")


def _subnetworks(model: Classifier) -> list[tuple[Subnetwork, nn.Parameter]]:
    slots: list[Any] = [linear.parametrizations["weight"] for linear in encoder_linears(model)]  # type: ignore[index]
    return [(slot[0], slot.original) for slot in slots]
