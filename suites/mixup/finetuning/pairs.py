"""Finetuning and the linear probe with the two texts of a pair encoded apart.

The head reads |u - v| and u * v, as encoders of single sentences are finetuned on pairs. Source:
Conneau et al., "Supervised Learning of Universal Sentence Representations from Natural Language
Inference Data", EMNLP 2017, section 3.1. DEVIATION: without u and v themselves.
"""

from harness.errors import MethodError
from suites.mixup.encoder import Classifier
from suites.mixup.finetuning.probe import Probe
from suites.mixup.hooks import Method, Setting


class OfPairs(Method):
    """Encodes the two texts of a pair apart."""

    apart = True

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Nothing is changed.

        Raises:
            MethodError: the task has single texts.
        """
        if setting.data.second is None:
            raise MethodError(
                "pairs are encoded apart, the task has single texts; choose a task of pairs, such "
                "as sts-b-n300"
            )


class VanillaPairs(OfPairs):
    """Vanilla finetuning on features of the pair."""


class ProbePairs(OfPairs, Probe):
    """The head alone, on features of the pair."""
