"""L2-SP: weight decay towards the pretrained weights.

    W <- W - lr * strength * (W - W0)        after each step, decoupled

Source: Li et al., "Explicit Inductive Bias for Transfer Learning", ICML 2018; decoupled as in
Zhang et al., "Revisiting Few-sample BERT Fine-tuning", 2021. The new head is not pulled.
"""

from typing import Any

import torch
from torch import Tensor

from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting, trained
from suites.mixup.settings import L2SPOptions


class L2SP(Method):
    """Pulls every trained weight of the encoder back by its share at each step."""

    Options = L2SPOptions
    options: L2SPOptions

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._parameters: list[Tensor] = []
        self._pretrained: list[Tensor] = []

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Remembers W0."""
        self._parameters = trained(model.encoder)
        self._pretrained = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """The pull."""
        torch._foreach_lerp_(self._parameters, self._pretrained, rate * self.options.strength)
