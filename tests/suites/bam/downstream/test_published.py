"""LegalBench and PIQA as they were published, against the files of the data folder."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.errors import DataError
from harness.store import file_digest
from harness.suite import Dataset
from suites.bam.downstream import published

HEARSAY = """label\ttext\tslice
No\tOn whether he knew, the poster with the lyrics of "Viva la Vida".\tNon-assertive conduct
Yes\t"A text that begins with ""quotes"" and has a
line break. "\tStandard hearsay
"""
"""Rows as LegalBench's files have them."""


def dataset(name: str) -> Dataset:
    return next(d for d in registry.load("bam").datasets if d.name == name)


def test_rows_of_legalbench_are_read_as_they_were_quoted(tmp_path: Path) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(HEARSAY)
    assert list(published.legalbench(path)) == [
        {
            "text": 'On whether he knew, the poster with the lyrics of "Viva la Vida".',
            "answer": "No",
            "slice": "Non-assertive conduct",
        },
        {
            "text": 'A text that begins with "quotes" and has a\nline break. ',
            "answer": "Yes",
            "slice": "Standard hearsay",
        },
    ]
    path.write_text("<html>")
    with pytest.raises(DataError, match="no columns label and text"):
        list(published.legalbench(path))


def raw(name: str, questions: list[dict[str, Any]]) -> dict[str, str]:
    """The published files of a benchmark: the inverse of what `fetch` does."""
    if name == "piqa":
        lines = [
            json.dumps({"goal": q["question"], "sol1": q["choices"][0], "sol2": q["choices"][1]})
            for q in questions
        ]
        labels = "".join(f"{q['answer']}\n" for q in questions)
        return {"valid.jsonl": "\n".join(lines) + "\n", "valid-labels.lst": labels}
    text = io.StringIO()
    columns = ["label", "text", *(["slice"] if "slice" in questions[0] else [])]
    table = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n")
    table.writeheader()
    for q in questions:
        table.writerow({"label": q["answer"], **{k: q[k] for k in columns[1:]}})
    return {"test.tsv": text.getvalue()}


@pytest.mark.parametrize("name", ["piqa", *published.TASKS])
def test_what_is_fetched_is_the_suites_file_byte_for_byte(
    name: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((file, digest),) = dataset(name).files.items()
    with (data_folder / file).open() as lines:
        there = raw(name, [json.loads(line) for line in lines])
    asked = []

    def get(address: str, target: Path) -> None:
        asked.append(address)
        target.write_text(there[target.name])

    monkeypatch.setattr(published.download, "get", get)
    published.fetch(dataset(name), tmp_path)
    assert file_digest(tmp_path / file) == digest
    assert all(address.startswith("https://github.com/") for address in asked)


@pytest.mark.parametrize("labels", ["0\n", "0\n1\n0\n", "0\n2\n"])
def test_labels_that_do_not_fit_are_refused(labels: str, tmp_path: Path) -> None:
    goal = json.dumps({"goal": "a", "sol1": "b", "sol2": "c"})
    (tmp_path / "q.jsonl").write_text(f"{goal}\n{goal}\n")
    (tmp_path / "l.lst").write_text(labels)
    with pytest.raises(DataError, match="no label for each question"):
        list(published.piqa(tmp_path / "q.jsonl", tmp_path / "l.lst"))
