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


def verdicts(name: str, scale: str) -> dict[str, str]:
    """Claim -> verdict in the committed report; empty where there is none."""
    path = ROOT / f"reports/{name}/{scale}/tables/claims.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        return {row["Claim"]: row["Verdict"] for row in csv.DictReader(file)}


def test_every_suite_answers_at_laptop_scale_once_its_primary_claims_are_judged() -> None:
    judged = []
    for name in ("bam", "gate", "merging", "mixup"):
        primary = {c.name for c in registry.load(name).claims if c.role == "primary"}
        if primary <= verdicts(name, "laptop").keys():
            judged.append((name, "laptop"))
    assert [(name, a.scale) for name, a in ANSWERS] == judged


@pytest.mark.parametrize(("name", "answer"), ANSWERS, ids=[name for name, _ in ANSWERS])
def test_the_sentence_fits_the_verdicts(name: str, answer: Answer) -> None:
    labels = verdicts(name, answer.scale)
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
