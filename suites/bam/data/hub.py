"""Fetches the public sets from the Hugging Face hub; `harness data prepare` calls it."""

import json
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from harness.data import arriving, library, newest, pinned
from harness.errors import DataError
from harness.rows import Field, Schema
from harness.suite import Dataset
from suites.bam.data.datasets import PUBLIC

_HUB = "hf://datasets/"


class Rows(NamedTuple):
    """Where a set lies on the hub, and which columns are the text of a document."""

    repository: str
    options: Mapping[str, str]
    columns: tuple[str, ...] = ("text",)

    @property
    def hub(self) -> str:
        """The repository on the hub; `repository` is `json` where its files are named."""
        files = self.options.get("data_files", "")
        return "/".join(files.removeprefix(_HUB).split("/")[:2]) if files else self.repository

    def at(self, revision: str) -> dict[str, str]:
        """Options that read one revision."""
        if (named := self.options.get("data_files")) is None:
            return {**self.options, "revision": revision}
        beginning = _HUB + self.hub
        return {**self.options, "data_files": named.replace(beginning, f"{beginning}@{revision}")}


def _files(pattern: str) -> Rows:
    """JSON Lines files of a repository whose own loading script is of no use."""
    return Rows("json", {"data_files": f"{_HUB}{pattern}"})


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


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes the first documents of a set below `folder`, read as a stream.

    Returns:
        The repository, and the revision that was read: the one of the first download, if this is
        not the first, else the newest.

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
    (file,) = text.files
    revision = pinned(folder / file) or newest(source.hub, text.name)
    schema = Schema(tuple(map(Field, source.columns)), advice="choose another revision of the set")
    found = load_dataset(source.repository, split="train", streaming=True, **source.at(revision))
    with arriving(folder / file) as place, place.open("w", encoding="utf-8") as lines:
        for number, row in enumerate(islice(found, text.documents)):
            values = schema.checked(row, f"{source.hub}: row {number + 1}")
            document = {"id": f"{text.name}/{number}", "text": joined(values, source.columns)}
            lines.write(json.dumps(document) + "\n")
    return {"repository": source.hub, "revision": revision}


def joined(row: Mapping[str, Any], columns: tuple[str, ...]) -> str:
    """The columns as one text; questions and answers are named, without calculator marks."""
    if len(columns) == 1:
        return str(row[columns[0]])
    parts = (f"{column.capitalize()}: {row[column]}" for column in columns)
    return re.sub(r"<<.*?>>", "", "\n".join(parts))
