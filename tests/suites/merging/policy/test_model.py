"""The network against plain definitions, and policies on disk.

Shape suffixes: see `suites.merging.policy.model`.
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import DataError, SpecError
from suites.merging.policy import model
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.trajectories import Statistics

SHAPE = Shape(5, 2, width=16, layers=2, heads=2, context=4, max_steps=50, dropout=0.0)


def policy(shape: Shape = SHAPE, seed: int = 0) -> DecisionTransformer:
    made = DecisionTransformer(shape, torch.Generator().manual_seed(seed))
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


@pytest.mark.parametrize("heads", [1, 2])  # one head takes a shorter way
def test_actions_are_those_of_the_definition(heads: int) -> None:
    p = policy(dataclasses.replace(SHAPE, heads=heads))
    states, actions, to_go, times = inputs()
    with torch.no_grad():
        found = p(states, actions, to_go, times)
        for b in range(3):
            expected = plain(p, states[b], actions[b], to_go[b], times[b])
            torch.testing.assert_close(found[b], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2])
def test_acting_is_the_action_at_the_last_token_and_leaves_the_mode_alone(heads: int) -> None:
    p = policy(dataclasses.replace(SHAPE, heads=heads, dropout=0.5)).train()
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


@pytest.mark.parametrize(("layer", "tokens"), [("qkv", [11, 11]), ("proj", [11, 4])])
def test_whoever_watches_a_layer_sees_it_called(layer: str, tokens: list[int]) -> None:
    p = policy(dataclasses.replace(SHAPE, heads=1)).eval()
    alone = p(*inputs())
    seen: list[int] = []
    for block in p.blocks:
        watched = block.attn.get_submodule(layer)
        watched.register_forward_hook(lambda _, x, __: seen.append(x[0].size(1)))
    torch.testing.assert_close(p(*inputs()), alone)
    assert seen == tokens


def test_one_head_drops_the_same_weights_either_way() -> None:
    """Dropout's masks are drawn in the same order, so equal seeds must give equal actions."""
    p = policy(dataclasses.replace(SHAPE, heads=1, dropout=0.3)).train()
    torch.manual_seed(0)
    folded = p(*inputs())
    p.blocks[0].attn.proj.register_forward_hook(lambda *_: None)
    p.blocks[1].attn.proj.register_forward_hook(lambda *_: None)
    torch.manual_seed(0)
    torch.testing.assert_close(p(*inputs()), folded)
    torch.manual_seed(1)
    assert not torch.allclose(p(*inputs()), folded)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.full((401, 499), 3.0, requires_grad=True)
    y = model.dropout(x, rate, True)
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
    again = model.dropout(x, rate, True)
    assert not torch.equal(again, y)
    torch.manual_seed(0)
    assert torch.equal(model.dropout(x, rate, True), y)


def test_dropout_of_nothing_and_of_everything() -> None:
    x = torch.randn(3, 5)
    assert model.dropout(x, 0.0, True) is x
    assert torch.equal(model.dropout(x, 0.4, False), x)
    assert not model.dropout(x, 1.0, True).any()


@pytest.mark.parametrize("watched", [False, True])
def test_rectifying_in_place_is_relu_with_its_gradient(watched: bool) -> None:
    """Also where a hook looks at what the layer before it gives."""
    mlp = model.MLP(6, 0.0, "relu")
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


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_are_those_of_whole_blocks(heads: int) -> None:
    """The last block runs on fewer tokens; its gradients must not notice."""
    p = policy(dataclasses.replace(SHAPE, heads=heads))
    states, actions, to_go, times = inputs()
    p(states, actions, to_go, times).square().sum().backward()
    found = {k: v.grad.clone() for k, v in p.named_parameters() if v.grad is not None}
    p.zero_grad()
    x = p.embed(states, actions, to_go) + p.embed_time(times)[:, :, None]
    x = x.flatten(1, 2)
    for block in p.blocks:
        x = block(x)
    torch.tanh(p.predict_action(p.ln_f(x)))[:, 1::3].square().sum().backward()
    expected = {k: v.grad for k, v in p.named_parameters() if v.grad is not None}
    assert set(found) == set(expected) == set(dict(p.named_parameters()))
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4)


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


def test_a_saved_policy_is_the_same_policy(tmp_path: Path) -> None:
    p = policy()
    stats = Statistics(
        np.linspace(-1, 1, 5, dtype=np.float32) / 3, np.full(5, 0.7, dtype=np.float32)
    )
    model.save(p, stats, tmp_path / "policy")
    again, found = model.load(tmp_path / "policy")
    assert again.shape == p.shape
    assert not again.training
    assert all(torch.equal(v, p.state_dict()[k]) for k, v in again.state_dict().items())
    np.testing.assert_array_equal(found.mean_S, stats.mean_S)
    np.testing.assert_array_equal(found.std_S, stats.std_S)


def damage(folder: Path, how: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if how == "no config":
        config.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif how == "other shape":
        text = json.loads(config.read_text())
        text["shape"]["width"] = 32
        config.write_text(json.dumps(text))
    elif how == "unknown field":
        text = json.loads(config.read_text())
        text["shape"]["colour"] = 1
        config.write_text(json.dumps(text))
    else:
        config.write_text("{")


@pytest.mark.parametrize(
    "how", ["no config", "truncated", "other shape", "unknown field", "not json"]
)
def test_a_damaged_policy_is_one_line(tmp_path: Path, how: str) -> None:
    zeros = np.zeros(5, dtype=np.float32)
    model.save(policy(), Statistics(zeros, zeros), tmp_path)
    damage(tmp_path, how)
    with pytest.raises(DataError, match="cannot be read") as caught:
        model.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(SpecError, match="3 heads do not divide a width of 16"):
        DecisionTransformer(dataclasses.replace(SHAPE, heads=3), torch.Generator())
