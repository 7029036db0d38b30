"""Returns of a Decision Transformer in its environment, all episodes in lock-step.

One model call a step serves every episode that still runs; finished ones leave the batch.

Shape suffixes: E episodes, B those that still run, K context, S state, A action.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import MethodError
from suites.merging.environments import Environment, LockStep
from suites.merging.model import DecisionTransformer
from suites.merging.trajectories import RETURN_SCALE, Batch, Statistics


class Evaluation(NamedTuple):
    """What an evaluation found and what it cost."""

    returns_E: NDArray[np.float64]
    """Undiscounted, in the order of the seeds."""
    physics_seconds: float
    """Wall-clock time inside the environments' steps."""
    seconds: float
    """Wall-clock time of everything."""


def evaluate(
    policy: DecisionTransformer,
    env: Environment,
    statistics: Statistics,
    *,
    seeds: Sequence[int],
    target: float | None = None,
    context: int,
    device: str | torch.device = "cpu",
) -> Evaluation:
    """Runs one episode for each seed and asks for `target` (the environment's own if None).

    As in the released code: the return-to-go begins at the target and falls by each reward; the
    policy sees the last `context` steps, padded on the left and masked; the current action token
    is zero; its deterministic action goes to the environment as it is. We seed each episode, the
    released code does not. On the CPU the same seeds give the same returns, bit for bit.

    Raises:
        MethodError: the policy's state or action size is not the environment's, or no seeds.
    """
    if not len(seeds):
        raise MethodError("an evaluation needs one seed or more")
    start = time.perf_counter()
    world = LockStep(env, seeds)
    returns_E = np.zeros(len(seeds))
    for running_B, rewards_B in play(policy, env, statistics, world, target, context, device):
        returns_E[running_B] += rewards_B
    return Evaluation(returns_E, world.physics_seconds, time.perf_counter() - start)


def play(
    policy: DecisionTransformer,
    env: Environment,
    statistics: Statistics,
    world: LockStep,
    target: float | None,
    context: int,
    device: str | torch.device = "cpu",
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Runs the episodes of `world` to their end; see `evaluate`.

    Yields after each step which episodes took it, and their rewards.

    Raises:
        MethodError: the policy's state or action size is not the environment's.
    """
    sizes = (policy.shape.state_dim, policy.shape.action_dim)
    if sizes != (env.state_dim, env.action_dim):
        raise MethodError(
            f"a policy of {sizes[0]} states and {sizes[1]} actions cannot act in {env.id}, "
            f"which has {env.state_dim} and {env.action_dim}; choose a policy of {env.name}"
        )
    target = env.target_return if target is None else target
    window = _Window(len(world.running_B), env, statistics, context, target, device)
    for step in range(env.max_steps):
        running_B = world.running_B
        window.see(step, world.states_BS)
        actions_BA = policy.act(*window.at(step))
        rewards_B, _ = world.step(actions_BA.cpu().numpy())
        window.did(step, actions_BA, rewards_B)
        yield running_B, rewards_B
        if len(world.running_B) < len(running_B):
            if not len(world.running_B):
                break
            window.keep(np.isin(running_B, world.running_B))


class _Window:
    """The past of all running episodes; column `step + context - 1` belongs to `step`.

    The `context - 1` columns before the first step are the padding.
    """

    def __init__(
        self,
        episodes: int,
        env: Environment,
        statistics: Statistics,
        context: int,
        target: float,
        device: str | torch.device,
    ) -> None:
        size = (episodes, context - 1 + env.max_steps)
        self._statistics, self._context = statistics, context
        self._states = torch.zeros(*size, env.state_dim, device=device)
        self._actions = torch.zeros(*size, env.action_dim, device=device)
        self._to_go = torch.zeros(*size, 1, device=device)
        self._wanted_B = np.full(episodes, float(target))
        self._times_K = torch.arange(size[1], device=device) - (context - 1)

    def see(self, step: int, states_BS: NDArray[np.float32]) -> None:
        """Takes the states in which the next actions are wanted."""
        mean_S, std_S = self._statistics
        column = step + self._context - 1
        device = self._states.device
        self._states[:, column] = torch.from_numpy((states_BS - mean_S) / std_S).to(device)
        to_go_B = torch.from_numpy((self._wanted_B / RETURN_SCALE).astype(np.float32))
        self._to_go[:, column, 0] = to_go_B.to(device)

    def did(self, step: int, actions_BA: torch.Tensor, rewards_B: NDArray[np.float64]) -> None:
        """Takes what was done there and what it earned."""
        self._actions[:, step + self._context - 1] = actions_BA
        self._wanted_B -= rewards_B

    def at(self, step: int) -> Batch:
        """What the policy sees at a step."""
        columns = slice(step, step + self._context)
        times_K = self._times_K[columns]
        shape = (len(self._states), self._context)
        return Batch(
            self._states[:, columns],
            self._actions[:, columns],
            self._to_go[:, columns],
            times_K.clamp(min=0).expand(shape),
            (times_K >= 0).expand(shape),
        )

    def keep(self, kept_B: NDArray[np.bool_]) -> None:
        """Forgets the episodes that ended."""
        index = torch.from_numpy(np.flatnonzero(kept_B)).to(self._states.device)
        self._states = self._states[index]
        self._actions = self._actions[index]
        self._to_go = self._to_go[index]
        self._wanted_B = self._wanted_B[kept_B]
