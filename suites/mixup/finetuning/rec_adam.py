"""RecAdam: recall the pretrained weights first, learn the task later.

Source: Chen et al., "Recall and Learn: Fine-tuning Deep Pretrained Language Models with Less
Forgetting", EMNLP 2020. Their grid has t0 of 100 to 1,000 steps, longer than a run on 300
examples: here t0 is a share of the run, and the slope is k = 10 / t0. Their pull of 5,000 goes
with a learning rate of 2e-5; the product, 0.1, is what is kept at other rates.
"""

import torch

from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting
from suites.mixup.optimizer import RecAdam, groups
from suites.mixup.settings import RecAdamOptions


class RecallAdam(Method):
    """Adam with the annealed pull to W0; the head has no anchor."""

    Options = RecAdamOptions
    options: RecAdamOptions

    def optimizer(self, model: Classifier, setting: Setting) -> torch.optim.Optimizer:
        """RecAdam, anchored in the weights as they are now."""
        t0 = max(1.0, self.options.turn * self.steps(setting))
        optimizer = RecAdam(
            groups(model, setting.learning_rate, setting.optimizer.weight_decay),
            gamma=self.options.pull / setting.learning_rate,
            k=10 / t0,
            t0=t0,
            betas=self.options.betas,
            eps=self.options.eps,
        )
        for parameter in model.encoder.parameters():
            optimizer.anchors[parameter] = parameter.detach().clone()
        return optimizer
