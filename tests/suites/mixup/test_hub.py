"""Files written from the hub read back as GLUE's own do; nothing goes over a network here."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.errors import DataError
from suites.mixup import hub
from suites.mixup.datasets import CORPORA
from suites.mixup.texts import read

ROWS = {
    "qnli": [
        {"question": "What  is\tit ?", "sentence": "It is\nthis .", "label": 0, "idx": 0},
        {"question": "Who ?", "sentence": "Nobody .", "label": 1, "idx": 1},
    ],
    "mnli": [
        {"premise": "A man eats .", "hypothesis": "He eats .", "label": 0, "idx": 0},
        {"premise": "A man eats .", "hypothesis": "He sleeps .", "label": 2, "idx": 1},
        {"premise": "A man eats .", "hypothesis": "He is glad .", "label": 1, "idx": 2},
    ],
    "qqp": [
        {"question1": "Why ?", "question2": "Why so ?", "label": 1, "idx": 0},
        {"question1": "Why ?", "question2": "When ?", "label": 0, "idx": 1},
    ],
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_is_fetched_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = []

    def load_dataset(
        repository: str, subset: str, split: str, revision: str
    ) -> list[dict[str, Any]]:
        asked.append((repository, subset, split, revision))
        return ROWS[subset]

    library = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", library)
    dataset = next(d for d in registry.load("mixup").datasets if d.name == name)
    monkeypatch.setattr(hub, "newest", lambda repository, dataset: "c" * 40)
    facts = hub.fetch(dataset, tmp_path)
    assert facts == {"repository": "nyu-mll/glue", "revision": "c" * 40}
    corpus = CORPORA[name]
    assert corpus.train is not None
    texts = read(tmp_path / corpus.train.path, corpus.train._replace(rows=2), corpus)
    assert texts.labels == tuple(float(row["label"]) for row in ROWS[name])  # type: ignore[arg-type]
    assert asked[0] == ("nyu-mll/glue", name, "train", "c" * 40)
    assert asked[1][2] == ("validation_matched" if name == "mnli" else "validation")
    if name == "qnli":
        assert (texts.first[0], texts.second) == ("What is it ?", ("It is this .", "Nobody ."))
    assert set(tmp_path.rglob("*.tsv")) == {tmp_path / file for file in dataset.files}
    assert not list(tmp_path.rglob(".download-*"))


def test_sets_that_the_hub_lacks_are_refused(tmp_path: Path) -> None:
    dataset = next(d for d in registry.load("mixup").datasets if d.name == "cr")
    with pytest.raises(DataError, match="cr: not on the hub"):
        hub.fetch(dataset, tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", -1, "label is out of range|label -1 is out of range, allowed: 0 to 2"),
        ("label", 3, "label 3 is out of range, allowed: 0 to 2"),
        ("label", None, "label is null, not an integer"),
        ("label", 1.0, "label is 1.0, not an integer"),
        ("premise", None, "premise is null, not a text"),
    ],
)
def test_a_row_without_label_or_text_is_refused(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    corpus = CORPORA["mnli"]
    assert corpus.train is not None
    rows = [*ROWS["mnli"][:1], {**ROWS["mnli"][1], field: value}]
    with pytest.raises(DataError, match=f"train.tsv: row 2: ({message}); choose a split") as caught:
        hub.write(tmp_path / "train.tsv", corpus.train, corpus.classes, rows)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
