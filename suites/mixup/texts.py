"""Texts with labels: read from files, checked, sub-sampled, tokenised and put into batches.

Shape legend: N examples, B examples of a batch, T tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness import rows
from harness.errors import DataError, MethodError, SpecError
from harness.rows import Field, Row, Schema
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
        DataError: the file cannot be read, is shorter than published, lacks a column or a label,
            has a label that the corpus does not know, or no example of a class.
    """
    headed = isinstance(file.label, str)
    found = _rows(path, file, corpus)
    if len(found) < file.rows:
        raise DataError(
            f"{path}: {len(found):,} examples, {file.rows:,} were published, so it is cut off; "
            "replace the file by the original"
        )
    kept = [row.values for row in found if _kept(row.line - headed, file)]
    label, first, second = (_named(file, part) for part in ("label", "first", "second"))
    texts = Texts(
        corpus.name,
        tuple(row[first] for row in kept),
        None if file.second is None else tuple(row[second] for row in kept),
        tuple(
            float(corpus.classes.index(row[label]) if corpus.classes else row[label])
            for row in kept
        ),
        corpus.classes,
    )
    check(texts)
    for number, name in enumerate(corpus.classes):
        if number not in texts.labels:
            raise DataError(
                f"{path}: no example of class {name!r}; replace the file by the original"
            )
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
    second: "Examples | None" = None
    """The other texts of pairs that are encoded apart; None: both are in `ids`."""

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
            None if self.second is None else self.second.subset(indices),
        )

    def standardised(self) -> tuple["Examples", "Standard"]:
        """Scores with mean 0 and standard deviation 1 over these examples; what undoes it.

        Left as they are, scores of 0 to 5 make most updates of a short training shift the mean.
        Equal scores stay equal: they are divided by 1.
        """
        scores_N = self.labels_N.double()
        spread = float(scores_N.std(correction=0))
        standard = Standard(float(scores_N.mean()), spread if spread > 0 else 1.0)
        labels_N = ((scores_N - standard.mean) / standard.spread).to(self.labels_N.dtype)
        return replace(self, labels_N=labels_N), standard

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
        """Those examples, padded to the longest of them.

        Of pairs that are encoded apart the second texts follow the first ones: 2B rows, B labels.
        """
        sides = (self,) if self.second is None else (self, self.second)
        texts = [(side, index) for side in sides for index in indices]
        longest = max(len(side.ids[index]) for side, index in texts)
        ids_BT = torch.full((len(texts), longest), self.padding)
        mask_BT = torch.zeros_like(ids_BT)
        types_BT = None if self.types is None else torch.zeros_like(ids_BT)
        for row, (side, index) in enumerate(texts):
            length = len(side.ids[index])
            ids_BT[row, :length] = torch.tensor(side.ids[index])
            mask_BT[row, :length] = 1
            if types_BT is not None and side.types is not None:
                types_BT[row, :length] = torch.tensor(side.types[index])
        return Batch(ids_BT, mask_BT, types_BT, self.labels_N[torch.as_tensor(indices)])


class Standard(NamedTuple):
    """How the scores of a regression were standardised."""

    mean: float
    spread: float

    def undo(self, scores_N: NDArray[Any]) -> NDArray[Any]:
        """Predicted scores in the unit of the labels."""
        found: NDArray[Any] = scores_N * self.spread + self.mean
        return found


def tokenise(texts: Texts, encoder: Pretrained, tokens: int, *, apart: bool = False) -> Examples:
    """Texts as token ids, cut at `tokens`; both texts of a pair in one sequence, or `apart`.

    Without a padding token batches are filled with token 0, which attention masks hide.

    Raises:
        MethodError: a text has no token, the encoder does not know one, or reads fewer than
            `tokens`; two texts are not told apart.
    """
    if apart and texts.second is not None:
        one, other = (
            tokenise(replace(texts, first=side, second=None), encoder, tokens)
            for side in (texts.first, texts.second)
        )
        return replace(one, second=other)
    second = None if texts.second is None else list(texts.second)
    found = encoder.tokenizer(list(texts.first), second, max_length=tokens, truncation=True)
    types = found.get("token_type_ids")
    labels_N = torch.tensor(texts.labels, dtype=torch.long if texts.classes else torch.float32)
    padding = getattr(encoder.tokenizer, "pad_token_id", None) or 0
    _fit(texts, encoder, tokens, found["input_ids"])
    return Examples(
        tuple(map(tuple, found["input_ids"])),
        None if types is None else tuple(map(tuple, types)),
        labels_N,
        len(texts.classes),
        int(padding),
    )


def _fit(texts: Texts, encoder: Pretrained, tokens: int, ids: list[list[int]]) -> None:
    """Compares what a tokenizer gives with what the encoder reads."""
    name = type(encoder.model).__name__
    for number, own in enumerate(ids, 1):
        if not own:
            raise MethodError(
                f"{texts.name}: text {number} has no token, and {name}'s tokenizer adds none; "
                "leave it out, or choose another encoder"
            )
    table = getattr(encoder.model, "get_input_embeddings", lambda: None)()
    known = getattr(table, "num_embeddings", math.inf)
    if (highest := max(map(max, ids))) >= known:
        raise MethodError(
            f"{name} knows tokens 0 to {known - 1}, its tokenizer gives {highest}; take the "
            "tokenizer that belongs to it"
        )
    config = getattr(encoder.model, "config", None)
    said = (
        getattr(config, "max_position_embeddings", None),
        getattr(encoder.tokenizer, "model_max_length", None),
    )
    limit = min((places for places in said if places and places > 0), default=math.inf)
    if max(map(len, ids)) > limit:
        raise MethodError(
            f"{name} reads {limit} tokens, texts of {tokens} are wanted; set `tokens` to {limit} "
            "at most"
        )
    apart = getattr(encoder.tokenizer, "num_special_tokens_to_add", None)
    if texts.second is not None and apart is not None and apart(pair=True) == 0:
        raise MethodError(
            f"{name}'s tokenizer puts no token between two texts; choose another encoder for pairs"
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


def schema(file: File, corpus: Corpus) -> Schema:
    """What the rows of a file hold."""
    label = Field(_named(file, "label"), "number", _place(file.label), low=0, high=corpus.top)
    if corpus.classes:
        label = Field(label.name, "text", label.column, corpus.classes)
    fields = [label]
    for part, column in (("first", file.first), ("second", file.second)):
        if column is not None:
            fields.append(Field(_named(file, part), "text", _place(column)))
    numbers = [field.column for field in fields if field.column is not None]
    return Schema(tuple(fields), 1 + max(numbers) if numbers else None)


def _named(file: File, part: str) -> str:
    """The name of a column, by what it is in files without header."""
    column = getattr(file, part)
    return column if isinstance(column, str) else part


def _place(column: str | int | None) -> int | None:
    return column if isinstance(column, int) else None


def _rows(path: Path, file: File, corpus: Corpus) -> list[Row]:
    wanted = schema(file, corpus)
    if file.layout == "tabs":
        return rows.read(path, wanted, "tsv")
    found = []
    for number, line in rows.lines(path):
        label, _, text = line.partition(" ")  # `COARSE:fine question` of TREC
        values = {"label": label.partition(":")[0], "first": text}
        found.append(Row(number, wanted.checked(values, f"{path}:{number}")))
    return found


def _kept(number: int, file: File) -> bool:
    return file.part == "all" or (number % 2 == 1) == (file.part == "odd")


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
