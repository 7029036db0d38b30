"""Routers by hand: gates, losses with closed forms, and the way there and back of tokens."""

import math

import pytest
import torch
from torch import Tensor

from suites.bam.model.routing import (
    Dispatch,
    entropy,
    load,
    load_balancing_loss,
    route,
    token_mean,
    z_loss,
)


def logits(rows: int, experts: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, experts, generator=generator, requires_grad=True)


# Softmax of these is (1/2, 1/3, 1/6), in this order and turned.
THIRDS = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [3.0, 1.0, 2.0], [3.0, 2.0, 1.0]]).log()


def test_gates_are_probabilities_of_all_experts() -> None:
    one = route(THIRDS, 1, renormalise=False)
    torch.testing.assert_close(one.gate_NK, torch.full((4, 1), 1 / 2))
    assert one.expert_NK.flatten().tolist() == [0, 1, 0, 0]
    two = route(THIRDS, 2, renormalise=False)
    torch.testing.assert_close(two.gate_NK, torch.tensor([[1 / 2, 1 / 3]]).expand(4, 2))
    scaled = route(THIRDS, 2, renormalise=True)
    torch.testing.assert_close(scaled.gate_NK, torch.tensor([[3 / 5, 2 / 5]]).expand(4, 2))


def test_a_top_1_gate_teaches_the_router_unless_renormalised() -> None:
    x = logits(5, 4)
    route(x, 1, renormalise=False).gate_NK.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    x.grad = None
    route(x, 1, renormalise=True).gate_NK.sum().backward()
    assert x.grad.abs().max() < 1e-6


def test_load_balancing_by_hand() -> None:
    # Loads: 3/4, 1/4, 0. Means: (3*1/2 + 1/6)/4 = 5/12, (2*1/3 + 1/2 + 1/6)/4 = 1/3, 1/4.
    routing = route(THIRDS, 1, renormalise=False)
    torch.testing.assert_close(load(routing), torch.tensor([3 / 4, 1 / 4, 0.0]))
    torch.testing.assert_close(
        token_mean(routing.probability_NE), torch.tensor([5 / 12, 1 / 3, 1 / 4])
    )
    expected = 3 * (3 / 4 * 5 / 12 + 1 / 4 * 1 / 3)
    assert load_balancing_loss(routing).item() == pytest.approx(expected)


def test_mean_probability_is_over_all_experts_not_the_chosen() -> None:
    # A mean over the chosen alone would give expert 2, which nobody chose, no gradient.
    x = THIRDS.clone().requires_grad_()
    load_balancing_loss(route(x, 1, renormalise=False)).backward()
    assert x.grad is not None
    assert x.grad[:, 2].abs().min() > 0


@pytest.mark.parametrize(("experts", "top_k"), [(4, 1), (4, 2), (6, 3)])
def test_load_balancing_when_balanced_and_when_not(experts: int, top_k: int) -> None:
    cycle = torch.stack([torch.arange(experts).roll(i).float() for i in range(experts)])
    balanced = load_balancing_loss(route(cycle, top_k, renormalise=False)).item()
    assert balanced == pytest.approx(top_k)
    one_sided = torch.zeros(5, experts)
    one_sided[:, 0] = 50.0
    unbalanced = load_balancing_loss(route(one_sided, 1, renormalise=False)).item()
    assert unbalanced == pytest.approx(experts)


def test_load_balancing_depends_on_the_routing() -> None:
    x = logits(64, 4)
    route_x = route(x, 1, renormalise=False)
    skewed = route(x + torch.tensor([2.0, 0, 0, 0]), 1, renormalise=False)
    assert load_balancing_loss(skewed).item() > load_balancing_loss(route_x).item() + 0.5


def test_z_loss_is_a_mean_over_tokens() -> None:
    # logsumexp of E equal logits c is c + log E.
    x = torch.tensor([1.0, -2.0]).unsqueeze(1).expand(2, 4)
    expected = ((1 + math.log(4)) ** 2 + (-2 + math.log(4)) ** 2) / 2
    routing = route(x, 1, renormalise=False)
    assert z_loss(routing).item() == pytest.approx(expected)
    doubled = route(x.repeat(2, 1), 1, renormalise=False)
    assert z_loss(doubled).item() == pytest.approx(expected)


def test_weights_leave_tokens_out() -> None:
    weight = torch.tensor([1.0, 0.0, 1.0, 0.0])
    whole, kept = (route(x, 1, renormalise=False) for x in (THIRDS, THIRDS[::2]))
    for measure in (load, load_balancing_loss, z_loss):
        torch.testing.assert_close(measure(whole, weight), measure(kept))


def test_entropy() -> None:
    assert entropy(torch.full((3, 8), 1 / 8)).item() == pytest.approx(math.log(8))
    assert entropy(torch.eye(4)).item() == 0
    expected = -sum(p * math.log(p) for p in (1 / 2, 1 / 3, 1 / 6))
    assert entropy(THIRDS.softmax(1)).item() == pytest.approx(expected)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_tokens_go_to_their_experts_and_come_back(top_k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    # Expert 3 of 5 gets no token.
    choices = torch.tensor([0, 1, 2, 4])
    expert_NK = torch.stack([choices[torch.randperm(4, generator=generator)] for _ in range(9)])
    expert_NK = expert_NK[:, :top_k]
    x = torch.randn(9, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    gate = torch.rand(9, top_k, generator=generator, dtype=torch.float64, requires_grad=True)
    dispatch = Dispatch(expert_NK, 5)
    counts = [int((expert_NK == e).sum()) for e in range(5)]
    assert dispatch.sizes() == counts

    def through(x_ND: Tensor, gate_NK: Tensor) -> Tensor:
        """Expert e multiplies by e + 1."""
        rows = dispatch.scatter(x_ND)
        factor = torch.arange(1.0, 6, dtype=torch.float64).repeat_interleave(torch.tensor(counts))
        return dispatch.gather(rows * factor.unsqueeze(1), gate_NK)

    expected = x * (gate * (expert_NK + 1)).sum(1, keepdim=True)
    torch.testing.assert_close(through(x, gate), expected)
    assert torch.autograd.gradcheck(through, (x, gate))
