"""Reading, sub-sampling, splitting and batching of texts."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from harness.errors import DataError, MethodError, SpecError
from suites.mixup.datasets import CORPORA, Corpus, File
from suites.mixup.encoder import HashTokenizer, Pretrained, load
from suites.mixup.texts import (
    Batches,
    Examples,
    Sampling,
    Texts,
    read,
    subsample,
    tokenise,
)

HEADED = File("f.tsv", None, 1, "label", "sentence1", "sentence2")
BARE = File("f.tsv", None, 1, 0, 1)

NO_YES = ("no", "yes")


def corpus(file: File, classes: tuple[str, ...] = ("no", "yes"), top: float = 0.0) -> Corpus:
    return Corpus("toy", "Toy", file, file, classes, "accuracy", "none", "here", top=top)


def written(folder: Path, text: str) -> Path:
    path = folder / "f.tsv"
    path.write_bytes(text.encode())
    return path


def words(lengths: list[int], classes: int = 2) -> Examples:
    """Examples of the given lengths; example i is the token i + 1 repeated."""
    ids = tuple((i + 1,) * length for i, length in enumerate(lengths))
    types = tuple((0,) * length for length in lengths)
    return Examples(ids, types, torch.arange(len(lengths)) % max(classes, 1), classes, 0)


def test_columns_are_found_by_the_header(tmp_path: Path) -> None:
    path = written(
        tmp_path, '\ufeffsentence2\tlabel\tsentence1\r\nb\tYES\ta\r\nd d\tno\t\u2028c "\r\n'
    )
    texts = read(path, HEADED, corpus(HEADED))
    assert texts == Texts("toy", ("a", '\u2028c "'), ("b", "d d"), (1.0, 0.0), ("no", "yes"))


def test_columns_by_number_and_parts_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "no\ta\nyes\tb\nyes\tc\nno\td\n")
    assert read(path, BARE, corpus(BARE)).first == ("a", "b", "c", "d")
    odd, even = (BARE._replace(part=p) for p in ("odd", "even"))
    assert read(path, odd, corpus(odd)).first == ("a", "c")
    assert read(path, even, corpus(even)).first == ("b", "d")
    headed = File("f.tsv", None, 3, "label", "text", part="odd")
    path = written(tmp_path, "label\ttext\nno\ta\nyes\tb\nyes\tc\n")
    assert read(path, headed, corpus(headed)).first == ("a", "c")


def test_questions_have_a_coarse_and_a_fine_label(tmp_path: Path) -> None:
    file = BARE._replace(layout="label-first")
    path = written(tmp_path, "NUM:dist How far ?\nLOC:city Where is it ?\n")
    texts = read(path, file, corpus(file, ("loc", "num")))
    assert (texts.first, texts.labels) == (("How far ?", "Where is it ?"), (1.0, 0.0))


def test_scores_of_a_regression(tmp_path: Path) -> None:
    path = written(tmp_path, "5.000\ta\n0.25\tb\n")
    assert read(path, BARE, corpus(BARE, (), top=5)).labels == (5.0, 0.25)


@pytest.mark.parametrize(
    ("text", "file", "classes", "message"),
    [
        ("sentence1\tsentence2\na\tb\n", HEADED, NO_YES, "f.tsv:1: no column 'label'"),
        ("no\ta\n\tb\n", BARE, NO_YES, "f.tsv:2: label '' is unknown, allowed: no, yes"),
        ("no\ta\nperhaps\tb\n", BARE, NO_YES, "f.tsv:2: label 'perhaps' is unknown"),
        ("no\ta\n-1\tb\n", BARE, NO_YES, "f.tsv:2: label '-1' is unknown"),
        ("no\ta\nno\tb\n", BARE, NO_YES, "all 2 examples carry the label 'no'"),
        ("no\ta\nyes\tb\n", BARE, ("no", "yes", "so"), "f.tsv: no example of class 'so'"),
        ("no\ta\nyes\n", BARE, NO_YES, "f.tsv:2: 1 cells, 2 wanted"),
        ("no\ta\nyes\tb\tc\n", BARE, NO_YES, "f.tsv:2: 3 cells, 2 wanted"),
        ("label\tsentence1\tsentence2\nno\ta\tb\tc\n", HEADED, NO_YES, ":2: 4 cells, 3 wanted"),
        ("\n", BARE, NO_YES, "holds no row"),
        ("no\ta\nyes\tb\n", BARE._replace(rows=3), NO_YES, "2 examples, 3 were published"),
        ("1.0\ta\nnan\tb\n", BARE, (), "label is 'nan', not a number"),
        ("1.0\ta\n7\tb\n", BARE, (), "label '7' is out of range, allowed: 0 to 5"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    tmp_path: Path, text: str, file: File, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(written(tmp_path, text), file, corpus(file, classes, top=5))
    assert "\n" not in str(caught.value)


WORDS = st.text("ab \t\"'\r\n01noyes-.,é\u2028\x85", max_size=60)


@given(WORDS, st.binary(max_size=20), st.sampled_from(["bare", "headed", "score", "question"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_texts_or_one_line(
    tmp_path: Path, words: str, data: bytes, kind: str
) -> None:
    file = HEADED if kind == "headed" else BARE
    file = file._replace(layout="label-first") if kind == "question" else file
    classes = () if kind == "score" else NO_YES
    start = {
        "headed": "label\tsentence1\tsentence2\nno\ta\tb\nyes\ta\tb\n",
        "bare": "no\ta\nyes\tb\n",
        "score": "0\ta\n5\tb\n",
        "question": "no:x a\nyes:y b\n",
    }[kind]
    path = tmp_path / "f.tsv"
    for content in (start + words, words, start):
        path.write_bytes(content.encode() + (b"" if content == start else data))
        try:
            texts = read(path, file, corpus(file, classes, top=5))
        except DataError as error:
            message = str(error)
            assert content != start
            assert "\n" not in message
            assert "f.tsv" in message or "carry the label" in message
            continue
        assert len(texts.first) == len(texts.labels) >= 2
        assert all(0 <= label <= (5 if kind == "score" else 1) for label in texts.labels)
        assert not any("\t" in text or "\n" in text for text in texts.first) or kind == "question"


class Words:
    """A tokenizer without padding, special tokens and separators: one token a letter."""

    pad_token_id = None

    def __call__(
        self, first: list[str], second: list[str] | None, *, max_length: int, truncation: bool
    ) -> dict[str, list[list[int]]]:
        pairs = zip(first, second or [""] * len(first), strict=True)
        return {"input_ids": [[ord(c) - 90 for c in a + b][:max_length] for a, b in pairs]}

    def num_special_tokens_to_add(self, pair: bool) -> int:
        return 0


def small() -> Pretrained:
    model = BertModel(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                   intermediate_size=8, max_position_embeddings=6)
    )  # fmt: skip
    return Pretrained(model, Words())


def test_a_tokenizer_without_padding_fills_batches_that_masks_hide() -> None:
    encoder = small()
    data = tokenise(Texts("toy", ("ab", "c"), None, (0.0, 1.0), ("0", "1")), encoder, 6)
    both, alone = data.batch([0, 1]), data.batch([1])
    assert both.attention_mask_BT.tolist() == [[1, 1], [1, 0]]
    encoder.model.eval()
    hidden = encoder.model(both.input_ids_BT, both.attention_mask_BT).last_hidden_state[1, :1]
    expected = encoder.model(alone.input_ids_BT).last_hidden_state[0]
    torch.testing.assert_close(hidden, expected)


@pytest.mark.parametrize(
    ("first", "second", "tokens", "message"),
    [
        (("ab", ""), None, 6, "toy: text 2 has no token"),
        (("ab", "z"), None, 6, "knows tokens 0 to 19, its tokenizer gives 32"),
        (("ab", "abcabca"), None, 7, "reads 6 tokens, texts of 7 are wanted; set `tokens` to 6"),
        (("a", "b"), ("c", "d"), 6, "puts no token between two texts"),
    ],
)
def test_what_an_encoder_cannot_read_is_one_line(
    first: tuple[str, ...], second: tuple[str, ...] | None, tokens: int, message: str
) -> None:
    with pytest.raises(MethodError, match=message) as caught:
        tokenise(Texts("toy", first, second, (0.0, 1.0), ("0", "1")), small(), tokens)
    assert "\n" not in str(caught.value)


def test_missing_and_undecodable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found; point --data"):
        read(tmp_path / "none.tsv", BARE, corpus(BARE))
    path = tmp_path / "f.tsv"
    path.write_bytes(b"no\ta\nyes\t\xff\n")
    with pytest.raises(DataError, match=r"f.tsv:2: not UTF-8 \(byte 5 of the line\)"):
        read(path, BARE, corpus(BARE))


def sample(counts: list[int]) -> Texts:
    labels = [float(c) for c, count in enumerate(counts) for _ in range(count)]
    first = tuple(f"text {i}" for i in range(len(labels)))
    return Texts("toy", first, None, tuple(labels), tuple("abcdefgh"[: len(counts)]))


def test_stratified_samples_keep_the_shares_by_largest_remainders() -> None:
    drawn = subsample(sample([60, 29, 11]), 17, "stratified", np.random.default_rng(0))
    # 10.2, 4.93 and 1.87: two more after the whole parts 10, 4, 1, to the largest remainders
    assert Counter(drawn.labels) == {0.0: 10, 1.0: 5, 2.0: 2}


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.integers(0, 1000),
    st.floats(0, 1),
)
def test_stratified_samples_have_the_size_and_every_class(
    counts: list[int], seed: int, share: float
) -> None:
    whole = sample(counts)
    size = len(counts) + int(share * (len(whole) - len(counts)))
    drawn = subsample(whole, size, "stratified", np.random.default_rng(seed))
    assert len(drawn) == size
    assert len(set(drawn.first)) == size
    found = Counter(drawn.labels)
    assert all(1 <= found[float(c)] <= count for c, count in enumerate(counts))


def test_samples_depend_on_the_seed_alone() -> None:
    whole = sample([50, 50])
    for sampling in ("uniform", "stratified"):
        one, same, other = (
            subsample(whole, 20, sampling, np.random.default_rng(s)) for s in (1, 1, 2)
        )
        assert one == same
        assert one != other
    assert subsample(whole, 0, "uniform", np.random.default_rng(0)) is whole


@pytest.mark.parametrize(
    ("counts", "size", "sampling", "error", "message"),
    [
        ([5, 5], 11, "uniform", DataError, "11 training examples wanted, 1 to 10 are there"),
        ([5, 5], 1, "uniform", DataError, "all 1 examples carry the label"),
        ([5, 5, 5], 2, "stratified", DataError, "2 examples cannot hold 3 classes"),
        ([5, 5], 4, "by-length", SpecError, "there are uniform and, for classes, stratified"),
    ],
)
def test_samples_that_cannot_be(
    counts: list[int], size: int, sampling: Sampling, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        subsample(sample(counts), size, sampling, np.random.default_rng(0))


def test_splits_are_disjoint_and_whole() -> None:
    data = words(list(range(3, 33)))
    train, val = data.split(0.8, torch.Generator().manual_seed(0))
    assert (len(train), len(val)) == (24, 6)
    assert sorted(train.ids + val.ids) == sorted(data.ids)
    assert train.labels_N.tolist() == [(ids[0] - 1) % 2 for ids in train.ids]
    again, _ = data.split(0.8, torch.Generator().manual_seed(0))
    other, _ = data.split(0.8, torch.Generator().manual_seed(1))
    assert again.ids == train.ids != other.ids
    with pytest.raises(DataError, match="1 training examples cannot be split 80% to 20%"):
        data.subset([0]).split(0.8, torch.Generator())


def test_a_batch_is_padded_to_its_longest_text() -> None:
    batch = words([2, 3, 9]).batch([1, 0])
    assert batch.input_ids_BT.tolist() == [[2, 2, 2], [1, 1, 0]]
    assert batch.attention_mask_BT.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.labels_B.tolist() == [1, 0]
    assert batch.token_type_ids_BT is not None


def test_every_epoch_visits_every_example_once_in_an_order_of_its_own() -> None:
    data = words([1 + i % 13 for i in range(37)])
    batches = Batches(data, 8, seed=3)
    assert len(batches) == 5
    epochs = [
        [
            row
            for step in range(e * 5, e * 5 + 5)
            for row in batches[step].input_ids_BT[:, 0].tolist()
        ]
        for e in range(3)
    ]
    assert all(sorted(epoch) == list(range(1, 38)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_step_needs_no_step_before_it() -> None:
    data = words([1 + i % 13 for i in range(37)])
    walked = Batches(data, 8, seed=3)
    straight = [walked[step].input_ids_BT for step in range(12)]
    assert torch.equal(Batches(data, 8, seed=3)[11].input_ids_BT, straight[11])
    assert torch.equal(walked[4].input_ids_BT, straight[4])
    assert not torch.equal(Batches(data, 8, seed=4)[11].input_ids_BT, straight[11])


def test_buckets_save_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 320).tolist()

    def padded(bucket: int) -> int:
        batches = Batches(words(lengths), 16, seed=0, bucket=bucket)
        return sum(batches[step].input_ids_BT.numel() for step in range(len(batches)))

    assert padded(8) < 1.15 * sum(lengths)
    assert padded(1) > 1.5 * sum(lengths)


def test_tokens_are_cut_and_labels_typed() -> None:
    encoder = Pretrained(torch.nn.Identity(), HashTokenizer())
    pair = Texts("toy", ("a b c d", "e"), ("f g", "h"), (1.5, 0.0), ())
    data = tokenise(pair, encoder, 5)
    assert [len(ids) for ids in data.ids] == [5, 5]
    assert data.types == ((0, 0, 0, 0, 0), (0, 0, 0, 1, 1))
    assert data.labels_N.dtype == torch.float32
    assert data.regression
    classes = tokenise(sample([1, 1]), encoder, 5)
    assert classes.labels_N.dtype == torch.int64
    assert not classes.regression


@pytest.mark.data
@pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="HARNESS_DATA is not set")
@pytest.mark.parametrize("name", [n for n, c in CORPORA.items() if not c.fetch])
def test_real_files_have_the_rows_of_the_table(name: str) -> None:
    entry = CORPORA[name]
    for file in (entry.train, entry.dev):
        if file is None:
            continue
        texts = read(Path(os.environ["HARNESS_DATA"]) / file.path, file, entry)
        halved = {"all": 0, "odd": file.rows // 2, "even": file.rows - file.rows // 2}
        assert len(texts) == file.rows - halved[file.part]
        assert texts.first.count("") <= 1  # CR has one review without words
        assert len(set(texts.labels)) >= max(2, len(entry.classes))


def test_scores_are_standardised_whatever_their_unit() -> None:
    labels = (0.0, 1.5, 5.0, 2.5)
    texts = Texts("toy", ("a", "b", "c", "d"), None, labels, ())
    shifted = replace(texts, labels=tuple(10 * y + 100 for y in labels))
    encoder = load("tiny", torch.Generator().manual_seed(0))
    (one, standard), (other, far) = (
        tokenise(t, encoder, 8).standardised() for t in (texts, shifted)
    )
    torch.testing.assert_close(one.labels_N, other.labels_N)
    assert float(one.labels_N.mean()) == pytest.approx(0, abs=1e-6)
    assert float(one.labels_N.std(correction=0)) == pytest.approx(1)
    np.testing.assert_allclose(standard.undo(one.labels_N.numpy()), labels, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(far.undo(other.labels_N.numpy()), shifted.labels, rtol=1e-6)


def test_scores_that_are_all_the_same_stay_finite() -> None:
    texts = Texts("toy", ("a", "b"), None, (3.0, 3.0), ())
    encoder = load("tiny", torch.Generator().manual_seed(0))
    data, standard = tokenise(texts, encoder, 8).standardised()
    assert data.labels_N.tolist() == [0, 0]
    assert standard == (3, 1)
