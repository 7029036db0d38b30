"""What a score is worth: the most frequent class, and the encoder as it was pretrained.

    majority     logits are the log counts of the classes; of a regression the mean
    zero-shot    the cosine of the two texts of a pair, for regressions

Both leave the encoder as it is and learn no weight.

Shape suffixes: N examples, C outputs.
"""

from collections.abc import Callable

import torch

from harness.errors import MethodError
from suites.mixup.encoder import Classifier
from suites.mixup.finetuning.probe import SetHead, Untrained
from suites.mixup.hooks import Setting, Stage


class Majority(Untrained):
    """The most frequent class of the training examples; of a regression their mean score."""

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """A head that does not look at the text."""
        labels_N = setting.data.labels_N

        def fill(model: Classifier) -> float:
            model.head.weight.zero_()
            if model.regression:
                model.head.bias.fill_(float(labels_N.mean()))
            else:
                counts_C = torch.bincount(labels_N, minlength=model.classes)
                model.head.bias.copy_(counts_C.double().clamp(min=1e-9).log())
            return 0.0  # there is no loss

        return [lambda: SetHead(model, fill)]


class ZeroShot(Untrained):
    """The likeness of the two texts of a pair, without training.

    The head sums u * v over the D features of normalised texts and divides by D: the cosine of
    the two, each less its mean.
    """

    apart = True

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Nothing is changed.

        Raises:
            MethodError: the task is not a regression of pairs.
        """
        if not (setting.regression and setting.data.second is not None):
            raise MethodError(
                "zero-shot scores how alike the two texts of a pair are; choose a regression task "
                "of pairs, such as sts-b-n300"
            )

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """The head of the cosine."""

        def fill(model: Classifier) -> float:
            width = model.head.in_features // 2
            model.head.bias.zero_()
            model.head.weight.zero_()
            model.head.weight[0, width:] = 1 / width
            return 0.0

        return [lambda: SetHead(model, fill)]
