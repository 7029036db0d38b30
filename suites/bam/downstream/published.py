"""Fetches benchmarks whose files are another form of what was published.

LegalBench, PIQA, and the sets that LLM-Adapters has written as instructions.
"""

import csv
import json
import re
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
REDUCED = {"overruling": "overruling", "cuad-governing-law": "cuad_governing_law"}
"""The two others and their folders."""
_SHOWN = "ce482446b8eac4403b6db2c17223af4514bb24e3"
"""The revision of LegalBench whose examples the prompts show."""
_ADAPTERS = "https://github.com/AGI-Edgerunners/LLM-Adapters/raw/816657208af4db747803f87ba40a4c71383fed7a/dataset/"
INSTRUCTIONS = {
    "arc-challenge": "ARC-Challenge",
    "arc-easy": "ARC-Easy",
    "mathqa": "mathqa",
    "openbookqa": "openbookqa",
    "siqa": "social_i_qa",
    "winogrande": "winogrande",
}
"""Dataset -> folder of LLM-Adapters."""
_CHOICE = re.compile(r"\b(?:Answer|Option)(\d): ")
_OPTION = re.compile(r"[A-E] \) ")
_LETTERS = "ABCDE"
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
    for row in _table(path, "label", "text"):
        question: Question = {"text": row["text"], "answer": row["label"]}
        yield question | ({"slice": row["slice"]} if "slice" in row else {})


def _table(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines, delimiter="\t")
        if not set(columns) <= set(table.fieldnames or ()):
            raise DataError(f"{path}: no columns {' and '.join(columns)}; fetch it again")
        yield from table


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


def build(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes an equivalent of a benchmark whose file cannot be made byte for byte.

    Raises:
        DataError: offline, or a file that is not what was published.
    """
    ((file, _),) = dataset.files.items()
    digests: dict[str, JsonValue] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if (name := REDUCED.get(dataset.name)) is not None:
            base = f"{_LEGALBENCH}{{}}/tasks/{name}/"
            urls = [f"{base.format(_QUESTIONS)}test.tsv"]
            urls += [f"{base.format(_SHOWN)}{shown}" for shown in ("train.tsv", "base_prompt.txt")]
            read: Callable[..., Iterable[tuple[int, Question]]] = reduced
        else:
            urls, read = [f"{_ADAPTERS}{INSTRUCTIONS[dataset.name]}/test.json"], instructions
        paths = [Path(scratch) / url.rpartition("/")[2] for url in urls]
        for url, path in zip(urls, paths, strict=True):
            digests[url] = download.get(url, path)
        with arriving(folder / file) as place, place.open("w", encoding="utf-8") as lines:
            found = list(read(*paths))
            for number, question in found:
                lines.write(json.dumps({"id": number, **question}, ensure_ascii=False) + "\n")
            if not found:
                raise DataError(f"{dataset.name}: no question in {urls[0]}; fetch it again")
    return {"sha256 of what was downloaded": digests}


def reduced(test: Path, train: Path, prompt: Path) -> Iterator[tuple[int, Question]]:
    """Questions of LegalBench: each text once, none that the prompt's examples show.

    Each has the number of its row.
    """
    shown = {_unquoted(row["text"] or "") for row in _table(train, "text")}
    shots = _unquoted(prompt.read_text(encoding="utf-8"))
    for number, row in enumerate(legalbench(test)):
        text = _unquoted(str(row["text"]))
        if text.strip() and text not in shown and text not in shots:
            shown.add(text)
            yield number, {"text": text, "answer": row["answer"]}


def _unquoted(text: str) -> str:
    """Without the second of two layers of quoting."""
    return text.replace('""', '"')


def instructions(path: Path) -> Iterator[tuple[int, Question]]:
    """Questions with choices, read from the instructions that they were written into.

    Each has the number of its row; rows whose choices or answer cannot be told are left out.

    Raises:
        DataError: it is no list of instructions.
    """
    try:
        found = json.loads(path.read_bytes())
        texts = [(str(row["instruction"]), str(row["answer"])) for row in found]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: no list of instructions ({described(error)})") from None
    for number, (text, answer) in enumerate(texts):
        question, choices = _asked(text)
        place = _place(answer)
        if question and len(choices) > 1 and all(choices) and place in range(len(choices)):
            yield number, {"question": question, "choices": [*choices], "answer": place}


def _asked(text: str) -> tuple[str, list[str]]:
    """The question, and its choices in their order; none where they cannot be told."""
    if "The options:" in text:  # MathQA; options that are a Python list keep its quotes
        question, _, options = text.partition("The options:")
        choices = [part.strip(" ,") for part in _OPTION.split(options)[1:]]
        return question.strip(), choices if len(choices) == len(_LETTERS) else []
    text = text.partition("Answer format:")[0].partition(": ")[2]
    question, *parts = _CHOICE.split(text)
    numbers, choices = parts[::2], [part.strip() for part in parts[1::2]]
    rising = numbers == [str(number) for number in range(1, len(numbers) + 1)]
    return question.strip(), choices if rising else []


def _place(answer: str) -> int:
    """Which choice an answer names, from 0: `answer2`, `option1`, or a letter; -1 for none."""
    if len(answer) == 1 and answer in _LETTERS:
        return _LETTERS.index(answer)
    number = re.fullmatch(r"(?:answer|option)(\d)", answer)
    return int(number[1]) - 1 if number else -1
