"""Hypergradients against a closed form, against each other, and AdamW looked ahead."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suites.mixup.hypergradient import (
    cross_by_differences,
    cross_exact,
    norm,
    precondition,
)
from suites.mixup.optimizer import (
    RecAdam,
    groups,
    look_ahead,
    mean_second_moment,
    second_moment,
    set_rates,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic() -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
    """L_tr(w, a) = 1/2 w'Hw + a'Bw, L_val(w) = 1/2 |w - t|^2, in float64."""
    g = seeded()
    root, b, t, w = (
        torch.randn(*s, generator=g, dtype=torch.float64) for s in ((4, 4), (3, 4), (4,), (4,))
    )
    h = root @ root.T

    def train(weights: tuple[Tensor, ...], alphas: tuple[Tensor, ...]) -> Tensor:
        return 0.5 * weights[0] @ h @ weights[0] + alphas[0] @ b @ weights[0]

    return train, h, b, t, w


@pytest.mark.parametrize("kind", ["exact", "forward", "central"])
def test_a_quadratic_problem_has_its_closed_form(kind: str) -> None:
    train, h, b, target, w = quadratic()
    a = torch.randn(3, generator=seeded(1), dtype=torch.float64)
    rate = 0.05
    ahead = w - rate * (h @ w + b.T @ a)
    # d/da 1/2 |w' - t|^2 with dw'/da = -rate B'
    expected = -rate * b @ (ahead - target)

    values = [rate * (ahead - target)]  # plain gradient descent: P = rate
    if kind == "exact":
        cross = cross_exact(train, [w], [a], values)
    else:
        here = [b @ w] if kind == "forward" else None
        cross = tuple(cross_by_differences(lambda s: [b @ (w + s * values[0])], values, 0.01, here))
    torch.testing.assert_close(-cross[0], expected, rtol=1e-9, atol=1e-12)


def test_a_bilevel_loop_on_the_quadratic_finds_its_solution() -> None:
    # One inner step from w = 0 at rate r leads to w'(a) = -r B'a. With B square and invertible the
    # validation loss is 0 at a* = -B^-T t / r.
    g = seeded(2)
    b = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(
        3, 3, generator=g, dtype=torch.float64
    )
    target, rate = torch.ones(3, dtype=torch.float64), 0.5
    solution = -torch.linalg.solve(b.T, target) / rate
    a = torch.zeros(3, dtype=torch.float64)
    w = torch.zeros(3, dtype=torch.float64)
    for _ in range(400):
        ahead = w - rate * (b.T @ a)
        cross = cross_exact(lambda ws, als: als[0] @ b @ ws[0], [w], [a], [rate * (ahead - target)])
        a = a + 1.0 * cross[0]
    torch.testing.assert_close(a, solution, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("central", [True, False])
def test_finite_differences_are_the_exact_derivative_on_a_small_network(central: bool) -> None:
    g = seeded()
    x, y = torch.randn(20, 5, generator=g).double(), torch.randn(20, generator=g).double()
    weights = [torch.randn(*s, generator=g).double() for s in ((6, 5), (6,))]
    alphas = [torch.rand(6, 5, generator=g).double()]
    direction = [torch.randn(w.shape, generator=g).double() for w in weights]

    def train(ws: tuple[Tensor, ...], als: tuple[Tensor, ...]) -> Tensor:
        return ((torch.tanh(x @ (als[0] * ws[0]).T) @ ws[1] - y) ** 2).mean()

    def gradient(step: float) -> list[Tensor]:
        moved = tuple(w + step * d for w, d in zip(weights, direction, strict=True))
        alpha = alphas[0].clone().requires_grad_()
        return list(torch.autograd.grad(train(moved, (alpha,)), alpha))

    exact = cross_exact(train, weights, alphas, direction)[0]
    found = cross_by_differences(gradient, direction, 0.01, None if central else gradient(0.0))[0]
    off = float((found - exact).norm() / exact.norm())
    assert off < (1e-4 if central else 1e-2)  # of second and of first order in the radius of 0.01
    # reverse over reverse, another way to the same number
    ws, al = [w.clone().requires_grad_() for w in weights], alphas[0].clone().requires_grad_()
    inner = torch.autograd.grad(train(tuple(ws), (al,)), ws, create_graph=True)
    again = torch.autograd.grad(
        sum((i * d).sum() for i, d in zip(inner, direction, strict=True)), al
    )[0]
    torch.testing.assert_close(exact, again)


def test_a_shift_has_the_length_that_is_documented() -> None:
    steps: list[float] = []

    def gradient(step: float) -> list[Tensor]:
        steps.append(step)
        return [torch.zeros(1)]

    direction = [torch.full((4,), 3.0), torch.full((5,), 1.0)]
    cross_by_differences(gradient, direction, 0.01)
    assert norm(direction) == pytest.approx(41**0.5)
    assert steps == pytest.approx([0.01 / 41**0.5, -0.01 / 41**0.5])


def adamw(dtype: torch.dtype, steps: int) -> tuple[torch.optim.AdamW, list[Tensor], list[Tensor]]:
    """An optimiser that has made some steps, its parameters, and the next gradients."""
    g = seeded()
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)).to(dtype)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g).to(dtype)
    optimizer = torch.optim.AdamW(groups(model, 0.01, 0.1), betas=(0.8, 0.95), fused=True)
    own = [p for group in optimizer.param_groups for p in group["params"]]
    for _ in range(steps):
        for p in own:
            p.grad = torch.randn(p.shape, generator=g).to(dtype)
        optimizer.step()
    return optimizer, own, [torch.randn(p.shape, generator=g).to(dtype) for p in own]


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # kernel and composite
def test_looking_ahead_is_the_step_and_changes_nothing(steps: int, dtype: torch.dtype) -> None:
    optimizer, own, gradients = adamw(dtype, steps)
    set_rates(optimizer, 0.7)
    kept = [p.detach().clone() for p in own]
    state = copy.deepcopy(optimizer.state_dict())
    out = [torch.empty_like(p) for p in own]
    look_ahead(optimizer, gradients, out)
    assert all(torch.equal(p, k) for p, k in zip(own, kept, strict=True))
    for old, new in zip(
        state["state"].values(), optimizer.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(old[key], new[key]) for key in old)
    for p, gradient in zip(own, gradients, strict=True):
        p.grad = gradient
    optimizer.step()
    for ahead, p in zip(out, own, strict=True):
        torch.testing.assert_close(ahead, p.detach())


def by_autograd(
    optimizer: torch.optim.AdamW, gradients: list[Tensor], values: list[Tensor]
) -> Tensor:
    """-dW'/dg of the first parameter, times a vector, through the update rule."""
    (group, *_), gradient = optimizer.param_groups, gradients[0].clone().requires_grad_()
    slots = optimizer.state[group["params"][0]]
    t, (b1, b2) = int(slots["step"]) + 1, group["betas"]
    m = (b1 * slots["exp_avg"] + (1 - b1) * gradient) / (1 - b1**t)
    v = (b2 * slots["exp_avg_sq"] + (1 - b2) * gradient**2) / (1 - b2**t)
    moved = -group["lr"] * m / (v.sqrt() + group["eps"])
    return -torch.autograd.grad(moved, gradient, values[0])[0]


def test_preconditioners_are_their_formulas() -> None:
    optimizer, own, gradients = adamw(torch.float64, 3)
    group = optimizer.param_groups[0]
    values = [torch.randn(p.shape, generator=seeded(3)).double() for p in own]

    def preconditioned(kind: Any) -> Tensor:
        copies = [v.clone() for v in values]
        precondition(kind, optimizer, gradients, copies)
        return copies[0]

    old = optimizer.state[own[0]]["exp_avg_sq"]
    moment = (0.95 * old + 0.05 * gradients[0] ** 2) / (1 - 0.95**4)
    torch.testing.assert_close(second_moment(optimizer, own[0], group, gradients[0]), moment)
    mean = mean_second_moment(optimizer, own[0], group, gradients[0])
    assert mean == pytest.approx(float(moment.mean()))
    torch.testing.assert_close(preconditioned("sgd"), 0.01 * values[0])
    torch.testing.assert_close(preconditioned("adamw"), by_autograd(optimizer, gradients, values))
    torch.testing.assert_close(
        preconditioned("adamw-tensor"), values[0] / (moment.mean().sqrt() + 1e-8)
    )


def test_biases_and_norms_are_not_decayed_and_frozen_ones_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    model[2].requires_grad_(False)
    decayed, free = groups(model, 0.1, 0.01, exclude=[model[0].bias])
    assert [decayed["weight_decay"], free["weight_decay"]] == [0.01, 0.0]
    assert decayed["params"][0] is model[0].weight
    assert {id(p) for p in free["params"]} == {id(p) for p in model[1].parameters()}


def test_rec_adam_is_its_formula() -> None:
    g = seeded()
    weight = torch.randn(6, generator=g).requires_grad_()
    free = torch.randn(6, generator=g).requires_grad_()
    plain = free.detach().clone().requires_grad_()
    anchor = weight.detach().clone()
    ours = RecAdam(
        [{"params": [weight, free], "lr": 0.1, "initial_lr": 0.1, "weight_decay": 0.1}],
        gamma=2.0,
        k=0.5,
        t0=3.0,
    )
    ours.anchors[weight] = anchor.clone()
    adam = torch.optim.Adam([plain], lr=0.1)
    w, m, v = anchor.clone(), torch.zeros(6), torch.zeros(6)
    for t in range(1, 6):
        gradient = torch.randn(6, generator=g)
        weight.grad, free.grad, plain.grad = (gradient.clone() for _ in range(3))
        ours.step()
        adam.step()
        with torch.no_grad():
            plain.mul_(1 - 0.1 * 0.1)
        share = float(torch.sigmoid(torch.tensor(0.5 * (t - 3.0))))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.1 * share * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        w = w - 0.1 * (1 - share) * 2.0 * (w - anchor)
        w = w - 0.1 * 0.1 * w
    torch.testing.assert_close(weight.detach(), w)
    torch.testing.assert_close(free.detach(), plain.detach())
