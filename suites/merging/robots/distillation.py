"""Distils a large policy into a small one: regression on visited states, with DAgger's rounds.

Shape suffixes: N visited states, S state, A action.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from suites.merging.robots.environments import Environment
from suites.merging.robots.experts import Policy, roll_out

_NOISE = 0.1
_FIRST_STEPS, _MORE_STEPS = 40_000, 20_000
_ROUNDS = 8
_UPDATES, _LAST_UPDATES = 2_000, 20_000
_CLIP = 10.0


def distil(teacher: Policy, env: Environment, width: int, seed: int) -> Policy:
    """A student with two layers of `width` that does what the teacher would do (DAgger).

    The first states are those that the noisy teacher visits; in each later round the student goes
    where it goes, with noise every other round, and the teacher says what it would have done
    there. A function of its arguments alone.

    Source: Ross, Gordon & Bagnell (2011), with the student alone acting after the first round.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    rolled = roll_out(teacher, env, _FIRST_STEPS, _NOISE, int(rng.integers(2**31)))
    mean_S, std_S = rolled.states_NS.mean(0), rolled.states_NS.std(0) + np.float32(1e-3)
    layers = [
        (
            torch.randn(n, m, generator=generator).div_(m**0.5).requires_grad_(),
            torch.zeros(n, requires_grad=True),
        )
        for m, n in pairwise((env.state_dim, width, width, env.action_dim))
    ]

    def student() -> Policy:
        arrays = tuple((w.detach().numpy(), b.detach().numpy()) for w, b in layers)
        return Policy(arrays, mean_S, std_S, clip=_CLIP, activation="tanh", output="tanh")

    visited, answers = [rolled.states_NS], [teacher.act(rolled.states_NS, 0)]
    for count in range(_ROUNDS):
        if count:
            noise = _NOISE * (count % 2)
            rolled = roll_out(student(), env, _MORE_STEPS, noise, int(rng.integers(2**31)))
            visited.append(rolled.states_NS)
            answers.append(teacher.act(rolled.states_NS, 0))
        x_NS = ((np.concatenate(visited) - mean_S) / std_S).clip(-_CLIP, _CLIP)
        updates = _UPDATES if count < _ROUNDS - 1 else _LAST_UPDATES
        _regress(
            layers,
            torch.from_numpy(x_NS),
            torch.from_numpy(np.concatenate(answers)),
            updates,
            generator,
        )
    return student()


def _regress(
    layers: list[tuple[Tensor, Tensor]],
    x_NS: Tensor,
    y_NA: Tensor,
    updates: int,
    generator: torch.Generator,
) -> None:
    """Fits the student's layers, in place: mean squared error, Adam, cosine schedule."""
    optimizer = torch.optim.Adam([p for pair in layers for p in pair], lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        index = torch.randint(len(x_NS), (512,), generator=generator)
        out = x_NS[index]
        for weight, bias in layers:
            out = torch.tanh(nn.functional.linear(out, weight, bias))
        optimizer.zero_grad()
        nn.functional.mse_loss(out, y_NA[index]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
