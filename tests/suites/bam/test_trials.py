"""Perplexity against a loop over single tokens, and what every kind of task returns."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from suites.bam import trials
from suites.bam.data import tokens
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

END = 0


class Uniform(nn.Module):
    """A language model that knows nothing."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.logits_V = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, ids_BT: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits_V.expand(*ids_BT.shape, -1))


def _windows(documents: list[list[int]], **options: int) -> list[list[int]]:
    ids = np.array([i for d in documents for i in (END, *d)], dtype=np.int32)
    settings = {"context": 3, "limit": 1000, "longest": 1000} | options
    return [w.tolist() for w in trials.windows(ids, END, **settings)]


def test_windows_predict_every_token_once_and_never_cross_documents() -> None:
    documents = [[1, 2, 3, 4, 5, 6, 7], [8], [], [9, 10, 11]]
    assert _windows(documents) == [
        [0, 1, 2, 3], [3, 4, 5, 6], [6, 7], [0, 8], [0, 9, 10, 11],
    ]  # fmt: skip


def test_windows_stop_at_the_limits() -> None:
    documents = [[1, 2, 3, 4, 5, 6, 7], [8, 9]]
    assert _windows(documents, longest=4) == [[0, 1, 2, 3], [3, 4], [0, 8, 9]]
    assert _windows(documents, limit=8) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7], [0, 8]]
    assert _windows(documents, limit=7) == _windows(documents[:1])


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity() -> None:
    windows = [np.array(row, dtype=np.int32) for row in ([0, 3, 1], [0, 2], [0, 4, 4, 4])]
    bytes_V = torch.tensor([0, 1, 2, 3, 4])
    loss = trials.perplexity(Uniform(5), windows, bytes_V, 2)
    assert loss.tokens == 6
    assert loss.bytes == 3 + 1 + 2 + 12
    assert loss.perplexity == pytest.approx(5)
    assert loss.bits_per_byte == pytest.approx(6 * math.log2(5) / 18)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_perplexity_is_that_of_a_loop_over_tokens(size: int) -> None:
    config = BamConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_ffn_experts=3, num_attention_experts=3,
    )  # fmt: skip
    model = BamForCausalLM(config).eval()
    model.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    rng = np.random.default_rng(0)
    windows = [rng.integers(30, size=n).astype(np.int32) for n in (9, 2, 5, 5, 12)]
    nats = 0.0
    with torch.no_grad():
        for window in windows:
            for position in range(1, len(window)):
                before = torch.tensor([window[:position].tolist()])
                logits_V = model(before).logits[0, -1].double()
                nats -= float(logits_V.log_softmax(0)[int(window[position])])
    loss = trials.perplexity(model, windows, torch.ones(30, dtype=torch.long), size)
    assert loss.nats == pytest.approx(nats, rel=1e-5)
    assert loss.tokens == sum(map(len, windows)) - len(windows)


@pytest.mark.parametrize("method", ["seed", "btx", "bam", "btm"])
def test_every_kind_of_method_returns_what_the_task_wants(workshop: Any, method: str) -> None:
    ctx = workshop.trial(method, "mean-installed")
    metrics = trials.run(ctx)
    assert set(metrics) == set(ctx.task.metrics)
    assert math.exp(metrics["nats"]) <= metrics["perplexity"] + 1e-9  # means of convex things
    series = set(ctx.finished_series())
    assert ("load-law-layer2" in series) == (method in {"btx", "bam"})
    assert ("gate-law-layer2" in series) == (method == "bam")
    assert ("gate-entropy-code" in series) == (method == "bam")
    assert ("loss-flops" in series) == (method != "btm")
    if method == "bam":
        gates = ctx.finished_series()["gate-law-layer1"].y
        assert len(gates) == 4
        assert sum(gates) == pytest.approx(1, abs=1e-5)
        assert ctx.finished_series()["loss"].x[-1] == ctx.counts["tokens"]


def test_the_mean_is_over_the_four_domains(workshop: Any) -> None:
    whole = trials.run(workshop.trial("btx", "mean-installed"))
    parts = [
        trials.run(workshop.trial("btx", f"{domain}-installed"))
        for domain in ("general", "code", "law", "math")
    ]
    for metric in ("perplexity", "nats", "bits-per-byte"):
        expected = sum(part[metric] for part in parts) / 4
        assert whole[metric] == pytest.approx(expected)


def test_cost_is_that_of_the_training(workshop: Any) -> None:
    ctx = workshop.trial("btx", "cost-installed")
    metrics = trials.run(ctx)
    assert metrics["core-seconds"] > 0
    assert metrics["tokens-per-second"] == pytest.approx(4096 / metrics["core-seconds"])
    assert ctx.counts["tokens"] == 4096
    assert ctx.counts["parameters"] > ctx.counts["active_parameters"] > 0


def test_questions_are_answered_through_the_trial(workshop: Any) -> None:
    ctx = workshop.trial("bam", "downstream-generated")
    metrics = trials.run(ctx)
    assert set(ctx.task.metrics) <= set(metrics) <= set(ctx.task.reports)
    assert 0 <= metrics["accuracy"] <= 100


def test_routing_is_measured_on_sequences_without_padding(workshop: Any) -> None:
    ids = tokens.load(workshop.artifact("seed").artifact("tokens"), "held-out")["law"]
    found = trials.packed(ids, 32, 3)
    assert found.flatten().tolist() == ids[:96].tolist()
    assert trials.packed(ids[:50], 32, 3).shape == (1, 32)
