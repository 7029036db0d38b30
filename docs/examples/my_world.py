"""An environment of one's own in the suite merging: a point that is to come to rest at the origin.

harness run merging --plugin docs/examples/my_world.py --tasks resting-point-v0 --scale smoke
"""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from harness.plugins import Plugin
from suites import merging

Floats = np.ndarray[Any, np.dtype[np.float32]]


class RestingPoint(gymnasium.Env[Floats, Floats]):
    """Place and speed of a point in the plane; the action pushes it."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-0.5, 0.5, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 4).astype(np.float32)
        return self.state, {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        place, speed = self.state[:2], 0.9 * self.state[2:] + action
        self.state = np.concatenate([place + 0.1 * speed, speed]).astype(np.float32)
        return self.state, 1 - float(np.abs(self.state).mean()), False, False, {}


gymnasium.register("Resting-Point-v0", entry_point="my_world:RestingPoint", max_episode_steps=25)


def plugin() -> Plugin:
    # "my_world:" before the name has gymnasium import this file, wherever it makes one.
    data = Path(__file__).parent / "resting-point.npz"  # with the arrays that D4RL's files have
    return merging.environment("my_world:Resting-Point-v0", data)
