"""What a suite answers in plain words is what the committed verdicts say."""

import csv
from pathlib import Path

import pytest

from harness import registry
from harness.suite import Answer

ROOT = Path(__file__).parents[2]
ANSWERS = [
    (name, answer)
    for name in ("bam", "gate", "merging", "mixup")
    for answer in registry.load(name).answers
]


def test_every_suite_answers_at_laptop_scale() -> None:
    assert [(name, a.scale) for name, a in ANSWERS] == [
        (name, "laptop") for name in ("bam", "gate", "merging", "mixup")
    ]


@pytest.mark.parametrize(("name", "answer"), ANSWERS, ids=[name for name, _ in ANSWERS])
def test_the_sentence_fits_the_verdicts(name: str, answer: Answer) -> None:
    with (ROOT / f"reports/{name}/{answer.scale}/tables/claims.csv").open() as file:
        labels = {row["Claim"]: row["Verdict"] for row in csv.DictReader(file)}
    changed = {
        claim: labels[claim]
        for claim, word in answer.rests_on.items()
        if not labels[claim].startswith(word)
    }
    assert not changed, f"say what {name} answers now in suites/{name}/suite.py (answers)"


@pytest.mark.parametrize(("name", "answer"), ANSWERS, ids=[name for name, _ in ANSWERS])
def test_the_sentence_is_one_and_short(name: str, answer: Answer) -> None:
    assert answer.text.count(". ") == 0
    assert answer.text.endswith(".")
    assert len(answer.text) <= 160
