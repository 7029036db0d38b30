"""The fast policy against the plain one, and its parts by themselves."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from suites.merging.policy.fast import (
    FastBlock,
    FastDecisionTransformer,
    FastMLP,
    dropout,
    unfolded,
)
from suites.merging.policy.model import Activation, Block, DecisionTransformer, Shape

SHAPE = Shape(5, 2, width=16, layers=3, heads=1, context=4, max_steps=50, dropout=0.0)


def policies(shape: Shape) -> tuple[DecisionTransformer, FastDecisionTransformer]:
    """Equal ones in float64, away from the small start, where all blocks nearly do nothing."""
    plain = DecisionTransformer(shape, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in plain.parameters():
            generator = torch.Generator().manual_seed(parameter.numel())
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    fast = FastDecisionTransformer(shape, torch.Generator()).double()
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(3, 4, 5, generator=g, dtype=dtype),
        torch.randn(3, 4, 2, generator=g, dtype=dtype),
        torch.randn(3, 4, 1, generator=g, dtype=dtype),
        torch.randint(46, (3, 1), generator=g) + torch.arange(4),
    )


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
@pytest.mark.parametrize("heads", [1, 4])
def test_actions_and_gradients_are_those_of_the_plain_policy(
    heads: int, activation: Activation, off: bool
) -> None:
    plain, fast = policies(dataclasses.replace(SHAPE, heads=heads, activation=activation))
    gradients, actions = [], []
    for policy in (plain, fast):
        for block in policy.blocks:
            block.attn.off = off
        actions.append(policy.train()(*inputs()))
        parameters = list(policy.parameters())
        error = actions[-1].square().sum()
        gradients.append(torch.autograd.grad(error, parameters, materialize_grads=True))
    torch.testing.assert_close(*actions, atol=1e-10, rtol=1e-8)
    for (name, _), expected, found in zip(plain.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)
        unused = off and any(part in name for part in ("attn", "ln_1", "return", "embed_action"))
        assert expected.any() == (not unused), name


@pytest.mark.parametrize("heads", [1, 4])
def test_acting_is_that_of_the_plain_policy(heads: int) -> None:
    plain, fast = policies(dataclasses.replace(SHAPE, heads=heads))
    states, actions, to_go, times = inputs()
    tokens_BK3D = plain.embed(states, actions, to_go) + plain.embed_time(times)[:, :, None]
    tokens_BTD = tokens_BK3D.flatten(1, 2)[:, :-1]
    torch.testing.assert_close(fast.act(tokens_BTD), plain.act(tokens_BTD), atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("heads", [1, 4])
def test_parameters_and_what_they_start_from_are_the_plain_policys(heads: int) -> None:
    shape = dataclasses.replace(SHAPE, heads=heads)
    plain, fast = (
        kind(shape, torch.Generator().manual_seed(3)).state_dict()
        for kind in (DecisionTransformer, FastDecisionTransformer)
    )
    assert list(plain) == list(fast)
    assert all(torch.equal(plain[name], fast[name]) for name in plain)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_block_that_reads_every_token_is_the_plain_one(heads: int) -> None:
    """As in the language model."""
    plain, fast = (kind(16, heads, 0.0, "relu").double() for kind in (Block, FastBlock))
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(fast(x), plain(x), atol=1e-10, rtol=1e-8)


def layers(policy: FastDecisionTransformer, name: str) -> Iterator[torch.nn.Module]:
    for block in policy.blocks:
        yield block.get_submodule(f"attn.{name}")


@pytest.mark.parametrize(("layer", "tokens"), [("qkv", [11, 11, 11]), ("proj", [11, 11, 4])])
def test_an_unfolded_policy_calls_every_layer(layer: str, tokens: list[int]) -> None:
    _, fast = policies(SHAPE)
    folded = fast(*inputs())
    seen: list[int] = []
    for watched in layers(fast, layer):
        watched.register_forward_hook(lambda _, x, __: seen.append(x[0].size(1)))
    with unfolded(fast):
        torch.testing.assert_close(fast(*inputs()), folded)
    assert seen == tokens
    fast(*inputs())
    assert seen == tokens


def test_one_head_drops_the_same_weights_either_way() -> None:
    """Dropout's masks are drawn in the same order, so equal seeds must give equal actions."""
    shape = dataclasses.replace(SHAPE, dropout=0.3)
    _, fast = policies(shape)
    fast.train()
    torch.manual_seed(0)
    folded = fast(*inputs())
    torch.manual_seed(0)
    with unfolded(fast):
        torch.testing.assert_close(fast(*inputs()), folded)
    torch.manual_seed(1)
    assert not torch.allclose(fast(*inputs()), folded)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.full((401, 499), 3.0, requires_grad=True)
    y = dropout(x, rate, True)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    gone = y.detach() == 0
    assert gone.float().mean().item() == pytest.approx(rate, abs=4 * (rate / x.numel()) ** 0.5)
    for way in (0, 1):  # neighbours do not know of each other
        pairs = gone & gone.roll(1, way)
        assert pairs.float().mean().item() == pytest.approx(rate**2, abs=0.003)
    assert y[~gone].unique().tolist() == pytest.approx([3 / (1 - rate)], rel=1e-4)
    assert y.mean().item() == pytest.approx(3, rel=0.005)
    torch.testing.assert_close(x.grad, y.detach() / 3)
    again = dropout(x, rate, True)
    assert not torch.equal(again, y)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, rate, True), y)


def test_dropout_of_nothing_and_of_everything() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, 0.0, True) is x
    assert torch.equal(dropout(x, 0.4, False), x)
    assert not dropout(x, 1.0, True).any()


@pytest.mark.parametrize("watched", [False, True])
def test_rectifying_in_place_is_relu_with_its_gradient(watched: bool) -> None:
    """Also where a hook looks at what the layer before it gives."""
    mlp = FastMLP(6, 0.0, "relu")
    x = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    seen: list[Tensor] = []

    def keep(_layer: object, _inputs: object, output: Tensor) -> Tensor:
        seen.append(output)
        return output.clone()

    hook = mlp.up.register_forward_hook(keep) if watched else None
    upstream = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(1))
    wanted = [x, *mlp.parameters()]
    found = torch.autograd.grad(mlp(x), wanted, upstream)
    expected = torch.autograd.grad(mlp.down(F.relu(mlp.up(x))), wanted, upstream)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    if hook:
        assert (seen[0] < 0).any()  # not what the activation made of it
