"""Evaluation: against a plain loop that follows the released code, seeds, errors."""

import dataclasses
import threading
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from harness.errors import MethodError
from suites.merging.policy import evaluation
from suites.merging.policy.evaluation import evaluate
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.environments import ENVIRONMENTS, Environment
from suites.merging.robots.trajectories import Statistics

HOPPER = ENVIRONMENTS["hopper"]
SHORT = dataclasses.replace(HOPPER, max_steps=30)
CONTEXT = 4
STATISTICS = Statistics(
    np.linspace(-0.5, 1.3, 11, dtype=np.float32), np.linspace(0.2, 2, 11, dtype=np.float32)
)


def _policy(env: Environment = HOPPER, seed: int = 0) -> DecisionTransformer:
    shape = Shape(env.state_dim, env.action_dim, width=16, layers=2, context=CONTEXT, dropout=0.0)
    policy = FastDecisionTransformer(shape, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for p in policy.parameters():  # fresh weights are too small for the past to matter
            p.mul_(2.0)
        policy.embed_time.weight.mul_(20.0)  # as loud as what it is added to
    return policy.eval()


@torch.no_grad()
def _plain(policy: DecisionTransformer, seed: int, target: float, steps: int) -> list[float]:
    """One episode, one model call a step, the whole history kept and cut; returns the rewards."""
    env = gymnasium.make("Hopper-v5")
    state, _ = env.reset(seed=seed)
    states, actions, to_go, rewards = [state], [], [target / 1000], []
    for step in range(steps):
        kept = min(CONTEXT, step + 1)
        past_s = (np.array(states, np.float32)[-kept:] - STATISTICS.mean_S) / STATISTICS.std_S
        past_a = np.array([*actions, np.zeros(3)], np.float32)[-kept:]
        past_r = np.array(to_go, np.float32)[-kept:, None]
        times = np.arange(step + 1)[-kept:]
        tokens = [
            torch.from_numpy(x)[None] for x in (past_s.astype(np.float32), past_a, past_r, times)
        ]
        action = policy(*tokens)[0, -1].numpy()
        state, reward, terminated, _, _ = env.step(action)
        states.append(state)
        actions.append(action)
        to_go.append(to_go[-1] - float(reward) / 1000)
        rewards.append(float(reward))
        if terminated:
            break
    return rewards


def test_lock_step_equals_one_episode_at_a_time_as_released() -> None:
    policy = _policy()
    seeds = [0, 11, 2, 30]
    found = evaluate(policy, SHORT, STATISTICS, seeds=seeds, target=777.0, context=CONTEXT)
    plain = [_plain(policy, seed, 777.0, 30) for seed in seeds]
    np.testing.assert_allclose(found.returns_E, [sum(r) for r in plain], rtol=1e-4)
    assert len(set(np.round(found.returns_E, 3))) == 4
    assert found.steps == sum(len(r) for r in plain)
    assert 0 < found.physics < 1
    assert found.seconds > 0


class _Shivering:
    """Shivers with what moves, less so where it just did: each seed falls at its own time."""

    shape = dataclasses.replace(_policy().shape, width=11)
    training = False

    def train(self, mode: bool) -> None:
        assert not mode

    def __call__(
        self, states_BKS: torch.Tensor, actions_BKA: torch.Tensor, *_: Any
    ) -> torch.Tensor:
        mean_S, std_S = map(torch.from_numpy, STATISTICS)
        moving_BKS = (states_BKS * std_S + mean_S)[..., 5:8]
        return 0.05 * torch.tanh(3000 * moving_BKS) - 0.1 * actions_BKA.roll(1, 1)

    def embed(self, states_BKS: torch.Tensor, actions_BKA: torch.Tensor, _: Any) -> torch.Tensor:
        padded_BKS = torch.nn.functional.pad(actions_BKA, (0, 8))
        return torch.stack([torch.zeros_like(states_BKS), states_BKS, padded_BKS], dim=2)

    def at_time(self, times_T: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(times_T), 11)

    def act(self, x_BTS: torch.Tensor) -> torch.Tensor:
        states_BKS, before_BKA = x_BTS[:, 1::3], x_BTS[:, 2::3, :3]
        return self(states_BKS, torch.nn.functional.pad(before_BKA, (0, 0, 0, 1)))[:, -1]


def test_episodes_that_fall_early_keep_their_place() -> None:
    policy: Any = _Shivering()
    long = dataclasses.replace(HOPPER, max_steps=200)
    plain = [_plain(policy, seed, 3600.0, 200) for seed in range(6)]
    assert len({len(rewards) for rewards in plain}) > 2  # they do not all end at once
    found = evaluate(policy, long, STATISTICS, seeds=range(6), context=CONTEXT)
    assert found.returns_E.tolist() == [sum(rewards) for rewards in plain]


def test_the_same_seeds_give_the_same_returns_bit_for_bit() -> None:
    policy = _policy()
    a, b = (
        evaluate(policy, SHORT, STATISTICS, seeds=[5, 6], context=CONTEXT).returns_E
        for _ in range(2)
    )
    assert a.tolist() == b.tolist()
    c = evaluate(policy, SHORT, STATISTICS, seeds=[6, 7], context=CONTEXT).returns_E
    assert a[0] not in c


@pytest.mark.parametrize("training", [True, False])
def test_threads_share_the_groups_and_change_no_bit(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "GROUP", 2)
    policy = _policy().train(training)
    policy.shape = dataclasses.replace(policy.shape, dropout=0.5)
    mine, threads = threading.get_ident(), torch.get_num_threads()
    used: list[tuple[int, int]] = []

    def act(x_BTD: torch.Tensor) -> torch.Tensor:
        used.append((threading.get_ident(), torch.get_num_threads()))
        assert not policy.training
        return FastDecisionTransformer.act(policy, x_BTD)

    monkeypatch.setattr(policy, "act", act)
    found = []
    try:
        for count in (1, 2):
            used.clear()
            torch.set_num_threads(count)
            found.append(evaluate(policy, SHORT, STATISTICS, seeds=range(5), context=CONTEXT))
            assert torch.get_num_threads() == count
            assert {n for _, n in used} == {1}
            assert len({t for t, _ in used}) == count
            assert ({t for t, _ in used} == {mine}) == (count == 1)
    finally:
        torch.set_num_threads(threads)
    assert policy.training == training
    assert found[0].returns_E.tolist() == found[1].returns_E.tolist()
    pair = evaluate(policy, SHORT, STATISTICS, seeds=[2, 3], context=CONTEXT)
    assert found[0].returns_E[2:4].tolist() == pair.returns_E.tolist()


def test_the_target_and_the_past_are_looked_at() -> None:
    class Spy(FastDecisionTransformer):
        calls: list[tuple[torch.Tensor, ...]]
        lengths: list[int]

        def embed(self, *tokens: torch.Tensor) -> torch.Tensor:
            self.calls.append(tuple(t.clone() for t in tokens))
            return super().embed(*tokens)

        def act(self, x_BTD: torch.Tensor) -> torch.Tensor:
            self.lengths.append(x_BTD.size(1))
            return super().act(x_BTD)

    spy = Spy(_policy().shape, torch.Generator().manual_seed(0))
    spy.calls, spy.lengths = [], []
    evaluate(spy, SHORT, STATISTICS, seeds=[0, 1], context=CONTEXT)
    _, actions, to_go = spy.calls[0]
    assert to_go.flatten().tolist() == pytest.approx([3.6, 3.6])
    assert not actions.any()
    assert actions.shape == (2, 1, 3)
    _, actions, later = spy.calls[6]
    assert actions.all()
    assert (later < spy.calls[5][2]).all()  # rewards of standing are positive
    assert spy.lengths[:6] == [2, 5, 8, 11, 11, 11]


def test_a_policy_of_another_environment_is_told() -> None:
    with pytest.raises(MethodError, match="17 states and 6 actions cannot act in Hopper-v5") as e:
        evaluate(_policy(ENVIRONMENTS["walker2d"]), HOPPER, STATISTICS, seeds=[0], context=CONTEXT)
    assert "\n" not in str(e.value)
    with pytest.raises(MethodError, match="one seed or more"):
        evaluate(_policy(), HOPPER, STATISTICS, seeds=[], context=CONTEXT)


def test_episodes_may_be_longer_than_the_table_of_times() -> None:
    shape = Shape(11, 3, width=8, layers=1, heads=1, context=4, max_steps=20)
    made = DecisionTransformer(shape, torch.Generator().manual_seed(0))
    found = evaluate(made, SHORT, STATISTICS, seeds=[1], context=4)
    with torch.no_grad():  # one with a longer table, whose late rows are the last one
        longer = DecisionTransformer(
            dataclasses.replace(shape, max_steps=99), torch.Generator().manual_seed(0)
        )
        table = made.embed_time.weight
        rows = torch.cat([table, table[-1:].expand(79, -1)])
        longer.load_state_dict(made.state_dict() | {"embed_time.weight": rows})
    assert found.returns_E == evaluate(longer, SHORT, STATISTICS, seeds=[1], context=4).returns_E
    inputs = torch.zeros(1, 4, 11), torch.zeros(1, 4, 3), torch.zeros(1, 4, 1)
    late, last = torch.tensor([[18, 19, 20, 50]]), torch.tensor([[18, 19, 19, 19]])
    assert torch.equal(made.eval()(*inputs, late), made(*inputs, last))
