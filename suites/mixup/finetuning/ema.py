"""EMA: the result is an exponential moving average of the weights along finetuning.

    average <- d average + (1 - d) W,    d = min(decay, (1 + t) / (10 + t)),    t = 1, 2, ...

from the weights at the start. Source of the average: Polyak and Juditsky, "Acceleration of
Stochastic Approximation by Averaging", 1992; of its decay at the beginning:
tf.train.ExponentialMovingAverage.
"""

from typing import Any

import torch
from torch import Tensor

from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Kept, Method, Setting, trained
from suites.mixup.settings import EMAOptions


class EMA(Method):
    """Averages the weights that learn."""

    Options = EMAOptions
    options: EMAOptions

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._parameters: list[Tensor] = []
        self._last = 0

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Begins the average at the start."""
        self._parameters = trained(model)
        self._last = self.steps(setting) - 1
        model.add_module("average", Kept(self._parameters))

    @torch.no_grad()
    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """Moves the average; after the last step it becomes the weights."""
        decay = min(self.options.decay, (2 + step) / (11 + step))
        average = list(model.average.buffers())  # type: ignore[union-attr]
        torch._foreach_lerp_(average, self._parameters, 1 - decay)
        if step == self._last:
            torch._foreach_copy_(self._parameters, average)

    def detach(self, model: Classifier) -> None:
        """Drops the average."""
        del model.average
