"""Environments of one's own: episodes against gymnasium's own loop, and what is refused."""

import dataclasses

import gymnasium
import numpy as np
import pytest

from harness.errors import DataError, MethodError
from suites.merging.robots import single
from suites.merging.robots.environments import ENVIRONMENTS, Environment, LockStep
from suites.merging.robots.trajectories import Trajectories

ENV = Environment("cart", "single-cart-v0", 2, 1, 10, 0, 10, max_steps=12)
BOX = gymnasium.spaces.Box


class Cart(gymnasium.Env):
    """Place and speed on a line; it ends where the place leaves [-1, 1]."""

    def __init__(self, states=2, low=-3.0, high=1.0):
        self.observation_space = BOX(-np.inf, np.inf, (states,), np.float32)
        self.action_space = BOX(low, high, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.5, 0.5, 2).astype(np.float32)
        return self.state, {}

    def step(self, action):
        assert self.action_space.contains(action)
        speed = self.state[1] + 0.2 * action[0]
        self.state = np.array([self.state[0] + 0.2 * speed, speed], np.float32)
        return self.state, float(action[0]), bool(abs(self.state[0]) > 1), False, {}


@pytest.fixture(autouse=True)
def _registered():
    gymnasium.register("single-cart-v0", entry_point=Cart, max_episode_steps=8)
    yield
    del gymnasium.registry["single-cart-v0"]


def push(states_BS):
    return np.clip(3 * states_BS[:, :1], -1, 1)


def by_hand(seed):
    """Gymnasium's own loop: rewards, and whether the episode terminated."""
    world = gymnasium.make("single-cart-v0")
    state, _ = world.reset(seed=seed)
    rewards, ended, over = [], False, False
    while not (ended or over):
        action = -3 + (push(state[None])[0].astype(float) + 1) / 2 * 4
        state, reward, ended, over, _ = world.step(action.astype(np.float32))
        rewards.append(reward)
    world.close()
    return rewards, ended


def test_each_episode_is_gymnasiums_own():
    seeds = [3, 1, 4, 15, 92]
    world = single.begin(ENV, seeds)
    rewards, ended = [[] for _ in seeds], [False] * len(seeds)
    while len(world.running_B):
        running_B = world.running_B
        rewards_B, terminated_B = world.step(push(world.states_BS))
        for n, reward, over in zip(running_B, rewards_B, terminated_B, strict=True):
            rewards[n].append(reward)
            ended[n] |= bool(over)
    expected = [by_hand(seed) for seed in seeds]
    assert rewards == [r for r, _ in expected]
    assert ended == [e for _, e in expected]
    assert len({len(r) for r in rewards}) > 1  # by termination and by time


def test_the_scale_may_end_an_episode_earlier():
    world = single.begin(dataclasses.replace(ENV, max_steps=2), [0])
    world.step(np.zeros((1, 1), np.float32))
    assert len(world.running_B) == 1
    world.step(np.zeros((1, 1), np.float32))
    assert len(world.running_B) == 0


def test_robots_of_the_suite_stay_in_lock_step():
    assert type(single.begin(ENVIRONMENTS["hopper"], [0])) is LockStep


def trajectories(actions):
    actions = np.array(actions, np.float32)[:, None]
    count = len(actions)
    return Trajectories(
        np.zeros((count, 2), np.float32), actions, np.zeros(count, np.float32), np.array([0]),
        np.array([False]),
    )  # fmt: skip


def test_actions_lie_between_minus_one_and_one():
    found = single.scaled(ENV, trajectories([-3, -1, 1, 1.001])).actions_NA[:, 0]
    assert found.tolist() == [-1, 0, 1, 1]
    with pytest.raises(DataError, match=r"the action \[1\.5\] at step 1 of the data is outside of"):
        single.scaled(ENV, trajectories([0, 1.5]))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"id": "no-cart-v0"}, {}, "environment no-cart-v0 cannot be made .* give module:id"),
        ({"id": "no_module:x-v0"}, {}, "environment no_module:x-v0 cannot be made"),
        ({"state_dim": 3}, {}, r"states of shape \(2,\) .* its data \(3,\)"),
        ({}, {"high": np.inf}, "both ends have to be finite"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, options, message):
    gymnasium.registry["single-cart-v0"].kwargs.update(options)
    with pytest.raises(MethodError, match=message) as caught:
        single.begin(dataclasses.replace(ENV, **changes), [0])
    assert "\n" not in str(caught.value)
