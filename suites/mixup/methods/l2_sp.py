"""L2-SP: weight decay towards the pretrained weights.

    W <- W - lr * strength * (W - W0)        after each step, decoupled

Source: Li et al., "Explicit Inductive Bias for Transfer Learning", ICML 2018; decoupled as in
Zhang et al., "Revisiting Few-sample BERT Fine-tuning", 2021. The new head is not pulled.
"""

import torch
from torch import Tensor

from suites.mixup.encoder import Classifier
from suites.mixup.method import Method, Setting


class L2SP(Method):
    """Pulls every trained weight of the encoder back by its share at each step.

    Args:
        strength: lambda of the penalty lambda/2 |W - W0|^2.
    """

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength
        self._parameters: list[Tensor] = []
        self._pretrained: list[Tensor] = []

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Remembers W0."""
        self._parameters = [p for p in model.encoder.parameters() if p.requires_grad]
        self._pretrained = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """The pull."""
        torch._foreach_lerp_(self._parameters, self._pretrained, rate * self.strength)
