"""Fetches GSM8K from its repository: the questions, the examples of prompts, the training text."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue

from harness import download, rows
from harness.data import arriving
from harness.rows import Field, Schema
from harness.suite import Dataset
from suites.bam.data.hub import joined

COMMIT = "3101c7d5072418e28b9008a6636bde82a006892c"
ADDRESS = f"https://github.com/openai/grade-school-math/raw/{COMMIT}/grade_school_math/data/"
EXAMPLES = 8
"""Problems of the training split that prompts show."""
_PROBLEM = Schema((Field("question"), Field("answer")))


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes the files of the benchmark `gsm8k` or of the text `gsm8k-train` below `folder`.

    Raises:
        DataError: offline, or not the file that was expected.
    """
    with tempfile.TemporaryDirectory() as scratch:
        train = Path(scratch) / "train.jsonl"
        download.get(f"{ADDRESS}train.jsonl", train)
        for file, sha256 in dataset.files.items():
            if file.endswith("/test.jsonl"):
                download.get(f"{ADDRESS}test.jsonl", folder / file, sha256)
                continue
            whole = file.endswith("/train.jsonl")
            with arriving(folder / file) as place, place.open("w", encoding="utf-8") as lines:
                lines.writelines(documents(train) if whole else examples(train))
    return {"repository": "openai/grade-school-math", "revision": COMMIT}


def documents(train: Path) -> Iterator[str]:
    """Each problem with its answer as one text, without calculator marks."""
    for number, row in enumerate(rows.stream(train, _PROBLEM)):
        text = joined(row.values, ("question", "answer"))
        yield json.dumps({"id": f"gsm8k/train/{number}", "text": text}, ensure_ascii=False) + "\n"


def examples(train: Path) -> Iterable[str]:
    """The first problems as they stand."""
    with train.open(encoding="utf-8") as lines:
        return [line for line, _ in zip(lines, range(EXAMPLES), strict=False)]
