"""Finetuning as one resumable stage, and predictions of a finetuned model.

Shape legend: N examples, B examples of a batch, C outputs.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.training import State
from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting
from suites.mixup.optimizer import set_rates
from suites.mixup.texts import Batches, Examples


class Finetune:
    """All N examples, the method's loss, linear warm-up and decay; see `suites.mixup.hooks.Stage`.

    A step: rate, loss, backward, the method's `after_backward`, clipping, the optimiser, the
    method's `after_step`. The last step's weights are the result: nothing is selected.
    """

    def __init__(self, model: Classifier, method: Method, setting: Setting) -> None:
        self.model = model
        self.method = method
        self.setting = setting
        self.device = next(model.parameters()).device
        self.steps = method.steps(setting)
        self.optimizer = method.optimizer(model, setting)
        self.batches = Batches(setting.data, setting.batch_size, setting.seed("batch"))
        self.state = State(modules={"model": model}, optimizers={"finetune": self.optimizer})

    def step(self, index: int) -> float:
        """Makes update `index`; returns its loss."""
        factor = self.setting.factor(index, self.steps)
        set_rates(self.optimizer, factor)
        self.model.train()
        loss = self.method.loss(self.model, self.batches[index].to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.method.after_backward(self.model, index)
        if (norm := self.setting.optimizer.clip) is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), norm)
        self.optimizer.step()
        self.method.after_step(self.model, index, self.setting.learning_rate * factor)
        return loss.item()

    def finish(self) -> None:
        """Nothing is left to do: the model is trained in place."""


@torch.no_grad()
def predict(model: Classifier, examples: Examples, batch_size: int = 64) -> NDArray[Any]:
    """Predicted classes, or scores of a regression, one an example in the given order.

    Texts of like length share a batch, without dropout.
    """
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(examples)), key=lambda i: len(examples.ids[i]))
    outputs = []
    for start in range(0, len(order), batch_size):
        logits_BC = model(examples.batch(order[start : start + batch_size]).to(device))
        outputs.append(logits_BC[:, 0] if model.regression else logits_BC.argmax(1))
    predicted_N = torch.cat(outputs).cpu().numpy()
    in_order_N = np.empty_like(predicted_N)
    in_order_N[order] = predicted_N
    return in_order_N
