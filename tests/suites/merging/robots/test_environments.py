"""Environments: scores, versions, bad ids, and lock-step against gymnasium alone."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from harness.errors import MethodError, SpecError
from suites.merging.robots.environments import ENVIRONMENTS, LockStep, environment, make, normalised


def test_the_score_is_d4rls() -> None:
    hopper = ENVIRONMENTS["hopper"]
    assert normalised(hopper, -20.272305) == 0
    assert normalised(hopper, 3234.3) == 100
    assert normalised(hopper, 1421.5) == pytest.approx(44.3, abs=0.05)  # D4RL's medium data
    assert normalised(ENVIRONMENTS["halfcheetah"], 12135.0) == 100
    assert normalised(ENVIRONMENTS["walker2d"], 4592.3) == 100


def test_a_version_changes_the_id_alone() -> None:
    v4 = environment("walker2d", "v4")
    assert v4.id == "Walker2d-v4"
    assert dataclasses.replace(v4, id="Walker2d-v5") == environment("walker2d")


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(
        SpecError, match=r"^unknown environment 'swimmer': .*there are .*hopper, .*$"
    ):
        environment("swimmer")


@pytest.mark.parametrize("id_", ["Hopper-v99", "Hoper-v5", "Hopper-v2"])
def test_an_id_that_does_not_exist_is_one_clear_line(id_: str) -> None:
    env = dataclasses.replace(ENVIRONMENTS["hopper"], id=id_)
    with pytest.raises(MethodError) as caught:
        make(env)
    assert "\n" not in str(caught.value)
    assert id_ in str(caught.value)
    assert "Hopper-v5" in str(caught.value)


def test_another_environment_under_this_name_is_told() -> None:
    env = dataclasses.replace(ENVIRONMENTS["hopper"], id="Walker2d-v5")
    with pytest.raises(MethodError, match=r"^Walker2d-v5 has .*\(17,\) and \(6,\); hopper needs"):
        make(env)


def test_without_gymnasium_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MethodError, match=r"^Hopper-v5 needs .*pip install 'gymnasium\[mujoco\]'$"):
        make(ENVIRONMENTS["hopper"])


@pytest.mark.parametrize("version", ["v4", "v5"])
@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_every_environment_is_as_it_says(name: str, version: str) -> None:
    env = environment(name, version)
    made = make(env)
    assert made.observation_space.shape == (env.state_dim,)
    assert made.action_space.shape == (env.action_dim,)
    assert made.spec is not None
    assert made.spec.max_episode_steps == env.max_steps


def test_making_one_leaves_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(ENVIRONMENTS["halfcheetah"])  # its model file has an attribute that MuJoCo warns of
    assert not list(tmp_path.iterdir())


def _alone(id_: str, seed: int, actions: Any) -> tuple[list[Any], list[float], bool]:
    """One episode as gymnasium runs it, with all its wrappers."""
    env = gymnasium.make(
        id_, **({"include_cfrc_ext_in_observation": False} if id_ == "Ant-v5" else {})
    )
    state, _ = env.reset(seed=seed)
    states, rewards, terminated = [state], [], False
    for action in actions:
        state, reward, terminated, truncated, _ = env.step(action)
        states.append(state)
        rewards.append(float(reward))
        if terminated or truncated:
            break
    return states, rewards, terminated


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
@pytest.mark.parametrize("version", ["v5", "v4"])
@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_lock_step_is_gymnasium_bit_for_bit(name: str, version: str) -> None:
    env = dataclasses.replace(environment(name, version), max_steps=60)
    seeds = [3, 1, 4, 15, 9]
    rng = np.random.default_rng(0)
    actions_ETA = rng.uniform(-1, 1, (5, 60, env.action_dim)).astype(np.float32)
    actions_ETA[2] *= 0.01  # one of them stands for longer
    alone = [_alone(env.id, s, a) for s, a in zip(seeds, actions_ETA, strict=True)]
    world = LockStep(env, seeds)
    rewards: list[list[float]] = [[] for _ in seeds]
    ended = np.zeros(5, dtype=bool)
    for step in range(60):
        running = world.running_B
        for row, episode in enumerate(running):
            expected = alone[episode][0][step].astype(np.float32)
            np.testing.assert_array_equal(world.states_BS[row], expected)
        rewards_B, terminated_B = world.step(actions_ETA[running, step])
        ended[running] = terminated_B
        for episode, reward in zip(running, rewards_B, strict=True):
            rewards[episode].append(float(reward))
    assert rewards == [a[1] for a in alone]
    assert ended.tolist() == [a[2] for a in alone]
    assert world.states_BS.shape == (0, env.state_dim)
    assert not len(world.running_B)
    if name in ("hopper", "walker2d"):  # the others do not fall that soon
        assert len({len(r) for r in rewards}) > 1
    assert world.physics_seconds > 0
