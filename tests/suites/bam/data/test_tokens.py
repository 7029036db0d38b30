"""The tokenizer, the arrays and the order of sequences."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harness.errors import DataError, MethodError
from suites.bam.data import tokens
from suites.bam.data.datasets import DOMAINS
from suites.bam.data.tokens import END_OF_TEXT, Stream


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    texts = ["to be or not to be, that is the question", "der Fluß fließt über naïve Steine"] * 5
    return tokens.train(iter(texts), 300)


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_comes_back_and_its_bytes_are_counted(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    ids = tokens.encode(tokenizer, [text])
    assert tokenizer.decode(ids[1:]) == text
    lengths_V = tokens.byte_lengths(tokenizer)
    assert int(lengths_V[ids].sum()) == len(text.encode())


def test_the_vocabulary_has_the_asked_size_and_merges_what_is_frequent(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert len(tokenizer) == 300
    assert len(tokens.encode(tokenizer, ["to be"])) < 1 + len("to be")


def test_every_document_begins_with_one_end_of_text(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokens.encode(tokenizer, ["to be", "", "question"])
    end = tokens.end_of_text(tokenizer)
    assert np.flatnonzero(ids == end).tolist()[:2] == [0, len(tokens.encode(tokenizer, ["to be"]))]
    assert int((ids == end).sum()) == 3
    assert ids.dtype == np.int32


def test_special_tokens_in_a_text_are_text(tokenizer: PreTrainedTokenizerFast) -> None:
    documents = [f"a {END_OF_TEXT} b", END_OF_TEXT, "plain"]
    ids = tokens.encode(tokenizer, documents)
    starts = np.flatnonzero(ids == tokens.end_of_text(tokenizer)).tolist()
    assert len(starts) == 3
    for start, stop, text in zip(starts, [*starts[1:], len(ids)], documents, strict=True):
        assert tokenizer.decode(ids[start + 1 : stop]) == text
    lengths_V = tokens.byte_lengths(tokenizer)
    assert int(lengths_V[ids].sum()) == sum(len(text) for text in documents)
    assert tokenizer.encode(END_OF_TEXT) == [tokens.end_of_text(tokenizer)]  # as it was before


def bases(length: int) -> str:
    """A run of letters without a pattern, as of DNA."""
    return "".join(np.random.default_rng(length).choice(list("ACGT"), length))


def test_long_runs_are_cut_where_it_is_said_and_short_ones_are_not() -> None:
    longest = tokens.LONGEST_WORD
    made = tokens.train(iter(["x" * longest * 20, bases(3 * longest)]), 300)
    for run in (
        bases(3 * longest),
        "x" * (longest * 3 + 7),
        " " * (longest + 1),
        "1" * longest,
        "é" * longest,
    ):
        assert made.decode(tokens.encode(made, [run])[1:]) == run
    pieces = made.backend_tokenizer.pre_tokenizer.pre_tokenize_str(f"a {'x' * (2 * longest + 5)}!")
    assert [len(piece) for piece, _ in pieces] == [1, 1, longest, longest, 5, 1]


@pytest.mark.slow
def test_training_is_linear_in_the_longest_run() -> None:
    def seconds(length: int) -> float:
        text = bases(length)
        start = time.process_time()
        tokens.train(iter([text]), 300)
        return time.process_time() - start

    seconds(10_000)
    assert seconds(400_000) < 12 * max(seconds(100_000), 0.05)  # 16 times if it were quadratic


def test_the_folder_loads_with_the_auto_class(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path / tokens.TOKENIZER)
    again = AutoTokenizer.from_pretrained(tmp_path / tokens.TOKENIZER)
    assert again("to be or not")["input_ids"] == tokenizer("to be or not")["input_ids"]
    assert tokens.load_tokenizer(tmp_path).eos_token == END_OF_TEXT


def _stream(weights: dict[str, float], seed: int = 0, context: int = 4, size: int = 40) -> Stream:
    domains = {
        name: np.arange(size, dtype=np.int32) + 1000 * number
        for number, name in enumerate(("a", "b", "c"))
    }
    return Stream(domains, weights, context, np.random.default_rng(seed))


@settings(max_examples=100, deadline=None)
@given(
    shares=st.tuples(*[st.integers(1, 20)] * 3),
    count=st.integers(1, 200),
)
def test_every_prefix_holds_the_shares_to_within_one_sequence(
    shares: tuple[int, int, int], count: int
) -> None:
    batch = _stream(dict(zip("abc", map(float, shares), strict=True))).batch(0, count)
    found = Counter((batch[:, 0] // 1000).tolist())
    for number, share in enumerate(shares):
        assert abs(found[number] - count * share / sum(shares)) < 2


def _loop(weights: dict[str, float], first: int, count: int) -> list[tuple[str, int]]:
    """Counted from the first sequence on."""
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    places, taken = [], dict.fromkeys(shares, 0)
    for n in range(first + count):
        name = max(shares, key=lambda k: shares[k] * (n + 1) - taken[k])
        places.append((name, taken[name]))
        taken[name] += 1
    return places[first:]


@settings(max_examples=60, deadline=None)
@given(
    shares=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    unit=st.sampled_from([1.0, 0.1, 0.01, 1 / 3]),
    first=st.integers(0, 5000),
)
def test_places_are_those_of_counting_from_the_start(
    shares: list[int], unit: float, first: int
) -> None:
    weights = dict(zip("abc", (share * unit for share in shares), strict=False))
    assert _stream(weights)._places(first, 40) == _loop(weights, first, 40)


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 0.7, "b": 0.1, "c": 0.2},
        {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3},
        {"a": 0.25, "b": 0.25, "c": 0.5},
    ],
)
def test_places_of_the_usual_shares(weights: dict[str, float]) -> None:
    expected = _loop(weights, 0, 20_000)
    stream = _stream(weights)
    found = [place for first in range(0, 20_000, 8) for place in stream._places(first, 8)]
    assert found == expected


def test_the_work_of_a_batch_does_not_grow_with_its_number() -> None:
    for weights in ({"a": 0.7, "b": 0.1, "c": 0.2}, {"a": 0.5**0.5, "b": 0.1, "c": 0.5}):
        stream = _stream(weights)
        compared = []
        stream._shares = _Counted(stream._shares, compared)
        costs = []
        for first in (0, 10**6, 10**12):
            compared.clear()
            places = stream._places(first + 3, 8)
            costs.append(len(compared))
            share = sum(weights.values())
            for name, index in places:
                assert abs(index - first * weights[name] / share) < 12 + first * 1e-4
        assert max(costs) <= 3 * (stream._period + 8) + 10


class _Counted(dict[str, float]):
    """Shares that note when they are read."""

    def __init__(self, shares: dict[str, float], reads: list[str]) -> None:
        super().__init__(shares)
        self._reads = reads

    def __getitem__(self, name: str) -> float:
        self._reads.append(name)
        return super().__getitem__(name)


def test_every_sequence_comes_once_before_any_comes_again() -> None:
    stream = _stream({"a": 1.0})
    epochs = [stream.batch(first, 10) for first in (0, 10)]
    for batch in epochs:
        assert sorted(batch[:, 0].tolist()) == list(range(0, 40, 4))
        assert (batch[:, 1:] - batch[:, :-1] == 1).all()
    assert epochs[0].tolist() != epochs[1].tolist()


def test_a_resumed_stream_reads_on_where_it_stopped() -> None:
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    whole = _stream(weights).batch(0, 60)
    stream = _stream(weights)
    assert stream.batch(37, 23).tolist() == whole[37:].tolist()
    assert _stream(weights, seed=1).batch(0, 60).tolist() != whole.tolist()


def test_a_domain_shorter_than_a_sequence_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="domain b has 3 training tokens, fewer than one sequence"):
        Stream(
            {"a": np.arange(9, dtype=np.int32), "b": np.arange(3, dtype=np.int32)},
            {"a": 1.0, "b": 1.0},
            4,
            np.random.default_rng(0),
        )


def test_the_artifact_keeps_training_and_held_out_documents_apart(workshop: Any) -> None:
    ctx = workshop.artifact("seed")
    folder = ctx.artifact("tokens")
    assert {f"installed text: {domain}" for domain in DOMAINS} == set(ctx.contents)
    train, held_out = (tokens.load(folder, part) for part in ("train", "held-out"))
    tokenizer = tokens.load_tokenizer(folder)
    end = tokens.end_of_text(tokenizer)
    assert tuple(train) == tuple(held_out) == DOMAINS
    for domain in DOMAINS:
        sides = [
            {bytes(part) for part in np.split(ids, np.flatnonzero(ids == end))[1:]}
            for ids in (train[domain], held_out[domain])
        ]
        assert all(sides)
        assert not sides[0] & sides[1]
    info = json.loads((folder / "artifact.json").read_text())
    assert "built-in" in json.dumps(info)


def test_tokens_of_some_texts_alone_are_refused(workshop: Any) -> None:
    ctx = workshop.artifact("tokens")
    ctx.datasets = ("fcla",)
    ctx.dataset = lambda name: Path()
    with pytest.raises(MethodError, match="all the texts of one kind or of none"):
        tokens.make(ctx)
