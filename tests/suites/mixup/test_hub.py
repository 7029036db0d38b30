"""Files written from the hub read back as GLUE's own do; nothing goes over a network here."""

import os
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.errors import DataError
from harness.store import file_digest
from suites.mixup import hub
from suites.mixup.datasets import CORPORA, QNLI_DEV, url
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

    def get(address: str, target: Path, sha256: str) -> None:
        asked.append((address, sha256))
        lines = ("\t".join(map(str, row.values())) for row in ROWS["qnli"])
        target.write_text("\n".join(("question\tsentence\tlabel\tindex", *lines)))

    monkeypatch.setattr(hub.download, "get", get)
    facts = hub.fetch(dataset, tmp_path)
    assert facts == {"repository": "nyu-mll/glue", "revision": "c" * 40}
    corpus = CORPORA[name]
    assert corpus.train is not None
    texts = read(tmp_path / corpus.train.path, corpus.train._replace(rows=2), corpus)
    assert texts.labels == tuple(float(row["label"]) for row in ROWS[name])  # type: ignore[arg-type]
    assert asked[0] == ("nyu-mll/glue", name, "train", "c" * 40)
    if name == "qnli":  # as the pool of 320 has it
        assert asked[1] == (url(QNLI_DEV), QNLI_DEV.sha256)
    else:
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


def test_every_other_set_has_an_address_and_a_digest_for_each_file() -> None:
    for dataset in registry.load("mixup").datasets:
        if not dataset.fetch:
            assert set(dataset.urls) == set(dataset.files)
            assert all(dataset.files.values())
            assert all(
                address.startswith("https://github.com/") for address in dataset.urls.values()
            )
            assert all(
                address.endswith(file.rpartition("/")[2]) for file, address in dataset.urls.items()
            )


@pytest.mark.parametrize("name", ["qnli-pool", "mnli-pool", "snli-pool"])
def test_pools_are_rebuilt_from_their_draws_byte_for_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (here := os.environ.get("HARNESS_DATA")):
        pytest.skip("needs the data folder")
    data = Path(here) / "glue"

    def get(address: str, target: Path, sha256: str | None = None) -> None:
        _, found, place = address.partition("/data/k-shot/")
        shutil.copy(data / "kshot" / place if found else data / "QNLI" / "dev.tsv", target)

    monkeypatch.setattr(hub.download, "get", get)
    dataset = next(d for d in registry.load("mixup").datasets if d.name == name)
    for file in dataset.files:
        (tmp_path / file).parent.mkdir(parents=True)
    hub.fetch(dataset, tmp_path)
    assert {file: file_digest(tmp_path / file) for file in dataset.files} == dataset.files
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {
        tmp_path / file for file in dataset.files
    }


def test_a_draw_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "13-train.tsv"
    path.write_text("<html>\n")
    with pytest.raises(DataError, match="no columns sentence1 and sentence2"):
        hub.pool([path])
    path.write_text("index\tsentence1\tsentence2\tlabel\n1\ta\tb\n")
    with pytest.raises(DataError, match=r"13-train.tsv:2: 3 cells, 4 wanted"):
        hub.pool([path])
