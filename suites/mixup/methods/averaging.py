"""The control for averaging: the repeats of the search without alpha, then finetuning.

K runs of vanilla finetuning on random 80 % of the examples, from the same start; their mean
finetunes on all examples.
"""

from collections.abc import Callable

from suites.mixup.encoder import Classifier
from suites.mixup.method import Method, Setting, Stage
from suites.mixup.search import Plan, Search


class Averaging(Method):
    """Averages what K splits lead to.

    Args:
        repeats: K.
        split: share of the examples that each run trains on.
    """

    def __init__(self, repeats: int = 5, split: float = 0.8) -> None:
        self.plan = Plan(repeats=repeats, split=split)

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """The repeats."""
        return Search(model, self.loss, setting, self.plan).stages()
