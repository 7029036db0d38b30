"""Episodes of any gymnasium environment, one after the other, for environments of one's own.

A policy acts between -1 and 1; its actions are stretched to the environment's own bounds.

Shape suffixes: B running episodes, S state, A action, N steps.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, MethodError, described
from suites.merging.robots.environments import ENVIRONMENTS, Environment, Floats, LockStep
from suites.merging.robots.trajectories import Trajectories

_TOLERANCE = 1e-3
"""Share of the range of actions by which data may lie outside of it: rounding."""


def begin(env: Environment, seeds: Sequence[int]) -> LockStep:
    """Episodes of an environment: in lock-step for those of the suite, else one after the other."""
    return LockStep(env, seeds) if env.name in ENVIRONMENTS else OneByOne(env, seeds)


class OneByOne(LockStep):
    """What `LockStep` is, for an environment that is not the suite's; each takes its own steps."""

    def __init__(self, env: Environment, seeds: Sequence[int]) -> None:
        """Starts one episode for each seed."""
        self._worlds = [opened(env) for _ in seeds]
        self._bounds = bounds(env, self._worlds[0])
        self._max_steps = env.max_steps
        self.running_B = np.arange(len(seeds))
        self.step_count = 0
        self.physics_seconds = 0.0
        starts = [w.reset(seed=int(seed))[0] for w, seed in zip(self._worlds, seeds, strict=True)]
        self.states_BS = np.array(starts, np.float32)

    def step(self, actions_BA: Floats) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """See `LockStep.step`; an episode ends where its environment says so, too."""
        start = time.perf_counter()
        low_A, high_A = self._bounds
        share_BA = (np.clip(actions_BA, -1, 1).astype(np.float64) + 1) / 2
        stretched_BA = low_A + share_BA * (high_A - low_A)
        self.step_count += 1
        taken = [
            self._worlds[n].step(action_A.astype(self._worlds[n].action_space.dtype))
            for n, action_A in zip(self.running_B, stretched_BA, strict=True)
        ]
        states, rewards, terminated, truncated, _ = zip(*taken, strict=True)
        terminated_B = np.array(terminated, np.bool_)
        left_B = terminated_B | np.array(truncated, np.bool_)
        left_B |= self.step_count >= self._max_steps
        for n in self.running_B[left_B]:
            self._worlds[n].close()
        self.running_B = self.running_B[~left_B]
        self.states_BS = np.array(states, np.float32)[~left_B]
        self.physics_seconds += time.perf_counter() - start
        return np.array(rewards, np.float64), terminated_B


def opened(env: Environment) -> Any:
    """The gymnasium environment.

    Raises:
        MethodError: it cannot be made, or has other states or actions than its data.
    """
    import gymnasium

    try:
        world: Any = gymnasium.make(env.id)
    except Exception as error:  # an id that is not registered, and whatever a constructor raises
        raise MethodError(
            f"environment {env.id} cannot be made ({described(error)}); register it in a module "
            "and give module:id"
        ) from None
    states, actions = (s.shape for s in (world.observation_space, world.action_space))
    if (states, actions) != ((env.state_dim,), (env.action_dim,)):
        raise MethodError(
            f"environment {env.id} has states of shape {states} and actions of shape {actions}, "
            f"its data ({env.state_dim},) and ({env.action_dim},); both have to be flat boxes"
        )
    return world


def bounds(env: Environment, world: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest action.

    Raises:
        MethodError: one is infinite.
    """
    low_A, high_A = (
        np.asarray(getattr(world.action_space, end), np.float64) for end in ("low", "high")
    )
    if not (np.isfinite(low_A) & np.isfinite(high_A) & (low_A < high_A)).all():
        raise MethodError(
            f"environment {env.id}: its actions lie between {low_A} and {high_A}; both ends have "
            "to be finite"
        )
    return low_A, high_A


def scaled(env: Environment, data: Trajectories) -> Trajectories:
    """The same trajectories with actions between -1 and 1, as policies have them.

    Raises:
        DataError: an action outside of the environment's bounds.
        MethodError: see `opened` and `bounds`.
    """
    world = opened(env)
    low_A, high_A = bounds(env, world)
    world.close()
    scaled_NA = 2 * (data.actions_NA - low_A) / (high_A - low_A) - 1
    outside_N = (np.abs(scaled_NA) > 1 + 2 * _TOLERANCE).any(axis=1)
    if outside_N.any():
        step = int(outside_N.argmax())
        raise DataError(
            f"environment {env.id}: the action {data.actions_NA[step]} at step {step} of the data "
            f"is outside of {low_A} to {high_A}"
        )
    return dataclasses.replace(data, actions_NA=np.clip(scaled_NA, -1, 1).astype(np.float32))
