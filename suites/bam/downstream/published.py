"""Fetches benchmarks whose files are another form of what was published: LegalBench and PIQA."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue

from harness import download, rows
from harness.data import arriving
from harness.errors import DataError, described
from harness.rows import Field, Schema
from harness.suite import Dataset

_LEGALBENCH = "https://github.com/HazyResearch/legalbench/raw/"
_QUESTIONS = "a46c2e67cfc78a534ef8c9b9e17368c87c1455bc"
"""The last revision of LegalBench with its test data."""
TASKS = ("hearsay", "personal-jurisdiction", "proa")
"""Those sets whose rows are all here. Of the two others, rows that are also among the examples were
taken out by hand."""
_PIQA = "https://github.com/ybisk/ybisk.github.io/raw/21edab439af693b961be2f069e8690a88d3b4e37/piqa/data/"
_GOAL = Schema(tuple(map(Field, ("goal", "sol1", "sol2"))))

Question = dict[str, JsonValue]


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes the questions of a benchmark below `folder`, numbered, one per line.

    Raises:
        DataError: offline, or a file that is not what was published.
    """
    ((file, _),) = dataset.files.items()
    with tempfile.TemporaryDirectory() as scratch:
        if dataset.name == "piqa":
            urls = [f"{_PIQA}{name}" for name in ("valid.jsonl", "valid-labels.lst")]
            read: Callable[..., Iterable[Question]] = piqa
        else:
            name = dataset.name.replace("-", "_")
            urls, read = [f"{_LEGALBENCH}{_QUESTIONS}/tasks/{name}/test.tsv"], legalbench
        paths = [Path(scratch) / url.rpartition("/")[2] for url in urls]
        for url, path in zip(urls, paths, strict=True):
            download.get(url, path)
        with arriving(folder / file) as place, place.open("w", encoding="utf-8") as lines:
            for number, question in enumerate(read(*paths)):
                lines.write(json.dumps({"id": number, **question}, ensure_ascii=False) + "\n")
    return {"urls": list(urls)}


def legalbench(path: Path) -> Iterator[Question]:
    """Text and answer of each row, and the slice where there is one.

    Raises:
        DataError: it has no such columns.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines, delimiter="\t")
        if not {"label", "text"} <= set(table.fieldnames or ()):
            raise DataError(f"{path}: no columns label and text; fetch it again")
        for row in table:
            question: Question = {"text": row["text"], "answer": row["label"]}
            yield question | ({"slice": row["slice"]} if "slice" in row else {})


def piqa(questions: Path, labels: Path) -> Iterator[Question]:
    """A goal and two ways to it.

    Raises:
        DataError: there are not as many labels as questions, or one is neither 0 nor 1.
    """
    answers = labels.read_text(encoding="utf-8").split()
    try:
        for row, answer in zip(rows.read(questions, _GOAL), answers, strict=True):
            choices = [row.values["sol1"], row.values["sol2"]]
            yield {
                "question": row.values["goal"],
                "choices": choices,
                "answer": ("0", "1").index(answer),
            }
    except ValueError as error:
        raise DataError(f"{labels}: no label for each question ({described(error)})") from None
