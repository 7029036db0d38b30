"""The network against its definition, token by token.

Shape suffixes: see `suites.merging.policy.model`.
"""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import SpecError
from suites.merging.policy import model
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape

SHAPE = Shape(5, 2, width=16, layers=2, heads=2, context=4, max_steps=50, dropout=0.0)


def policy(
    shape: Shape = SHAPE, kind: type[DecisionTransformer] = DecisionTransformer
) -> DecisionTransformer:
    made = kind(shape, torch.Generator().manual_seed(0))
    with torch.no_grad():  # away from the small start, where all blocks nearly do nothing
        for parameter in made.parameters():
            generator = torch.Generator().manual_seed(parameter.numel())
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made


def inputs(batch: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, 4, 5, generator=g),
        torch.randn(batch, 4, 2, generator=g),
        torch.randn(batch, 4, 1, generator=g),
        torch.randint(46, (batch, 1), generator=g) + torch.arange(4),
    )


def plain(
    p: DecisionTransformer, states: Tensor, actions: Tensor, to_go: Tensor, times: Tensor
) -> Tensor:
    """One window, token by token, with every token and every block whole."""
    state = p.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        scaled = (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, correction=0, keepdim=True) + 1e-5
        ) ** 0.5
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    tokens = []
    for k in range(len(states)):
        for name, x in (("return", to_go[k]), ("state", states[k]), ("action", actions[k])):
            embedded = norm("embed_norm", linear(f"embed_{name}", x))
            tokens.append(embedded + state["embed_time.weight"][times[k]])
    x = torch.stack(tokens)
    width, heads = p.shape.width, p.shape.heads
    for n in range(p.shape.layers):
        q, k, v = linear(f"blocks.{n}.attn.qkv", norm(f"blocks.{n}.ln_1", x)).split(width, dim=-1)
        mixed = torch.zeros_like(x)
        for h in range(heads):
            part = slice(h * width // heads, (h + 1) * width // heads)
            for t in range(len(x)):
                scores = torch.stack([q[t, part] @ k[s, part] for s in range(t + 1)])
                weights = torch.softmax(scores / math.sqrt(width // heads), 0)
                mixed[t, part] = sum(w * v[s, part] for s, w in enumerate(weights))
        x = x + linear(f"blocks.{n}.attn.proj", mixed)
        hidden = linear(f"blocks.{n}.mlp.up", norm(f"blocks.{n}.ln_2", x)).clamp(min=0)
        x = x + linear(f"blocks.{n}.mlp.down", hidden)
    return torch.tanh(linear("predict_action", norm("ln_f", x)))[1::3]


@pytest.mark.parametrize("kind", [DecisionTransformer, FastDecisionTransformer])
@pytest.mark.parametrize("heads", [1, 2])  # one head takes a shorter way
def test_actions_are_those_of_the_definition(kind: type[DecisionTransformer], heads: int) -> None:
    p = policy(dataclasses.replace(SHAPE, heads=heads), kind=kind)
    states, actions, to_go, times = inputs()
    with torch.no_grad():
        found = p(states, actions, to_go, times)
        for b in range(3):
            expected = plain(p, states[b], actions[b], to_go[b], times[b])
            torch.testing.assert_close(found[b], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [DecisionTransformer, FastDecisionTransformer])
@pytest.mark.parametrize("heads", [1, 2])
def test_acting_is_the_action_at_the_last_token_and_leaves_the_mode_alone(
    kind: type[DecisionTransformer], heads: int
) -> None:
    p = policy(dataclasses.replace(SHAPE, heads=heads, dropout=0.5), kind=kind).train()
    states, actions, to_go, times = inputs()
    tokens_BTD = (p.embed(states, actions, to_go) + p.embed_time(times)[:, :, None]).flatten(1, 2)
    acted = p.act(tokens_BTD[:, :-1])
    assert p.training
    assert not acted.requires_grad
    torch.testing.assert_close(acted, p.eval()(*inputs())[:, -1])


def test_nothing_looks_ahead() -> None:
    p = policy().eval()
    states, actions, to_go, times = inputs()
    before = p(states, actions, to_go, times)
    states[:, 3], to_go[:, 3], actions[:, 2:], times[:, 3] = 9.0, 9.0, 9.0, 7
    after = p(states, actions, to_go, times)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])


def test_switched_off_attention_leaves_the_residual_stream_alone() -> None:
    p = policy().eval()
    with torch.no_grad():
        for block in p.blocks:
            block.attn.off = True
        off = p(*inputs())
        for block in p.blocks:
            block.attn.off = False
            block.attn.proj.weight.zero_()
            block.attn.proj.bias.zero_()
        torch.testing.assert_close(p(*inputs()), off)


def test_gelu_is_the_approximate_one() -> None:
    mlp = model.MLP(8, 0.0, "gelu_new")
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    expected = mlp.down(F.gelu(mlp.up(x), approximate="tanh"))
    torch.testing.assert_close(mlp(x), expected)


def test_weights_start_as_in_gpt2() -> None:
    shape = dataclasses.replace(SHAPE, width=128, layers=3, heads=1)
    p = DecisionTransformer(shape, torch.Generator().manual_seed(0))
    block = p.blocks[1]
    assert float(block.mlp.up.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    for residual in (block.attn.proj, block.mlp.down):
        assert float(residual.weight.detach().std()) == pytest.approx(0.02 / 6**0.5, rel=0.03)
        assert not residual.bias.any()
    bound = 5**-0.5
    assert float(p.embed_state.weight.detach().abs().max()) == pytest.approx(bound, rel=0.02)


def test_equal_generators_give_equal_weights_and_others_do_not() -> None:
    one, same, other = (
        DecisionTransformer(SHAPE, torch.Generator().manual_seed(s)).state_dict() for s in (0, 0, 1)
    )
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["blocks.0.mlp.up.weight"], other["blocks.0.mlp.up.weight"])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(SpecError, match="3 heads do not divide a width of 16"):
        DecisionTransformer(dataclasses.replace(SHAPE, heads=3), torch.Generator())
