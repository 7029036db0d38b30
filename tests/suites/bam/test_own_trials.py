"""Checkpoints of one's own against transformers: the same loss, whatever cuts the text."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.errors import DataError
from suites.bam import own_trials as own
from suites.bam.data.corpora import Document
from suites.bam.model import checkpoints, upcycle
from suites.bam.settings import Evaluation
from suites.bam.trials import perplexity

EXPERTS = Path(__file__).parents[3] / "docs" / "examples" / "experts"
TEXTS = (
    "Section 1. The tenant must pay. Ünïcode – and 日本 too.",
    "On admission the child had fever.",
)


def settings(**evaluation: Any) -> Any:
    return SimpleNamespace(evaluation=Evaluation(**({"tokens": 1000} | evaluation)))


def documents() -> list[Document]:
    return [Document(str(n), text) for n, text in enumerate(TEXTS)]


def test_the_loss_is_that_of_the_checkpoint_in_its_own_class(tmp_path: Any) -> None:
    upcycle.run([EXPERTS / "law"], "average", tmp_path / "model", 0, dtype="float32")
    ours = checkpoints.load_dense(tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(EXPERTS / "law", dtype=torch.float32)
    reader = own.tokenizer(tmp_path / "model")
    found = own.windows(own._encoded(reader, documents()), 100, settings())
    loss = perplexity(ours, found.windows, torch.zeros(ours.config.vocab_size).long(), 2)
    nats = 0.0
    for text in TEXTS:
        ids = torch.tensor([[reader.bos_token_id, *reader(text).input_ids]])
        with torch.no_grad():
            nats += float(theirs(ids, labels=ids).loss) * (ids.shape[1] - 1)
    assert loss.nats == pytest.approx(nats, rel=1e-4)
    assert found.bytes == sum(len(text.encode()) for text in TEXTS)
    whole = loss._replace(bytes=found.bytes)
    assert whole.bits_per_byte == pytest.approx(nats / math.log(2) / found.bytes, rel=1e-4)


def test_windows_do_not_overlap_and_their_bytes_are_those_that_are_predicted() -> None:
    reader = own.tokenizer(EXPERTS / "law")
    encoded = own._encoded(reader, documents())
    found = own.windows(encoded, 4, settings(document=10, tokens=13))
    predicted = [len(window) - 1 for window in found.windows]
    assert predicted == [4, 4, 2, 3]
    first, second = (reader(text).input_ids for text in TEXTS)
    read = reader.decode(first[:10]) + reader.decode(second[:3])
    assert found.bytes == len(read.encode())
    assert np.concatenate([w[1:] for w in found.windows]).tolist() == first[:10] + second[:3]


def test_bytes_are_counted_at_the_ends_of_tokens() -> None:
    assert list(own._ends("aé日b", [1, 2, 2, 3, 4])) == [1, 3, 3, 6, 7]


def test_names_of_special_tokens_are_text() -> None:
    reader = own.tokenizer(EXPERTS / "law")
    (ids,) = own._encoded(reader, [Document("x", "a <|endoftext|> b")]).ids
    assert ids[0] == reader.bos_token_id
    assert reader.bos_token_id not in ids[1:]


def test_a_tokenizer_that_cannot_be_used_is_one_line(tmp_path: Any) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="its tokenizer cannot be read"):
        own.tokenizer(tmp_path)
