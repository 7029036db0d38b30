"""Measures against their formulas, worked by hand."""

import numpy as np
import pytest

from harness.errors import SpecError
from suites.mixup import scores

LABELS = np.array([1, 1, 1, 0, 0, 1, 0, 0])
PREDICTED = np.array([1, 1, 0, 0, 1, 1, 0, 0])  # 3 true positives, 1 false one, 1 missed, 3 true 0


def test_classification_measures_by_hand() -> None:
    assert scores.score("accuracy", PREDICTED, LABELS) == pytest.approx(100 * 6 / 8)
    assert scores.score("f1", PREDICTED, LABELS) == pytest.approx(100 * 6 / 8)  # 2·3 / (2·3+1+1)
    assert scores.score("mcc", PREDICTED, LABELS) == pytest.approx(100 * (3 * 3 - 1) / 16)


def test_f1_counts_class_one_only() -> None:
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert scores.f1(predicted, labels) == pytest.approx(100 * 2 / 3)
    assert scores.f1(1 - predicted, 1 - labels) == pytest.approx(100 * 4 / 5)


def test_spearman_is_the_correlation_of_ranks() -> None:
    predicted, labels = np.array([0.1, 0.4, 0.3, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])
    differences = np.array([1, 3, 2, 4]) - np.array([1, 2, 3, 4])
    expected = 1 - 6 * (differences**2).sum() / (4 * 15)
    assert scores.spearman(predicted, labels) == pytest.approx(100 * expected)
    assert scores.spearman(np.exp(predicted), labels) == pytest.approx(100 * expected)


def test_constant_predictions_have_a_score_and_are_called_failed() -> None:
    ones = np.ones(8, dtype=int)
    assert scores.mcc(ones, LABELS) == 0
    assert scores.f1(1 - ones, LABELS) == 0
    assert scores.spearman(np.full(8, 2.5), LABELS.astype(float)) == 0
    assert scores.degenerate(ones, regression=False)
    assert scores.degenerate(np.full(8, 2.5) + 1e-4 * np.arange(8), regression=True)


def test_predictions_that_tell_examples_apart_are_not_failed() -> None:
    assert not scores.degenerate(PREDICTED, regression=False)
    assert not scores.degenerate(np.linspace(0, 5, 8), regression=True)


def test_an_unknown_measure_is_one_line() -> None:
    with pytest.raises(SpecError, match="unknown measure 'bleu': there are accuracy, f1"):
        scores.score("bleu", PREDICTED, LABELS)
