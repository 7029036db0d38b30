"""Permutations that change no function, and that undo a permutation made on purpose."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import MethodError
from suites.merging.merge import rules
from suites.merging.merge.alignment import (
    Aligned,
    align,
    attention,
    feed_forward,
    products_agree,
)
from suites.merging.merge.states import check
from suites.merging.policy.groups import select
from suites.merging.policy.model import DecisionTransformer, Shape


def policy(seed: int, heads: int = 1, state_dim: int = 5) -> DecisionTransformer:
    shape = Shape(state_dim, 2, width=8, layers=2, heads=heads, context=3, max_steps=20)
    generator = torch.Generator().manual_seed(seed)
    made = DecisionTransformer(shape, generator).eval()
    for parameter in made.parameters():  # biases and norms too
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return made


def inputs(state_dim: int = 5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(4, 3, state_dim, generator=generator),
        torch.randn(4, 3, 2, generator=generator),
        torch.randn(4, 3, 1, generator=generator),
        torch.arange(3).repeat(4, 1),
    )


def output(made: DecisionTransformer, state: dict[str, Tensor] | None = None) -> Tensor:
    if state is not None:
        made.load_state_dict(state)
    with torch.no_grad():
        actions: Tensor = made(*inputs(made.shape.state_dim))
    return actions


def shuffled(made: DecisionTransformer, seed: int, residual: bool = False) -> dict[str, Tensor]:
    """The same function: units, heads and channels in another order, by plain indexing."""
    generator = torch.Generator().manual_seed(seed)
    state = {k: v.clone() for k, v in made.state_dict().items()}
    heads, width = made.shape.heads, made.shape.width

    def order(n: int) -> Tensor:
        return torch.randperm(n, generator=generator)

    for n in range(made.shape.layers):
        mlp, attn = f"blocks.{n}.mlp.", f"blocks.{n}.attn."
        units = order(4 * width)
        state[f"{mlp}up.weight"] = state[f"{mlp}up.weight"][units]
        state[f"{mlp}up.bias"] = state[f"{mlp}up.bias"][units]
        state[f"{mlp}down.weight"] = state[f"{mlp}down.weight"][:, units]
        channels = width // heads
        moved = order(heads)
        match = torch.cat([h * channels + order(channels) for h in moved])
        carry = torch.cat([h * channels + order(channels) for h in moved])
        rows = torch.cat([match, width + match, 2 * width + carry])
        state[f"{attn}qkv.weight"] = state[f"{attn}qkv.weight"][rows]
        state[f"{attn}qkv.bias"] = state[f"{attn}qkv.bias"][rows]
        state[f"{attn}proj.weight"] = state[f"{attn}proj.weight"][:, carry]
    if residual:
        stream = order(width)
        for key, value in state.items():
            if key.startswith("predict_action"):
                state[key] = value[:, stream] if key.endswith("weight") else value
            elif key == "embed_time.weight" or key.endswith(("qkv.weight", "up.weight")):
                state[key] = value[:, stream]
            elif not key.endswith(("qkv.bias", "up.bias")):
                state[key] = value[stream]
    return state


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_aligning_restores_what_was_permuted(heads: int, residual: bool) -> None:
    made = policy(0, heads)
    reference = dict(made.state_dict())
    other = shuffled(made, 3, residual)
    assert not same(reference, other)
    assert torch.allclose(output(policy(0, heads), other), output(policy(0, heads)), atol=1e-5)
    assert same(align(reference, other, heads, residual), reference)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_aligning_changes_no_function(heads: int, residual: bool) -> None:
    reference, other = policy(0, heads), policy(1, heads)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    aligned = align(reference.state_dict(), other.state_dict(), heads, residual)
    assert same(dict(other.state_dict()), before), "nothing in place"
    assert not same(aligned, before)
    assert torch.allclose(output(policy(1, heads), aligned), output(other), atol=1e-5)

    def distance(state: dict[str, Tensor]) -> float:
        return sum(float((state[k] - v).norm() ** 2) for k, v in reference.state_dict().items())

    assert distance(aligned) < distance(before)


def test_the_residual_stream_brings_networks_closer_still() -> None:
    reference, other = policy(0).state_dict(), policy(1).state_dict()

    def likeness(state: dict[str, Tensor]) -> float:
        return sum(float((state[k] * reference[k]).sum()) for k in reference)

    assert likeness(align(reference, other, 1, True)) > likeness(align(reference, other, 1))


def test_rounds_go_on_until_nothing_gets_better() -> None:
    generator = torch.Generator().manual_seed(0)

    def small() -> dict[str, Tensor]:
        shapes = {"blocks.0.mlp.up.weight": (3, 6), "blocks.0.mlp.down.weight": (6, 3),
                  "embed_state.bias": (6,)}  # fmt: skip
        return {k: torch.randn(s, generator=generator) for k, s in shapes.items()}

    for _ in range(40):  # a fifth of these need a second round
        reference, other = small(), small()
        aligned = align(reference, other, residual=True)
        assert same(align(reference, aligned, residual=True), aligned)


def test_policies_for_different_tasks_align_too() -> None:
    reference, other = policy(0, 2), policy(1, 2, state_dim=9)
    aligned = align(reference.state_dict(), other.state_dict(), 2, residual=True)
    assert torch.allclose(output(policy(1, 2, 9), aligned), output(other), atol=1e-5)
    keys = select(aligned, ["blocks"])
    check([dict(reference.state_dict()), aligned], keys=keys)


def test_averaging_after_alignment_is_the_model_itself() -> None:
    made = policy(0, 2)
    other = shuffled(made, 5)
    state = dict(made.state_dict())
    blocks = select(state, ["blocks"])
    aligned = rules.average([state, align(state, other, 2)], blocks)
    assert torch.equal(output(policy(0, 2), aligned), output(made))
    plain = rules.average([state, other], blocks)
    assert not torch.allclose(output(policy(0, 2), plain), output(made), atol=1e-2)


def test_without_the_number_of_heads_the_attention_stays() -> None:
    made = policy(0)
    other = shuffled(made, 3)
    aligned = align(made.state_dict(), other)
    assert torch.equal(aligned["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
    unit = "blocks.1.mlp.up.weight"
    assert torch.equal(aligned[unit], made.state_dict()[unit])


def test_the_assignment_is_the_best_of_all_orders() -> None:
    # 2 heads of 2 channels: 2! orders of heads, times 2!^2 orders inside, for either kind.
    generator = torch.Generator().manual_seed(0)

    def state() -> dict[str, Tensor]:
        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        return {
            "attn.qkv.weight": draw(12, 4),
            "attn.qkv.bias": draw(12),
            "attn.proj.weight": draw(4, 4),
        }

    for _ in range(10):
        reference, other = state(), state()
        (units,) = attention(other, 2)
        orders = [
            torch.tensor([2 * h + c for h, cs in zip(moved, inside, strict=True) for c in cs])
            for moved in permutations(range(2))
            for inside in ((a, b) for a in permutations(range(2)) for b in permutations(range(2)))
        ]

        def likeness(changed: dict[str, Tensor], reference: dict[str, Tensor] = reference) -> float:
            return sum(float((changed[k] * reference[k]).sum()) for k in reference)

        best = -torch.inf
        for match in orders:
            for carry in orders:
                if not torch.equal(match // 2, carry // 2):  # heads move as a whole
                    continue
                rows = torch.cat([match, 4 + match, 8 + carry])
                changed = {
                    "attn.qkv.weight": other["attn.qkv.weight"][rows],
                    "attn.qkv.bias": other["attn.qkv.bias"][rows],
                    "attn.proj.weight": other["attn.proj.weight"][:, carry],
                }
                best = max(best, likeness(changed))
        assert units.heads == 2
        assert likeness(align(reference, other, heads=2)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("names", "transposed"),
    [
        (("transformer.h.0.mlp.c_fc", "transformer.h.0.mlp.c_proj"), True),
        (("model.layers.3.mlp.up_proj", "model.layers.3.mlp.down_proj"), False),
        (("model.decoder.layers.0.fc1", "model.decoder.layers.0.fc2"), False),
        (("encoder.layer.0.intermediate.dense", "encoder.layer.0.output.dense"), False),
        (("layers.1.linear1", "layers.1.linear2"), False),
        (("vit.blocks.2.mlp.fc1", "vit.blocks.2.mlp.fc2"), False),
    ],
)
def test_hidden_units_of_the_usual_transformers(names: tuple[str, str], transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(6, 3, generator=generator), torch.randn(3, 6, generator=generator)
    bias = torch.randn(6, generator=generator)
    order = torch.randperm(6, generator=generator)

    def state(u: Tensor, b: Tensor, d: Tensor) -> dict[str, Tensor]:
        u, d = (u.T, d.T) if transposed else (u, d)
        made = {f"{names[0]}.weight": u, f"{names[0]}.bias": b, f"{names[1]}.weight": d}
        if "up_proj" in names[0]:
            made[names[0].replace("up_proj", "gate_proj") + ".weight"] = 2 * u
        return made | {"norm.weight": torch.ones(3)}

    reference, other = state(up, bias, down), state(up[order], bias[order], down[:, order])
    assert len(feed_forward(other)) == 1
    assert same(align(reference, other), reference)


def test_layers_of_a_gated_network_keep_their_function() -> None:
    generator = torch.Generator().manual_seed(0)
    key = "model.layers.0.mlp."
    one, two = (
        {
            f"{key}gate_proj.weight": torch.randn(6, 3, generator=generator),
            f"{key}up_proj.weight": torch.randn(6, 3, generator=generator),
            f"{key}down_proj.weight": torch.randn(3, 6, generator=generator),
        }
        for _ in range(2)
    )
    x = torch.randn(5, 3, generator=generator)

    def run(state: dict[str, Tensor]) -> Tensor:
        gate, up, down = state.values()
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    aligned = align(one, two)
    assert not same(aligned, two)
    assert torch.allclose(run(aligned), run(two), atol=1e-5)


def test_layers_outside_of_blocks_are_left_alone() -> None:
    # What lies between them is not known: it need not work unit by unit.
    made = nn.Sequential()
    made.add_module("linear1", nn.Linear(2, 3))
    made.add_module("linear2", nn.Linear(3, 2))
    assert feed_forward(made.state_dict()) == []


def test_bad_input_is_one_line() -> None:
    state = policy(0).state_dict()
    with pytest.raises(MethodError, match=r"^no feed-forward layer known among conv.weight, .*$"):
        align({}, {"conv.weight": torch.zeros(2, 2)})
    with pytest.raises(MethodError, match=r"^3 heads do not divide the width 8 of blocks.0.attn"):
        align(state, state, heads=3)
    with pytest.raises(MethodError, match=r"^extra is not a tensor of this suite's policies.*$"):
        align(state, state | {"extra": torch.zeros(8)}, residual=True)


def _layers(linear: bool, hidden: int, bias: bool = True, norm: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(hidden)
    up, down = (
        torch.randn(hidden, 4, generator=generator),
        torch.randn(4, hidden, generator=generator),
    )
    state = {"h.0.mlp.c_fc.weight": up, "h.0.mlp.c_proj.weight": down}
    if not linear:
        state = {key: value.T.contiguous() for key, value in state.items()}
    if bias:
        state |= {"h.0.mlp.c_fc.bias": torch.ones(hidden), "h.0.mlp.c_proj.bias": torch.ones(4)}
    return state | ({"h.0.ln_2.weight": torch.ones(4)} if norm else {})


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize(("bias", "norm"), [(True, True), (True, False), (False, True)])
def test_sizes_tell_a_linear_c_fc_from_a_transposed_one(
    linear: bool, bias: bool, norm: bool
) -> None:
    (units,) = feed_forward(_layers(linear, 6, bias, norm))
    axes = {axis.key: (axis.dim, axis.size) for axis in units.parts[0]}
    assert axes["h.0.mlp.c_fc.weight"] == (0 if linear else 1, 6)
    assert axes["h.0.mlp.c_proj.weight"] == (1 if linear else 0, 6)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (_layers(True, 6, bias=False, norm=False), "fit two layouts"),
        (_layers(True, 4), "fit two layouts"),
        (_layers(True, 6) | {"h.0.mlp.c_fc.bias": torch.ones(5)}, "do not fit together"),
        (
            {"layers.0.fc1.weight": torch.ones(6, 4), "layers.0.fc2.weight": torch.ones(4, 5)},
            "do not fit together",
        ),
        (
            {
                "layers.0.fc1.weight": torch.ones(6, 4),
                "layers.0.fc2.weight": torch.ones(4, 6),
                "layers.0.inner.scale": torch.ones(6),
            },
            "layers.0.inner.scale has as many elements as the hidden units",
        ),
    ],
)
def test_what_cannot_be_told_is_not_guessed(state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(MethodError, match=message) as caught:
        align(state, state)
    assert "\n" not in str(caught.value)


def test_the_product_over_the_units_tells_a_wrong_permutation() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (
        {
            "layers.0.fc1.weight": torch.randn(6, 4, generator=generator),
            "layers.0.fc2.weight": torch.randn(4, 6, generator=generator),
        }
        for _ in range(2)
    )
    aligned = Aligned(one, two, two)
    assert aligned.moved == set(two)
    assert products_agree(two, aligned)
    product = two["layers.0.fc2.weight"] @ two["layers.0.fc1.weight"]
    after = aligned["layers.0.fc2.weight"] @ aligned["layers.0.fc1.weight"]
    torch.testing.assert_close(
        torch.linalg.svdvals(after), torch.linalg.svdvals(product), rtol=1e-5, atol=1e-6
    )
    aligned._moves.pop("layers.0.fc2.weight")
    assert not products_agree(two, aligned)
