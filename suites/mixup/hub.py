"""Fetches sets that take more than a download; `harness data prepare` calls it.

GLUE sets come from the Hugging Face hub, as GLUE's tab-separated files have them; pools are the
union of five published draws of 16 examples per class.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from harness import download
from harness.data import arriving, library, newest, pinned
from harness.errors import DataError
from harness.rows import Field, Schema
from harness.suite import Dataset
from suites.mixup.datasets import CORPORA, QNLI_DEV, SAMPLES, File, url

REPOSITORY = "nyu-mll/glue"
DRAWS = ("13", "21", "42", "87", "100")
"""Names of the draws that a pool is the union of, in that order."""
_COLUMNS = {
    "gold_label": "label",
    "is_duplicate": "label",
    "sentence1": "premise",
    "sentence2": "hypothesis",
}
"""Names of columns on the hub, where they differ from those of the files of `fetch` sets."""
_DEV = {"mnli": "validation_matched"}


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes a set's files below `folder`.

    Returns:
        The repository, and the revision that was read: the one of the first download, if this is
        not the first, else the newest. Of pools, where their draws lie.

    Raises:
        DataError: offline, not the file that was expected, or the package `datasets` is missing.
    """
    corpus = CORPORA[dataset.name]
    if not corpus.fetch:
        raise DataError(f"{corpus.name}: not on the hub; {corpus.source} has it")
    facts: dict[str, JsonValue] = {}
    revision = ""
    for file, split in ((corpus.train, "train"), (corpus.dev, _DEV.get(corpus.name, "validation"))):
        if file is None:
            continue
        # One path, one file: the development examples of the pool are those of the whole set.
        known = QNLI_DEV if file.path == QNLI_DEV.path else file
        if file.path.endswith("/pool.tsv"):
            _write_pool(folder / file.path)
            facts = {"draws": SAMPLES}
        elif address := url(known):
            download.get(address, folder / file.path, known.sha256)
        else:
            load_dataset = library("datasets", corpus.name).load_dataset
            revision = revision or pinned(folder / file.path) or newest(REPOSITORY, corpus.name)
            found = load_dataset(REPOSITORY, corpus.name, split=split, revision=revision)
            write(folder / file.path, file, corpus.classes, found)
            facts = {"repository": REPOSITORY, "revision": revision}
    return facts


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


def _write_pool(path: Path) -> None:
    """Downloads the draws of a set, and writes the distinct pairs among them."""
    name = path.parent.name
    files = ("train.tsv", "dev_matched.tsv" if name == "MNLI" else "dev.tsv")
    with arriving(path) as place, tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        there = []
        for draw in DRAWS:
            for file in files:
                there.append(Path(scratch) / f"{draw}-{file}")
                download.get(SAMPLES.format(set=name, draw=draw, file=file), there[-1])
        place.write_text(pool(there), encoding="utf-8")


def pool(files: list[Path]) -> str:
    """The distinct pairs of some draws, in their order, as one tab-separated text.

    Raises:
        DataError: a file lacks the columns of a pair, or a line is cut.
    """
    pairs: dict[tuple[str, str], str] = {}
    for file in files:
        for first, second, label in _pairs(file):
            pairs.setdefault((first, second), label)
    lines = ("\t".join((*pair, label)) for pair, label in pairs.items())
    return "\n".join(("sentence1\tsentence2\tlabel", *lines)) + "\n"


def _pairs(file: Path) -> Iterator[tuple[str, str, str]]:
    header, *lines = file.read_text(encoding="utf-8").split("\n")
    names = header.split("\t")
    texts = ("question", "sentence") if "question" in names else ("sentence1", "sentence2")
    try:
        places = [names.index(name) for name in texts]
    except ValueError:
        raise DataError(f"{file}: no columns {' and '.join(texts)}; fetch it again") from None
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if line and len(cells) < len(names):
            raise DataError(f"{file}:{number}: {len(cells)} cells, {len(names)} wanted")
        if line:  # SNLI has labels of several annotators before the last, which all agree on
            yield cells[places[0]], cells[places[1]], cells[-1]
