"""The ablation of learning: alpha is drawn once and stays."""

from suites.mixup.methods.mixup import Mixed
from suites.mixup.mixing import INITIAL_STD, Form


class RandomAlpha(Mixed):
    """Finetuning under a random mask.

    Args:
        form: `convex` as published, `code` as released.
        std: spread of the factors around one; the paper has 0.005 and 0.45.
    """

    def __init__(self, form: Form = "convex", std: float = INITIAL_STD) -> None:
        super().__init__(form, std=std)
