"""Every network trains under bfloat16 autocast, and says nearly what it says in float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.gate.model import build
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.mixup.encoder import Classifier, load, task_loss
from suites.mixup.mixing import attach
from suites.mixup.texts import Texts, tokenise


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _graph(network: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = build(network, 8, 16, 3, 3, _generator())
    x_NF = torch.randn(40, 8, generator=_generator())
    edges_2E = torch.randint(40, (2, 160), generator=_generator())
    labels_N = torch.arange(40) % 3
    return model, lambda: nn.functional.cross_entropy(model(x_NF, edges_2E).float(), labels_N)


def _language(kind: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    sizes: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2,
    }  # fmt: skip
    experts = {"dense": {}, "btx": {"num_ffn_experts": 3},
               "bam": {"num_ffn_experts": 3, "num_attention_experts": 3}}[kind]  # fmt: skip
    torch.manual_seed(0)
    model = BamForCausalLM(BamConfig(**sizes, **experts))
    ids_BT = torch.randint(64, (2, 16), generator=_generator())
    return model, lambda: model(ids_BT, labels=ids_BT, skip_logits=True).loss


def _classifier(form: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    pretrained = load("tiny", _generator())
    model = Classifier(pretrained.model, 2, regression=False, generator=_generator()).eval()
    if form == "mixup":
        attach(model, r"^encoder\.", "convex", 1, _generator())
    texts = Texts("toy", ("good", "bad word", "good word", "bad"), None, (1, 0, 1, 0), ("0", "1"))
    batch = tokenise(texts, pretrained, 8).batch(range(4))
    return model, lambda: task_loss(model(batch).float(), batch.labels_B, regression=False)


def _policy(_: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    shape = Shape(5, 2, width=16, layers=2, heads=2, context=4, max_steps=50, dropout=0.0)
    model = DecisionTransformer(shape, _generator())
    states, actions, to_go = (torch.randn(3, 4, n, generator=_generator()) for n in (5, 2, 1))
    times = torch.arange(4).expand(3, 4)
    return model, lambda: (model(states, actions, to_go, times).float() - actions).square().mean()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_graph, "gat"), (_graph, "gate"), (_language, "dense"), (_language, "btx"),
        (_language, "bam"), (_classifier, "vanilla"), (_classifier, "mixup"), (_policy, "policy"),
    ],
)  # fmt: skip
def test_bfloat16_trains_and_agrees_with_float32(make: Any, kind: str) -> None:
    model, loss = make(kind)
    exact = loss()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss()
    assert found.item() == pytest.approx(exact.item(), rel=0.03)
    found.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)
