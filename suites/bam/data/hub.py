"""Fetches the public sets from the Hugging Face hub; `harness data prepare` calls it."""

import json
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from harness.data import arriving, library
from harness.errors import DataError
from harness.suite import Dataset
from suites.bam.data.datasets import PUBLIC


class Rows(NamedTuple):
    """Where a set lies on the hub, and which columns are the text of a document."""

    repository: str
    options: Mapping[str, str]
    columns: tuple[str, ...] = ("text",)


def _files(pattern: str) -> Rows:
    """JSON Lines files of a repository whose own loading script is of no use."""
    return Rows("json", {"data_files": f"hf://datasets/{pattern}"})


ROWS: Mapping[str, Rows] = {
    "common-crawl": Rows("allenai/c4", {"name": "en"}),
    "starcoder-python": Rows("bigcode/starcoderdata", {"data_dir": "python"}, ("content",)),
    "pile-of-law-opinions": _files(
        "pile-of-law/pile-of-law/data/train.courtlisteneropinions.*.jsonl.xz"
    ),
    "pile-of-law-contracts": _files(
        "pile-of-law/pile-of-law/data/train.atticus_contracts.*.jsonl.xz"
    ),
    "algebraic-stack": _files("EleutherAI/proof-pile-2/algebraic-stack/train/*.jsonl.zst"),
    "open-web-math": _files("EleutherAI/proof-pile-2/open-web-math/train/*.jsonl.zst"),
    "gsm8k-hub": Rows("openai/gsm8k", {"name": "main"}, ("question", "answer")),
}


def fetch(dataset: Dataset, folder: Path) -> None:
    """Writes the first documents of a set below `folder`, read as a stream.

    Raises:
        DataError: the set is not one of the public ones, or a package that reads it is missing.
    """
    text = next((text for text in PUBLIC if text.name == dataset.name), None)
    if text is None:
        raise DataError(f"{dataset.name}: not on the hub; {dataset.source} has it")
    source = ROWS[text.name]
    load_dataset = library("datasets", text.name).load_dataset
    if "zst" in source.options.get("data_files", ""):
        library("zstandard", text.name)
    rows = load_dataset(source.repository, split="train", streaming=True, **source.options)
    (file,) = text.files
    with arriving(folder / file) as place, place.open("w", encoding="utf-8") as lines:
        for number, row in enumerate(islice(rows, text.documents)):
            document = {"id": f"{text.name}/{number}", "text": joined(row, source.columns)}
            lines.write(json.dumps(document) + "\n")


def joined(row: Mapping[str, Any], columns: tuple[str, ...]) -> str:
    """The columns as one text; questions and answers are named, without calculator marks."""
    if len(columns) == 1:
        return str(row[columns[0]])
    parts = (f"{column.capitalize()}: {row[column]}" for column in columns)
    return re.sub(r"<<.*?>>", "", "\n".join(parts))
