"""Generated texts, so that every method can be tried without any file.

Three tasks in the likeness of real ones: topics of sentences, whether two sentences share a topic,
and how many words two sentences share. They replace no real set, and no claim speaks of them.
"""

import numpy as np

from harness.errors import SpecError, unknown
from suites.mixup.texts import Texts

TOPICS = ("weather", "music", "cooking")
_WORDS = 12
"""Words that belong to a topic."""
_FILLERS = 40
"""Words that belong to none."""
_TOP = 5.0


def make(name: str, size: int, rng: np.random.Generator) -> Texts:
    """`size` examples of a generated task.

    Args:
        name: `topics` (three classes), `same-topic` (pairs, two classes) or `overlap` (pairs,
            scores from 0 to 5).
        size: number of examples.
        rng: draws them.

    Raises:
        SpecError: there is no such task.
    """
    if name == "topics":
        classes_N = rng.integers(len(TOPICS), size=size)
        sentences = tuple(_sentence(TOPICS[topic], rng) for topic in classes_N)
        return Texts(name, sentences, None, tuple(map(float, classes_N)), TOPICS)
    if name == "same-topic":
        pairs = [_related(rng) for _ in range(size)]
    elif name == "overlap":
        pairs = [_overlapping(rng) for _ in range(size)]
    else:
        raise SpecError(unknown("generated task", name, ("topics", "same-topic", "overlap")))
    first, second, labels = zip(*pairs, strict=True)
    return Texts(name, first, second, labels, ("different", "same") * (name == "same-topic"))


def _sentence(topic: str, rng: np.random.Generator) -> str:
    """Three words of a topic among three to six others."""
    words = [f"{topic}{i}" for i in rng.integers(_WORDS, size=3)]
    words += [f"word{i}" for i in rng.integers(_FILLERS, size=rng.integers(3, 7))]
    return " ".join(rng.permutation(words))


def _related(rng: np.random.Generator) -> tuple[str, str, float]:
    """Two sentences, and 1 where they share a topic, 0 where they do not."""
    one, other = rng.permutation(TOPICS)[:2]
    same = int(rng.integers(2))
    return _sentence(one, rng), _sentence(one if same else other, rng), float(same)


def _overlapping(rng: np.random.Generator) -> tuple[str, str, float]:
    """Two sentences of six words and the share of words that they have in common, from 0 to 5."""
    length = 6
    shared = int(rng.integers(length + 1))
    words = rng.choice(_FILLERS, 2 * length - shared, replace=False)
    one = rng.permutation(words[:length])
    other = rng.permutation([*words[:shared], *words[length:]])
    first, second = (" ".join(f"word{i}" for i in side) for side in (one, other))
    return first, second, _TOP * shared / length
