"""Bits per byte of right answers against a loop over single tokens; which request is right."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from suites.bam.downstream import answers
from suites.bam.downstream import evaluate as downstream
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig


@pytest.fixture(scope="module")
def model() -> BamForCausalLM:
    config = BamConfig(
        vocab_size=257, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=256,
    )  # fmt: skip
    made = BamForCausalLM(config)
    made.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(8)
    return made


@torch.no_grad()
def by_hand(model: BamForCausalLM, prompt: list[int], answer: list[int]) -> float:
    """Nats of an answer after a prompt."""
    ids = torch.tensor([prompt + answer])
    log_TV = model.eval()(ids).logits[0].log_softmax(-1)
    places = range(len(prompt) - 1, ids.size(1) - 1)
    return -sum(float(log_TV[p, ids[0, p + 1]]) for p in places)


@pytest.mark.parametrize("context", [200, 8])
def test_bits_are_those_of_what_is_read_of_the_right_answer(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, context: int
) -> None:
    downstream.generate(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "generated.jsonl").read_text().splitlines()]
    nats, length = 0.0, 0
    for row in rows:
        prompt = tokenizer(row["question"]).input_ids
        answer = tokenizer(" " + row["choices"][row["answer"]]).input_ids[: context // 2]
        nats += by_hand(model, prompt[-(context + 1 - len(answer)) :], answer)
        length += len(answer)
    scores = downstream.evaluate(model, tokenizer, "generated", None, context=context)
    assert scores.bits["generated"] == pytest.approx(nats / math.log(2) / length, rel=1e-4)


def test_written_answers_are_scored_up_to_their_limit(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    golds: list[Any] = ["forty", ["a name", "another"], ""]
    samples = [{"target": gold, "arguments": [("Q: what?\nA:", {})]} for gold in golds]
    config = {"output_type": "generate_until"}
    with downstream._asked(model, tokenizer, 64, 2) as lm:
        bits, length = answers.told(lm, samples, config, tokenizer, 4)
    prompt = tokenizer("Q: what?\nA:").input_ids
    nats = sum(by_hand(model, prompt, tokenizer(text).input_ids) for text in (" for", " a n"))
    assert length == 8
    assert bits == pytest.approx(nats / math.log(2), rel=1e-4)


@pytest.mark.parametrize(
    ("target", "arguments", "place"),
    [
        (2, [("q", " a"), ("q", " b"), ("q", " c")], 2),
        ("Yes", [("q", " No"), ("q", " Yes")], 1),
        ("was late.", [("Ann", " was late."), ("Bob", " was late.")], 1),
    ],
)
def test_the_right_request_is_found(
    target: int | str, arguments: list[tuple[str, str]], place: int
) -> None:
    sample = {"target": target, "arguments": arguments, "doc": {"answer": 1}}
    assert answers.right(sample) == place
