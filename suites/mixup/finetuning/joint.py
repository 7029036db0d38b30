"""The ablation of the bilevel search: W and alpha learn together, on all examples."""

import torch

from suites.mixup import mixing
from suites.mixup.encoder import Classifier
from suites.mixup.finetuning.mixup import WithAlpha
from suites.mixup.hooks import Setting
from suites.mixup.optimizer import groups
from suites.mixup.settings import JointOptions


class Joint(WithAlpha):
    """One level."""

    Options = JointOptions
    options: JointOptions

    def optimizer(self, model: Classifier, setting: Setting) -> torch.optim.Optimizer:
        """AdamW on W, and on alpha with its own rate and no decay."""
        factors = mixing.factors(model)
        for factor in factors:
            factor.requires_grad_(True)
        rate, settings = self.options.alpha_rate or setting.alpha_rate, setting.optimizer
        alpha = {"params": factors, "lr": rate, "initial_lr": rate, "weight_decay": 0.0}
        weights = groups(model, setting.learning_rate, settings.weight_decay, factors)
        return torch.optim.AdamW(
            [*weights, alpha], betas=settings.betas, eps=settings.eps, fused=True
        )

    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """Clamps alpha."""
        mixing.clamp(model)
