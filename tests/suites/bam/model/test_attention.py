"""Attention experts against separate dense layers, rotary positions by complex numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from suites.bam.model.attention import Attention, Rotation, rotate, rotation
from suites.bam.model.configuration import BamConfig


def make(**options: Any) -> Attention:
    sizes: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 4, "head_dim": 6}
    layer = Attention(BamConfig(**(sizes | options)), 0).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return layer


def inputs(length: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, length, 8, generator=generator, dtype=torch.float64)


def angles(length: int = 9, **options: Any) -> Rotation:
    return rotation(BamConfig(head_dim=6, **options), torch.arange(length), torch.float64)


def alone(layer: Attention, expert: int) -> Attention:
    """One expert of a layer as a dense layer."""
    kv = 0 if layer.kv_experts == 1 else expert
    dense = make(num_key_value_heads=layer.kv_heads)
    with torch.no_grad():
        dense.q.weight.copy_(layer.q.weight.chunk(layer.experts)[expert])
        dense.k.weight.copy_(layer.k.weight.chunk(layer.kv_experts)[kv])
        dense.v.weight.copy_(layer.v.weight.chunk(layer.kv_experts)[kv])
        dense.o.weight.copy_(layer.o.weight.chunk(layer.experts, dim=1)[expert])
    return dense


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("shared_kv", [False, True])
@pytest.mark.parametrize("routing", ["soft", "top1", "top2", "uniform"])
def test_a_mixture_is_the_gated_sum_of_dense_layers(
    kv_heads: int, shared_kv: bool, routing: str
) -> None:
    layer = make(
        num_attention_experts=3,
        num_key_value_heads=kv_heads,
        shared_kv=shared_kv,
        attention_routing=routing,
    )
    x = inputs()
    out, gate, _ = layer(x, angles())
    assert gate is not None
    parts = [alone(layer, e)(x, angles())[0] * gate[:, :, e : e + 1] for e in range(3)]
    torch.testing.assert_close(out, torch.stack(parts).sum(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("routing", "nonzero", "whole"),
    [("soft", 3, True), ("top1", 1, False), ("top2", 2, False), ("uniform", 3, True)],
)
def test_gates(routing: str, nonzero: int, whole: bool) -> None:
    layer = make(num_attention_experts=3, attention_routing=routing)
    _, gate, _ = layer(inputs(), angles())
    assert gate is not None
    assert ((gate > 0).sum(-1) == nonzero).all()
    assert ((gate.sum(-1) - 1).abs() < 1e-6).all() == whole
    if layer.router is not None:
        probability = (inputs() @ layer.router.weight.T).float().softmax(-1)
        kept = gate > 0
        torch.testing.assert_close(gate[kept].double(), probability[kept].double())
        assert (probability.where(kept, 0).amax(-1) == probability.amax(-1)).all()
    else:
        assert routing == "uniform"


def test_renormalised_top_2_gates_sum_to_one() -> None:
    layer = make(num_attention_experts=3, attention_routing="top2", norm_topk_prob=True)
    _, gate, _ = layer(inputs(), angles())
    assert gate is not None
    torch.testing.assert_close(gate.sum(-1), torch.ones(2, 9))


@pytest.mark.parametrize("shared_kv", [False, True])
def test_the_future_is_not_seen(shared_kv: bool) -> None:
    layer = make(num_attention_experts=2, shared_kv=shared_kv)
    x = inputs()
    changed = x.clone()
    changed[:, 5:] += 1.0
    before, after = layer(x, angles())[0], layer(changed, angles())[0]
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().min() > 0


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_is_a_product_of_complex_numbers(interleaved: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :3], x[..., 3:])
    frequency = 500.0 ** (-torch.arange(3) / 3)
    turn = torch.polar(torch.ones(9, 3), torch.arange(9).unsqueeze(1) * frequency)
    product = torch.complex(a, b) * turn.unsqueeze(1)
    by = angles(rope_interleaved=interleaved, rope_theta=500.0)
    turned = rotate(x, by)
    ours = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    torch.testing.assert_close(torch.complex(*ours), product, rtol=1e-5, atol=1e-5)
    assert torch.autograd.gradcheck(lambda y: rotate(y, by), x)


def test_scores_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 6, generator=torch.Generator().manual_seed(0)).double()
    config = BamConfig(head_dim=6)

    def score(query_at: int, key_at: int) -> float:
        turned = [
            rotate(x, rotation(config, torch.tensor([at]), torch.float64))
            for x, at in ((q, query_at), (k, key_at))
        ]
        return float((turned[0] * turned[1]).sum())

    assert score(7, 3) == pytest.approx(score(104, 100), abs=1e-5)
    assert score(7, 3) != pytest.approx(score(7, 4), abs=1e-3)


def test_a_uniform_mixture_has_no_router() -> None:
    layer = make(num_attention_experts=3, attention_routing="uniform")
    assert layer.router is None
    assert make().router is None
    assert make(num_attention_experts=2).router is not None
