"""What a finetuned model is worth: GLUE's measures, from scikit-learn and scipy, in percent.

Shape legend: N examples.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from harness.errors import SpecError, unknown

Values = NDArray[Any]


def accuracy(predicted_N: Values, labels_N: Values) -> float:
    """Share of right predictions, %."""
    return 100 * float(accuracy_score(labels_N, predicted_N))


def f1(predicted_N: Values, labels_N: Values) -> float:
    """F1 of class 1, %; 0 where nothing is predicted as class 1."""
    return 100 * float(f1_score(labels_N, predicted_N, zero_division=0))


def mcc(predicted_N: Values, labels_N: Values) -> float:
    """Matthews correlation, %; 0 for constant predictions."""
    return 100 * float(matthews_corrcoef(labels_N, predicted_N))


def spearman(predicted_N: Values, labels_N: Values) -> float:
    """Rank correlation, %; 0 for constant predictions, for which it is not defined."""
    if np.ptp(predicted_N) == 0:
        return 0.0
    return 100 * float(spearmanr(predicted_N, labels_N).statistic)


MEASURES: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "mcc": mcc,
    "spearman": spearman,
}


def score(measure: str, predicted_N: Values, labels_N: Values) -> float:
    """A measure by name, %.

    Raises:
        SpecError: there is no such measure.
    """
    if measure not in MEASURES:
        raise SpecError(unknown("measure", measure, MEASURES))
    return MEASURES[measure](predicted_N, labels_N)


def degenerate(predicted_N: Values, regression: bool) -> bool:
    """Whether a run failed: one class for every text, or scores that do not tell them apart.

    Regression counts as failed below a standard deviation of 0.01, on labels between 0 and 5.
    """
    if regression:
        return bool(np.std(predicted_N) < 0.01)
    return bool((predicted_N == predicted_N[0]).all())
