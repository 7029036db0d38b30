"""Texts with labels: read from files, checked, sub-sampled, tokenised and put into batches.

Shape legend: N examples, B examples of a batch, T tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from harness.errors import DataError, SpecError, unknown
from suites.mixup.datasets import Corpus, File
from suites.mixup.encoder import Batch, Pretrained

Sampling = Literal["uniform", "stratified"]


@dataclass(frozen=True)
class Texts:
    """Examples as they stand in a file."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...] | None
    """The other sentence of a pair; None for single sentences."""
    labels: tuple[float, ...]
    """Class numbers as `classes` orders them, or scores."""
    classes: tuple[str, ...]
    """Empty for regression."""

    def __len__(self) -> int:
        return len(self.first)

    def subset(self, indices: Sequence[int]) -> "Texts":
        """Those examples, in that order."""
        return replace(
            self,
            first=tuple(self.first[i] for i in indices),
            second=None if self.second is None else tuple(self.second[i] for i in indices),
            labels=tuple(self.labels[i] for i in indices),
        )


def read(path: Path, file: File, corpus: Corpus) -> Texts:
    """One file of a corpus, every line checked.

    Raises:
        DataError: the file is missing, not UTF-8, empty, lacks a column or a label, has a label
            that the corpus does not know, or has one class only.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError(
            f"{corpus.name}: {path} not found; point --data or HARNESS_DATA at a folder that has it"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{corpus.name}: {path} is not UTF-8 (byte {error.start}); replace it by the original"
        ) from None
    rows = [line.rstrip("\r") for line in lines]
    names = rows[0].split("\t")
    headed = isinstance(file.label, str)
    columns = [_column(path, names, c) for c in (file.first, file.second, file.label)]
    first, second, labels = [], [], []
    for number, row in enumerate(rows[headed:], start=1 + headed):
        if not row or not _kept(number - headed, file):
            continue
        cells = _question(row) if file.layout == "label-first" else row.split("\t")
        needed = max(c for c in columns if c is not None)
        if len(cells) <= needed:
            raise DataError(
                f"{path}:{number}: {len(cells)} columns, at least {needed + 1} wanted; replace the "
                "file by the original"
            )
        text, other, label = (None if c is None else cells[c] for c in columns)
        first.append(text or "")
        second.append(other or "")
        labels.append(_label(path, number, label or "", corpus))
    if not first:
        raise DataError(f"{path}: no examples; replace the file by the original")
    pairs = None if file.second is None else tuple(second)
    texts = Texts(corpus.name, tuple(first), pairs, tuple(labels), corpus.classes)
    check(texts)
    return texts


def check(texts: Texts) -> None:
    """Refuses what nothing can be learnt from.

    Raises:
        DataError: all examples carry one label.
    """
    if len(set(texts.labels)) == 1:
        label = texts.classes[int(texts.labels[0])] if texts.classes else texts.labels[0]
        raise DataError(
            f"{texts.name}: all {len(texts)} examples carry the label {label!r}, at least two "
            "are wanted; use more examples, or stratified sampling"
        )


def subsample(texts: Texts, size: int, sampling: Sampling, rng: np.random.Generator) -> Texts:
    """`size` examples drawn without replacement; 0 keeps all.

    `uniform` follows the released code, `stratified` keeps the shares of the classes as DPS does
    (largest remainders; every class at least once).

    Raises:
        DataError: there are fewer examples, more classes than `size`, or one class only is drawn.
        SpecError: the sampling is unknown, or regression is to be stratified.
    """
    if size == 0:
        return texts
    if not 0 < size <= len(texts):
        raise DataError(
            f"{texts.name}: {size:,} training examples wanted, 1 to {len(texts):,} are there; "
            "choose a task with a smaller n"
        )
    if sampling == "uniform":
        chosen = rng.choice(len(texts), size, replace=False).tolist()
    elif sampling == "stratified" and texts.classes:
        chosen = _stratified(texts, size, rng)
    else:
        raise SpecError(
            f"{texts.name}: sampling {sampling!r} is not possible; there are uniform and, for "
            "classes, stratified"
        )
    drawn = texts.subset(chosen)
    check(drawn)
    return drawn


@dataclass(frozen=True)
class Examples:
    """Tokenised texts, not padded."""

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...] | None
    labels_N: Tensor
    """int64 classes, or float32 scores."""
    classes: int
    """0 for regression."""
    padding: int
    """Token id that fills a batch."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def regression(self) -> bool:
        """Whether labels are scores."""
        return self.classes == 0

    def subset(self, indices: Sequence[int]) -> "Examples":
        """Those examples, in that order."""
        return Examples(
            tuple(self.ids[i] for i in indices),
            None if self.types is None else tuple(self.types[i] for i in indices),
            self.labels_N[torch.as_tensor(indices, dtype=torch.long)],
            self.classes,
            self.padding,
        )

    def split(self, share: float, generator: torch.Generator) -> tuple["Examples", "Examples"]:
        """A random share and the rest, uniformly, as the released code splits.

        Raises:
            DataError: one of the two would be empty.
        """
        size = int(share * len(self))
        if not 0 < size < len(self):
            raise DataError(
                f"{len(self)} training examples cannot be split {share:.0%} to {1 - share:.0%}; "
                "choose a task with a larger n"
            )
        order = torch.randperm(len(self), generator=generator).tolist()
        return self.subset(order[:size]), self.subset(order[size:])

    def batch(self, indices: Sequence[int]) -> Batch:
        """Those examples, padded to the longest of them."""
        longest = max(len(self.ids[i]) for i in indices)
        ids_BT = torch.full((len(indices), longest), self.padding)
        mask_BT = torch.zeros_like(ids_BT)
        types_BT = None if self.types is None else torch.zeros_like(ids_BT)
        for row, index in enumerate(indices):
            length = len(self.ids[index])
            ids_BT[row, :length] = torch.tensor(self.ids[index])
            mask_BT[row, :length] = 1
            if types_BT is not None and self.types is not None:
                types_BT[row, :length] = torch.tensor(self.types[index])
        return Batch(ids_BT, mask_BT, types_BT, self.labels_N[torch.as_tensor(indices)])


def tokenise(texts: Texts, encoder: Pretrained, tokens: int) -> Examples:
    """Texts as token ids, cut at `tokens`."""
    second = None if texts.second is None else list(texts.second)
    found = encoder.tokenizer(list(texts.first), second, max_length=tokens, truncation=True)
    types = found.get("token_type_ids")
    labels_N = torch.tensor(texts.labels, dtype=torch.long if texts.classes else torch.float32)
    padding: Any = encoder.tokenizer.pad_token_id  # type: ignore[attr-defined]
    return Examples(
        tuple(map(tuple, found["input_ids"])),
        None if types is None else tuple(map(tuple, types)),
        labels_N,
        len(texts.classes),
        int(padding),
    )


class Batches:
    """The batches of a training run by step: `batches[step]` needs no step before it.

    Each epoch is a permutation of its own. Runs of `bucket` batches are sorted by length before
    they are cut, so that a batch holds texts of like length and little padding, and the order of
    the batches is shuffled again: on short texts that halves the time of a step.
    """

    def __init__(self, data: Examples, size: int, seed: int, bucket: int = 8) -> None:
        self.data = data
        self.size = size
        self.seed = seed
        self.bucket = bucket
        self._epoch = -1
        self._batches: list[list[int]] = []

    def __len__(self) -> int:
        """Batches of one epoch; the last one may be smaller."""
        return math.ceil(len(self.data) / self.size)

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(step, len(self))
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._order(epoch)
        return self.data.batch(self._batches[place])

    def _order(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.data)).tolist()
        span = self.bucket * self.size
        batches = []
        for start in range(0, len(order), span):
            window = sorted(order[start : start + span], key=lambda i: len(self.data.ids[i]))
            batches += [window[i : i + self.size] for i in range(0, len(window), self.size)]
        return [batches[i] for i in rng.permutation(len(batches))]


def _column(path: Path, names: list[str], column: str | int | None) -> int | None:
    if column is None or isinstance(column, int):
        return column
    if column not in names:
        raise DataError(
            f"{path}:1: {unknown('column', column, names)}; labelled files have it, replace the "
            "file by the original"
        )
    return names.index(column)


def _kept(number: int, file: File) -> bool:
    return file.part == "all" or (number % 2 == 1) == (file.part == "odd")


def _question(row: str) -> list[str]:
    """`COARSE:fine question` of TREC as label and text."""
    label, _, text = row.partition(" ")
    return [label.partition(":")[0], text] if text else [row]


def _label(path: Path, number: int, value: str, corpus: Corpus) -> float:
    if corpus.classes:
        if value.lower() in corpus.classes:
            return float(corpus.classes.index(value.lower()))
        allowed = ", ".join(corpus.classes)
    else:
        try:
            score = float(value)
        except ValueError:
            score = math.nan
        if 0 <= score <= corpus.top:
            return score
        allowed = f"0 to {corpus.top:g}"
    what = f"label {value!r} is unknown" if value else "the label is missing"
    raise DataError(
        f"{path}:{number}: {what}, allowed: {allowed}; fix the line or replace the file"
    )


def _stratified(texts: Texts, size: int, rng: np.random.Generator) -> list[int]:
    labels = np.array(texts.labels)
    found, counts = np.unique(labels, return_counts=True)
    if size < len(found):
        raise DataError(
            f"{texts.name}: {size} examples cannot hold {len(found)} classes; choose a larger n"
        )
    exact = size * counts / len(labels)
    shares = np.maximum(np.floor(exact).astype(int), 1)
    by_remainder = np.argsort(-(exact - np.floor(exact)), kind="stable")
    turn = 0
    while shares.sum() != size:  # each turn moves one example towards the sum
        place = by_remainder[turn % len(found)]
        if shares.sum() < size:
            shares[place] += shares[place] < counts[place]
        else:
            shares[shares.argmax()] -= 1
        turn += 1
    chosen = [
        rng.choice(np.flatnonzero(labels == label), share, replace=False)
        for label, share in zip(found, shares, strict=True)
    ]
    return [int(i) for i in rng.permutation(np.concatenate(chosen))]
