"""Routed SwiGLU against one token and one expert at a time."""

import pytest
import torch
from torch.nn import functional as F

from suites.bam.model.configuration import BamConfig
from suites.bam.model.feedforward import FeedForward


def make(experts: int, top_k: int = 1, *, renormalise: bool = False) -> FeedForward:
    config = BamConfig(
        hidden_size=8,
        intermediate_size=12,
        num_ffn_experts=experts,
        ffn_top_k=top_k,
        norm_topk_prob=renormalise,
    )
    layer = FeedForward(config).double()
    generator = torch.Generator().manual_seed(experts)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def inputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 7, 8, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("experts", "top_k"), [(1, 1), (4, 1), (4, 2), (6, 3), (3, 3)])
@pytest.mark.parametrize("renormalise", [False, True])
def test_one_token_and_one_expert_at_a_time(experts: int, top_k: int, renormalise: bool) -> None:
    layer, x = make(experts, top_k, renormalise=renormalise), inputs()
    rows = []
    for token in x.flatten(0, 1):
        probability = torch.ones(1, dtype=torch.float64)
        if layer.router is not None:
            probability = (layer.router.weight @ token).softmax(0)
        best = probability.argsort(descending=True)[:top_k].tolist()
        total = sum(probability[e] for e in best) if renormalise else 1.0
        outputs = []
        for e in best:
            hidden = F.silu(layer.gate[e] @ token) * (layer.up[e] @ token)
            outputs.append(probability[e] / total * (layer.down[e] @ hidden))
        rows.append(torch.stack(outputs).sum(0))
    expected = torch.stack(rows).view_as(x)
    actual, _ = layer(x)
    # Gates are float32.
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)

    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    leaves = [x, *layer.parameters()]
    got = torch.autograd.grad(actual, leaves, direction, allow_unused=True)
    # A renormalised single gate is always 1, in one as in the other.
    want = torch.autograd.grad(expected, leaves, direction, allow_unused=True)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(
            torch.zeros(1) if ours is None else ours.float(),
            torch.zeros(1).expand_as(ours) if theirs is None else theirs.float(),
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_top_1_branch_begins_at_a_quarter_of_a_dense_one() -> None:
    # Four equal experts and a router that says nothing: p = 1/4, not renormalised.
    dense, mixture = make(1), make(4)
    with torch.no_grad():
        for name in ("gate", "up", "down"):
            stacked = getattr(mixture, name)
            stacked.copy_(getattr(dense, name).expand_as(stacked))
        assert mixture.router is not None
        mixture.router.weight.zero_()
    x = inputs()
    torch.testing.assert_close(mixture(x)[0], dense(x)[0] / 4)


def test_an_expert_without_tokens_gets_a_gradient_of_zero() -> None:
    layer, x = make(4), inputs()
    assert layer.router is not None
    with torch.no_grad():
        layer.router.weight.zero_()  # ties go to one expert, whichever it is
    output, routing = layer(x)
    assert routing is not None
    used = set(routing.expert_NK.flatten().tolist())
    output.sum().backward()
    assert layer.gate.grad is not None
    for expert in range(4):
        assert bool((layer.gate.grad[expert] != 0).any()) == (expert in used)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_card_computes_the_same() -> None:
    layer, x = make(4, 2).float(), inputs().float()
    on_cpu, _ = layer(x)
    on_card, _ = layer.cuda()(x.cuda())
    torch.testing.assert_close(on_card.cpu(), on_cpu, rtol=1e-3, atol=1e-3)
