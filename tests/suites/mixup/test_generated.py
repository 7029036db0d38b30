"""Generated texts: labels follow from the words, and the same seed gives the same texts."""

import numpy as np
import pytest

from harness.errors import SpecError
from suites.mixup import generated
from suites.mixup.generated import TOPICS


def topic(sentence: str) -> set[str]:
    return {t for t in TOPICS if any(word.startswith(t) for word in sentence.split())}


def test_topics_are_told_by_their_words() -> None:
    texts = generated.make("topics", 200, np.random.default_rng(0))
    assert [topic(s) for s in texts.first] == [{TOPICS[int(c)]} for c in texts.labels]
    assert set(texts.labels) == {0.0, 1.0, 2.0}


def test_pairs_share_a_topic_or_not() -> None:
    texts = generated.make("same-topic", 200, np.random.default_rng(0))
    assert texts.second is not None
    same = [float(topic(a) == topic(b)) for a, b in zip(texts.first, texts.second, strict=True)]
    assert same == list(texts.labels)
    assert 0.35 < sum(same) / 200 < 0.65


def test_scores_count_shared_words() -> None:
    texts = generated.make("overlap", 200, np.random.default_rng(0))
    assert texts.second is not None
    shared = [
        5 * len(set(a.split()) & set(b.split())) / 6
        for a, b in zip(texts.first, texts.second, strict=True)
    ]
    assert shared == pytest.approx(list(texts.labels))
    assert texts.classes == ()


def test_seeds_decide() -> None:
    one, same, other = (generated.make("overlap", 9, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == same != other


def test_an_unknown_task_is_one_line() -> None:
    with pytest.raises(SpecError, match="unknown generated task 'haiku': there are overlap"):
        generated.make("haiku", 3, np.random.default_rng(0))
