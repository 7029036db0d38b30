"""The ablation of the bilevel search: W and alpha learn together, on all examples."""

import torch

from suites.mixup import mixing
from suites.mixup.encoder import Classifier
from suites.mixup.method import Setting
from suites.mixup.methods.mixup import Mixed
from suites.mixup.mixing import Form
from suites.mixup.optimizer import groups


class Joint(Mixed):
    """One level.

    Args:
        form: `convex` as published, `code` as released.
        rank: of the attention.
        alpha_rate: learning rate of alpha.
    """

    def __init__(self, form: Form = "convex", rank: int = 1, alpha_rate: float = 2e-3) -> None:
        super().__init__(form, rank)
        self.alpha_rate = alpha_rate

    def optimizer(self, model: Classifier, setting: Setting) -> torch.optim.Optimizer:
        """AdamW on W, and on alpha with its own rate and no decay."""
        factors = mixing.factors(model)
        for factor in factors:
            factor.requires_grad_(True)
        rate = self.alpha_rate
        alpha = {"params": factors, "lr": rate, "initial_lr": rate, "weight_decay": 0.0}
        weights = groups(model, setting.learning_rate, setting.weight_decay, factors)
        return torch.optim.AdamW([*weights, alpha], fused=True)

    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """Clamps alpha."""
        mixing.clamp(model)
