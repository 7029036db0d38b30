"""The ablation of learning: alpha is drawn once and stays."""

from suites.mixup.finetuning.mixup import WithAlpha


class RandomAlpha(WithAlpha):
    """Finetuning under a random mask; the paper has a spread of 0.005 and of 0.45."""
