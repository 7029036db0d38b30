"""Returns of a Decision Transformer in its environment, episodes in lock-step.

One model call a step serves every episode of a group that still runs; finished ones leave the
batch. Groups run side by side, one a thread: MuJoCo and torch both let go of Python's lock, and a
thread that does all of a group's work waits for no other, as threads that share each step would.

Shape suffixes: E episodes, B those that still run, T tokens, D width, S state, A action.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import MethodError
from suites.merging.policy.ensemble import Ensemble
from suites.merging.policy.model import DecisionTransformer
from suites.merging.robots.environments import Environment, LockStep
from suites.merging.robots.single import begin
from suites.merging.robots.trajectories import RETURN_SCALE, Statistics

GROUP = 25
"""Episodes in lock-step: enough to spread the fixed cost of a model call, few enough for threads.

It does not depend on the threads, so that nobody's returns do: the last bits of a matrix product
may depend on its size.
"""


class Evaluation(NamedTuple):
    """What an evaluation found and what it cost."""

    returns_E: NDArray[np.float64]
    """Undiscounted, in the order of the seeds."""
    steps: int
    """Of all episodes."""
    seconds: float
    """Wall-clock time of everything."""
    physics: float
    """Share of the time that went into the environments' steps."""


def evaluate(
    policy: DecisionTransformer | Ensemble,
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
    policy sees the last `context` steps, or as many as there are; its deterministic action goes to
    the environment as it is. We seed each episode, the released code does not. On the CPU the same
    seeds give the same returns, bit for bit, whatever the number of threads (torch's are used).

    Raises:
        MethodError: the policy's state or action size is not the environment's, or no seeds.
    """
    if not len(seeds):
        raise MethodError("an evaluation needs one seed or more")
    start = time.perf_counter()
    worlds = [begin(env, seeds[n : n + GROUP]) for n in range(0, len(seeds), GROUP)]
    threads = min(torch.get_num_threads(), len(worlds))

    def run(world: LockStep) -> Evaluation:
        begun, steps = time.perf_counter(), 0
        returns_E = np.zeros(len(world.running_B))
        for running_B, rewards_B in play(policy, env, statistics, world, target, context, device):
            returns_E[running_B] += rewards_B
            steps += len(running_B)
        seconds = time.perf_counter() - begun
        return Evaluation(returns_E, steps, seconds, world.physics_seconds / seconds)

    with _acting(policy):
        if threads == 1:
            parts = [run(world) for world in worlds]
        else:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(run, worlds))
    returns, steps, seconds, physics = zip(*parts, strict=True)
    return Evaluation(
        np.concatenate(returns),
        sum(steps),
        time.perf_counter() - start,
        float(np.average(physics, weights=seconds)),
    )


@contextmanager
def _acting(policy: DecisionTransformer | Ensemble) -> Iterator[None]:
    """Without dropout, and torch does its work in the thread that asks for it."""
    mode, threads = policy.training, torch.get_num_threads()
    policy.train(False)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        policy.train(mode)
        torch.set_num_threads(threads)


def play(
    policy: DecisionTransformer | Ensemble,
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
    memory = _Memory(policy, len(world.running_B), target, context, device)
    for step in range(env.max_steps):
        running_B = world.running_B
        states_BS = (world.states_BS - statistics.mean_S) / statistics.std_S
        actions_BA = memory.act(step, torch.from_numpy(states_BS).to(device))
        rewards_B, _ = world.step(actions_BA.cpu().numpy())
        memory.earned(rewards_B)
        yield running_B, rewards_B
        if len(world.running_B) < len(running_B):
            if not len(world.running_B):
                break
            memory.keep(np.isin(running_B, world.running_B))


class _Memory:
    """What the policy looks at in all running episodes: the tokens of the last steps.

    The current action has no token yet. A token does not depend on where it stands in the window,
    so each is embedded once.
    """

    def __init__(
        self,
        policy: DecisionTransformer | Ensemble,
        episodes: int,
        target: float,
        context: int,
        device: str | torch.device,
    ) -> None:
        shape = policy.shape
        self._policy, self._length = policy, 3 * context - 1
        self._tokens_BTD = torch.zeros(episodes, 0, shape.width, device=device)
        self._actions_BA = torch.zeros(episodes, shape.action_dim, device=device)
        self._wanted_B = np.full(episodes, float(target))

    @torch.inference_mode()
    def act(self, step: int, states_BS: torch.Tensor) -> torch.Tensor:
        """What the policy does in these states, [B,A]; they are normalised."""
        to_go_B = torch.from_numpy((self._wanted_B / RETURN_SCALE).astype(np.float32))
        to_go_B = to_go_B.to(states_BS.device)
        new_B13D = self._policy.embed(
            states_BS[:, None], self._actions_BA[:, None], to_go_B[:, None, None]
        )
        times_2 = torch.tensor([max(step - 1, 0), step], device=states_BS.device)
        before_D, now_D = self._policy.at_time(times_2)
        parts = [self._tokens_BTD[:, max(self._tokens_BTD.size(1) + 3 - self._length, 0) :]]
        if step:  # the action is that of the step before
            parts.append(new_B13D[:, 0, 2:] + before_D)
        parts.append(new_B13D[:, 0, :2] + now_D)
        self._tokens_BTD = torch.cat(parts, dim=1)
        self._actions_BA = self._policy.act(self._tokens_BTD)
        return self._actions_BA

    def earned(self, rewards_B: NDArray[np.float64]) -> None:
        """Asks for less by what the last actions were rewarded with."""
        self._wanted_B -= rewards_B

    def keep(self, kept_B: NDArray[np.bool_]) -> None:
        """Forgets the episodes that ended."""
        index = torch.from_numpy(np.flatnonzero(kept_B)).to(self._tokens_BTD.device)
        self._tokens_BTD = self._tokens_BTD[index]
        self._actions_BA = self._actions_BA[index]
        self._wanted_B = self._wanted_B[kept_B]
