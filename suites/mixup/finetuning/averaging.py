"""The control for averaging: the repeats of the search without alpha, then finetuning.

K runs of vanilla finetuning on random 80 % of the examples, from the same start; their mean
finetunes on all examples.
"""

from collections.abc import Callable

from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting, Stage
from suites.mixup.search import Search
from suites.mixup.settings import AveragingOptions, SearchOptions


class Averaging(Method):
    """Averages what K splits lead to."""

    Options = AveragingOptions
    options: AveragingOptions

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """The repeats."""
        return Search(model, self.loss, setting, SearchOptions(**self.options.plain())).stages()
