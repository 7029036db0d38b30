"""The tokenizer, the packed token arrays of the four domains, and the order they are read in.

Each document is its tokens after one end-of-text token. Shape suffixes: B sequences, T tokens,
N tokens of a domain, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from safetensors.numpy import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harness.errors import DataError, MethodError
from harness.run import Context
from suites.bam.data import corpora
from suites.bam.data.datasets import DOMAINS, PUBLIC, TEXTS
from suites.bam.model import pretrained
from suites.bam.settings import BamSettings

END_OF_TEXT = "<|endoftext|>"
TOKENIZER = "tokenizer"
"""Folder of the artifact that `AutoTokenizer` loads."""

LONGEST_WORD = 1024
"""Letters, digits, signs or blanks in a row that are merged at most. Longer runs (DNA, base64) are
cut there: the time of training grows with the square of a run's length."""

Tokens = NDArray[np.int32]

_LONGEST_PERIOD = 10_000
_EQUAL = 1e-9
"""Shares of a period that are this near to whole numbers are whole numbers."""


def make(ctx: Context) -> dict[str, JsonValue]:
    """The artifact: a tokenizer, and training and held-out tokens of each domain."""
    choices = [frozenset(t.name for t in texts) for texts in (TEXTS, PUBLIC, ())]
    if frozenset(ctx.datasets) not in choices:
        raise MethodError(
            "tokens are made of all the texts of one kind or of none; see suites.bam.data.datasets"
        )
    folders = {name: ctx.dataset(name) for name in ctx.datasets}
    settings = ctx.settings(BamSettings)
    parts = {}
    for domain in DOMAINS:
        documents = corpora.take(corpora.read(domain, folders), settings.characters)
        if not corpora.chosen(domain, folders):
            texts = (document.text for document in documents)
            ctx.texts(f"installed text: {domain}", f"{len(documents)} documents", texts)
        parts[domain] = corpora.split(domain, documents, settings.held_out)
    if settings.vocabulary is None:
        file = pretrained.checked(ctx)
        found = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        found.save_pretrained(ctx.out / TOKENIZER)
    else:
        read = (document.text for part in parts.values() for document in part.train)
        train(read, settings.vocabulary).save_pretrained(ctx.out / TOKENIZER)
    tokenizer = load_tokenizer(ctx.out)
    arrays: dict[str, Tokens] = {}
    info: dict[str, JsonValue] = {}
    for domain, part in parts.items():
        arrays[f"train-{domain}"] = encode(tokenizer, [d.text for d in part.train])
        arrays[f"held-out-{domain}"] = encode(tokenizer, [d.text for d in part.held_out])
        info[domain] = {
            "documents": len(part.train),
            "held-out documents": len(part.held_out),
            "tokens": len(arrays[f"train-{domain}"]),
            "held-out tokens": len(arrays[f"held-out-{domain}"]),
        }
    save_file(arrays, ctx.out / "tokens.safetensors")
    return {"source": "data folder" if folders else "built-in", "domains": info}


def train(texts: Iterator[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE: any text encodes, and decodes to itself; linear in the texts' length."""
    tokenizer = Tokenizer(models.BPE())
    runs = "|".join(
        rf"{kind}{{{LONGEST_WORD}}}" for kind in (r"\p{L}", r"\p{N}", r"[^\s\p{L}\p{N}]", r"\s")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(runs), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of an artifact folder."""
    found = AutoTokenizer.from_pretrained(folder / TOKENIZER, local_files_only=True)
    return cast(PreTrainedTokenizerFast, found)


def end_of_text(tokenizer: PreTrainedTokenizerFast) -> int:
    """The token that begins every document."""
    return int(tokenizer.vocab[END_OF_TEXT])


def load(folder: Path, part: str) -> dict[str, Tokens]:
    """The tokens of each domain; `part` is `train` or `held-out`."""
    arrays: dict[str, Tokens] = load_file(folder / "tokens.safetensors")
    return {domain: arrays[f"{part}-{domain}"] for domain in DOMAINS}


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tokens:
    """All texts in one array, an end-of-text token before each.

    The names of special tokens in a text are text, as its other words are.
    """
    end = end_of_text(tokenizer)
    fast: Any = tokenizer.backend_tokenizer
    usual = fast.encode_special_tokens
    fast.encode_special_tokens = True
    rows: list[int] = []
    try:
        for start in range(0, len(texts), 256):
            for encoding in fast.encode_batch_fast(
                list(texts[start : start + 256]), add_special_tokens=False
            ):
                rows.append(end)
                rows += encoding.ids
    finally:
        fast.encode_special_tokens = usual
    return np.array(rows, dtype=np.int32)


def byte_lengths(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """How many bytes of text each token of a byte-level vocabulary stands for, in a (V,) tensor.

    In such a vocabulary every character of a token's name is one byte; special tokens are none.
    """
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_tokens)
    return torch.tensor([0 if name in special else len(name) for name in names])


def _shares(weights: Mapping[str, float]) -> tuple[dict[str, float], int]:
    """Weights that sum to 1, and the fewest sequences that hold whole numbers of each.

    Shares that need more than `_LONGEST_PERIOD` are rounded to whole parts of it.
    """
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    share_K = np.array(list(shares.values()))
    counts_PK = np.arange(1, _LONGEST_PERIOD + 1)[:, None] * share_K
    fits_P = (abs(counts_PK - counts_PK.round()) < _EQUAL).all(axis=1)
    if fits_P.any():
        return shares, int(fits_P.argmax()) + 1
    # The largest remainders are rounded up, so that the parts are a whole again.
    count_K = np.floor(counts_PK[-1]).astype(int)
    behind_K = np.argsort(count_K - counts_PK[-1], kind="stable")
    count_K[behind_K[: _LONGEST_PERIOD - count_K.sum()]] += 1
    return dict(zip(shares, (count_K / _LONGEST_PERIOD).tolist(), strict=True)), _LONGEST_PERIOD


class Stream:
    """Sequences from several domains in fixed shares, each sequence once before any comes again.

    Which sequence is the n-th follows from the generator's seed and n alone, so that a resumed
    training reads on where it stopped.
    """

    def __init__(
        self,
        domains: Mapping[str, Tokens],
        weights: Mapping[str, float],
        context: int,
        generator: np.random.Generator,
    ) -> None:
        """Cuts each domain into sequences of `context` tokens, in an order of its own.

        Raises:
            DataError: a weighted domain is shorter than one sequence.
        """
        self.context = context
        self._domains = domains
        self._shares, self._period = _shares(weights)
        self._seeds = {name: int(generator.integers(2**63)) for name in sorted(domains)}
        self._orders: dict[tuple[str, int], NDArray[np.int64]] = {}
        for name in weights:
            if len(domains[name]) < context:
                raise DataError(
                    f"domain {name} has {len(domains[name])} training tokens, fewer than one "
                    f"sequence of {context}; give it more documents"
                )

    def batch(self, first: int, count: int) -> Tensor:
        """Sequences `first` to `first + count - 1` as a (B, T) tensor of token ids."""
        rows = [self._sequence(*place) for place in self._places(first, count)]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _places(self, first: int, count: int) -> list[tuple[str, int]]:
        """Domain and index within it: every prefix holds each share to within one sequence.

        The next sequence is of the domain that is furthest behind. After each period none is behind
        or ahead, so that counting begins at the last one.
        """
        places = []
        start = first // self._period * self._period
        taken = {name: round(share * start) for name, share in self._shares.items()}
        for n in range(start, first + count):
            name = max(self._shares, key=lambda k: self._shares[k] * (n + 1) - taken[k])
            if n >= first:
                places.append((name, taken[name]))
            taken[name] += 1
        return places

    def _sequence(self, name: str, index: int) -> Tokens:
        sequences = len(self._domains[name]) // self.context
        epoch, place = divmod(index, sequences)
        if (name, epoch) not in self._orders:
            rng = np.random.default_rng((self._seeds[name], epoch))
            self._orders[name, epoch] = rng.permutation(sequences)
        start = int(self._orders[name, epoch][place]) * self.context
        return self._domains[name][start : start + self.context]
