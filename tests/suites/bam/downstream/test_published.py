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


# -- equivalents -----------------------------------------------------------------------------------

CHOICES = (*published.INSTRUCTIONS,)


def instruction(name: str, row: dict[str, Any]) -> dict[str, str]:
    """A row of LLM-Adapters: the inverse of what `instructions` does."""
    choices, right = row["choices"], row["answer"]
    if name == "mathqa":
        options = " , ".join(
            f"{letter} ) {text}" for letter, text in zip("ABCDE", choices, strict=True)
        )
        return {
            "instruction": f"{row['question']} The options: {options}",
            "answer": "ABCDE"[right],
        }
    word = "Option" if name == "winogrande" else "Answer"
    asked = (
        "fill in the blank to complete the given sentence" if word == "Option" else "the question"
    )
    shown = " ".join(f"{word}{n}: {text}" for n, text in enumerate(choices, 1))
    allowed = "/".join(f"{word.lower()}{n}" for n in range(1, len(choices) + 1))
    return {
        "instruction": f"Please choose the correct answer to {asked}: {row['question']}\n\n{shown}"
        f"\n\nAnswer format: {allowed}",
        "answer": f"{word.lower()}{right + 1}",
    }


@pytest.mark.parametrize("name", CHOICES)
def test_questions_are_read_from_their_instructions(
    name: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that the recorded file leaves out have options that cannot be told apart."""
    ((file, digest),) = dataset(name).files.items()
    rows = [json.loads(line) for line in (data_folder / file).read_text("utf-8").splitlines()]
    there: list[dict[str, str]] = [{"instruction": "What? The options: ", "answer": "A"}] * (
        rows[-1]["id"] + 1
    )
    for row in rows:
        there[row["id"]] = instruction(name, row)

    def get(address: str, target: Path) -> str:
        assert address.endswith(f"/dataset/{published.INSTRUCTIONS[name]}/test.json")
        target.write_text(json.dumps(there))
        return "ab" * 32

    monkeypatch.setattr(published.download, "get", get)
    published.build(dataset(name).rebuilt, tmp_path)
    assert file_digest(tmp_path / file) == digest


def test_an_instruction_without_choices_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    good = {
        "instruction": "Choose: Why?\n\nAnswer1: a Answer2: b\n\nAnswer format: x",
        "answer": "answer2",
    }
    bad = [
        {"instruction": "Choose: Why?", "answer": "answer1"},
        good | {"answer": "answer3"},
        good | {"answer": "true"},
        {"instruction": "Choose: Why?\n\nAnswer2: a Answer1: b", "answer": "answer1"},
        {"instruction": "Why? The options: A ) 1 , B ) 2", "answer": "A"},
    ]
    path.write_text(json.dumps([*bad, good]))
    assert list(published.instructions(path)) == [
        (len(bad), {"question": "Why?", "choices": ["a", "b"], "answer": 1})
    ]
    for text in ("<html>", "{}x", '[{"instruction": 1}]', "[" * 10_000):
        path.write_text(text)
        with pytest.raises(DataError, match="no list of instructions"):
            list(published.instructions(path))


@pytest.mark.parametrize("name", published.REDUCED)
def test_every_recorded_question_of_legalbench_is_asked(
    name: str, data_folder: Path, tmp_path: Path
) -> None:
    folder = data_folder / "lm" / "task_legalbench" / published.REDUCED[name]
    lines = (folder / "test.jsonl").read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    table = io.StringIO()
    writer = csv.DictWriter(table, ["label", "text"], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    there = {row["id"]: row for row in rows}
    for number in range(rows[-1]["id"] + 1):
        row = there.get(number, rows[0])  # what is left out was there before
        writer.writerow({"label": row["answer"], "text": row["text"].replace('"', '""')})
    (tmp_path / "test.tsv").write_text(table.getvalue())
    found = published.reduced(
        tmp_path / "test.tsv", folder / "train.tsv", folder / "base_prompt.txt"
    )
    assert [{"id": number, **question} for number, question in found] == rows


def test_what_the_prompt_shows_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "test.tsv": 'label\ttext\nNo\t"an """"ask"""" first"\nYes\ttwice\nYes\ttwice\n'
        "Yes\tan example\nNo\tin the prompt\nNo\tlast\n",
        "train.tsv": "index\tanswer\ttext\n0\tYes\tan example\n",
        "base_prompt.txt": "Sentence: in the prompt\nLabel: No\n",
    }
    asked = []

    def get(address: str, target: Path) -> str:
        asked.append(address)
        target.write_text(files[target.name])
        return "ab" * 32

    monkeypatch.setattr(published.download, "get", get)
    wanted = dataset("overruling").rebuilt
    published.build(wanted, tmp_path)
    (file,) = wanted.files
    assert [json.loads(line) for line in (tmp_path / file).read_text().splitlines()] == [
        {"id": 0, "text": 'an "ask" first', "answer": "No"},
        {"id": 1, "text": "twice", "answer": "Yes"},
        {"id": 5, "text": "last", "answer": "No"},
    ]
    assert ["a46c2e67" in address for address in asked] == [True, False, False]
    files["test.tsv"] = "label\ttext\n"
    with pytest.raises(DataError, match="no question in"):
        published.build(wanted, tmp_path)
