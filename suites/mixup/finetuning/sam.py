"""SAM: the gradient is that of the loss where it is highest nearby.

    e = radius * g(W) / |g(W)|,    W moves along g(W + e)

Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR
2021, Eq. 2 and Algorithm 1. Both passes see the same dropout masks, and |g| is over all weights
that learn.
"""

from typing import Any

import torch
from torch import Tensor

from suites.mixup.encoder import Batch, Classifier
from suites.mixup.hooks import Method, RandomState, Setting, trained
from suites.mixup.settings import SAMOptions


class SAM(Method):
    """Two passes per batch; the loss that is logged is that of the second."""

    Options = SAMOptions
    options: SAMOptions

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._parameters: list[Tensor] = []
        self._before: list[Tensor] = []

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Notes what learns."""
        self._parameters = trained(model)

    def loss(self, model: Classifier, batch: Batch) -> Tensor:
        """The loss at W + e, where the model is left until `after_backward`."""
        device = batch.labels_B.device
        masks = RandomState.now(device)
        gradients = torch.autograd.grad(
            super().loss(model, batch), self._parameters, materialize_grads=True
        )
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
        self._before = [p.detach().clone() for p in self._parameters]
        with torch.no_grad():
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.add_(gradient * (self.options.radius / (norm + 1e-12)))
        masks.set(device)
        return super().loss(model, batch)

    @torch.no_grad()
    def after_backward(self, model: Classifier, step: int) -> None:
        """Back to W."""
        torch._foreach_copy_(self._parameters, self._before)
