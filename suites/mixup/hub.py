"""Fetches GLUE sets from the Hugging Face hub; `harness data prepare` calls it."""

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from harness.data import arriving, library, newest, pinned
from harness.errors import DataError
from harness.rows import Field, Schema
from harness.suite import Dataset
from suites.mixup.datasets import CORPORA, File

REPOSITORY = "nyu-mll/glue"
_COLUMNS = {
    "gold_label": "label",
    "is_duplicate": "label",
    "sentence1": "premise",
    "sentence2": "hypothesis",
}
"""Names of columns on the hub, where they differ from those of the files of `fetch` sets."""
_DEV = {"mnli": "validation_matched"}


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes a set's files below `folder`, as GLUE's tab-separated files have them.

    Returns:
        The repository, and the revision that was read: the one of the first download, if this is
        not the first, else the newest.

    Raises:
        DataError: the set is not on the hub, or the package `datasets` is missing.
    """
    corpus = CORPORA[dataset.name]
    if corpus.train is None or corpus.dev is None or not corpus.fetch:
        raise DataError(f"{corpus.name}: not on the hub; {corpus.source} has it")
    load_dataset = library("datasets", corpus.name).load_dataset
    parts = ((corpus.train, "train"), (corpus.dev, _DEV.get(corpus.name, "validation")))
    revision = pinned(folder / corpus.train.path) or newest(REPOSITORY, corpus.name)
    for file, split in parts:
        rows = load_dataset(REPOSITORY, corpus.name, split=split, revision=revision)
        write(folder / file.path, file, corpus.classes, rows)
    return {"repository": REPOSITORY, "revision": revision}


def write(path: Path, file: File, classes: tuple[str, ...], found: Any) -> None:
    """Rows of the hub as a file with a header; takes its place only once it is whole.

    Raises:
        DataError: a row without label, or with one that is no class, as unlabelled test splits have
            them; a text that is none.
    """
    columns = [str(c) for c in (file.first, file.second, file.label) if c is not None]
    *texts, label = (_COLUMNS.get(column, column) for column in columns)
    schema = Schema(
        (
            *(Field(name) for name in texts),
            Field(label, "integer", low=0, high=len(classes) - 1),
        ),
        advice="choose a split of the hub whose rows are labelled",
    )
    with arriving(path) as place, place.open("w", encoding="utf-8", newline="") as lines:
        lines.write("\t".join(columns) + "\n")
        for number, row in enumerate(found, 1):
            values = schema.checked(row, f"{REPOSITORY}, {path.name}: row {number}")
            cells = [" ".join(values[name].split()) for name in texts]
            lines.write("\t".join([*cells, classes[values[label]]]) + "\n")
