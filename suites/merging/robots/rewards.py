"""What gymnasium's locomotion environments make of a simulation's state, of all episodes at once.

Their Python takes as long as the physics when it runs for one episode after the other. Here are
the same operations in the same order and precision over arrays: equal to the last bit.

Shape suffixes: B episodes, P positions, V velocities, C contact forces, S state, A action.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """Observation, health and reward as the environment that was made defines them."""

    env: Any
    """Gymnasium's, unwrapped: weights and ranges are read from it."""
    name: str
    """hopper, halfcheetah, walker2d or ant."""
    version: str
    """v4 or v5."""

    def observed(self, qpos_BP: Doubles, qvel_BV: Doubles) -> Doubles:
        """What the agent sees, [B,S]: where it is along the track is left out."""
        if self.name in ("hopper", "walker2d"):
            qvel_BV = np.clip(qvel_BV, -10, 10)
        return np.concatenate([qpos_BP[:, 2 if self.name == "ant" else 1 :], qvel_BV], axis=1)

    def healthy(self, qpos_BP: Doubles, qvel_BV: Doubles) -> Bools:
        """Whether the robot stands, [B]; HalfCheetah always does."""
        if self.name == "halfcheetah":
            return np.ones(len(qpos_BP), np.bool_)
        low, high = self.env._healthy_z_range
        if self.name == "ant":
            state_BS = np.concatenate([qpos_BP, qvel_BV], axis=1)
            z_B = qpos_BP[:, 2]
            stands_B: Bools = np.isfinite(state_BS).all(1) & (low <= z_B) & (z_B <= high)
            return stands_B
        healthy_B = _within(qpos_BP[:, 1], (low, high))
        healthy_B &= _within(qpos_BP[:, 2], self.env._healthy_angle_range)
        if self.name == "hopper":
            state_BS = np.concatenate([qpos_BP, qvel_BV], axis=1)[:, 2:]
            healthy_B &= _within(state_BS, self.env._healthy_state_range).all(1)
        return healthy_B

    def ended(self, healthy_B: Bools) -> Bools:
        """Whether the episode terminates."""
        if self.name == "halfcheetah":
            return np.zeros_like(healthy_B)
        ended_B: Bools = ~healthy_B & self.env._terminate_when_unhealthy
        return ended_B

    def rewarded(
        self,
        velocity_B: Doubles,
        healthy_B: Bools,
        actions_BA: NDArray[np.float32],
        contacts_BC: Doubles | None,
    ) -> Doubles:
        """The rewards, [B]: forward velocity and health, less what control and contact cost."""
        env = self.env
        rewards_B = getattr(env, "_forward_reward_weight", 1.0) * velocity_B  # Ant-v4 has none
        if self.name != "halfcheetah":
            # Version 4 pays for the step that ends the episode, too.
            paid_B = healthy_B | (self.version == "v4" and env._terminate_when_unhealthy)
            rewards_B = rewards_B + paid_B * env._healthy_reward
        costs_B = env._ctrl_cost_weight * np.square(actions_BA).sum(1)
        if contacts_BC is not None:
            clipped_BC = np.clip(contacts_BC, *env._contact_force_range)
            costs_B = costs_B + env._contact_cost_weight * np.square(clipped_BC).sum(1)
        rewarded_B: Doubles = rewards_B - costs_B
        return rewarded_B

    @property
    def contact_costs(self) -> bool:
        """Whether contact forces are needed."""
        return self.name == "ant" and (self.version != "v4" or self.env._use_contact_forces)


def _within(values: Doubles, limits: tuple[float, float]) -> Bools:
    low, high = limits
    return (low < values) & (values < high)
