"""Evaluating a Decision Transformer: 50 episodes in lock-step against one episode at a time.

The paper's three environments. The same policy, the same seeds, float32, the threads that the
machine has. Policies have the laptop scale's size (3 x 64, context 10) and its quality: they are
trained on rollouts of the suite's own expert first, a minute or two each, so that their episodes
last. Worse ones (--updates 300) fall at different times, and the batch shrinks.

Time: the wall clock, on a machine with nothing else to do: with more than one thread, CPU seconds
would count those that wait. One episode at a time has one thread to run on. The ways take turns,
and a ratio is the median of the ratios within a round. `as released` follows the paper's code: it
keeps the whole history and normalises it again each step, takes its end as a window, and computes
the actions of all steps of it (the paper's code also pads early windows). `one at a time` is the
suite's own evaluation of one seed after the other, which has less to compute. Both run fewer
episodes than 50. Episodes differ in length, so what is compared is the time of an episode's step.
`physics` is the share of a thread's time inside the environments' steps.

Exits with 1 if lock-step is less than 8 times as fast as one at a time in any environment.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suites.merging.methods import THREE
from suites.merging.policy.evaluation import evaluate
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots import trajectories
from suites.merging.robots.environments import ENVIRONMENTS, Environment, make
from suites.merging.robots.experts import roll_out, shipped
from suites.merging.robots.trajectories import RETURN_SCALE, Statistics, Windows

CONTEXT = 10


class Played(NamedTuple):
    """Some episodes."""

    steps: int
    """Of all of them."""
    physics: float
    """Seconds."""
    returned: float
    """Mean over the episodes."""


class Cost(NamedTuple):
    """What one step of an episode took on average."""

    microseconds: float
    physics: float
    """Share of the time."""
    returned: float


def trained(env: Environment, updates: int) -> tuple[DecisionTransformer, Statistics]:
    """A policy that imitates the expert well enough for its episodes to last."""
    data = roll_out(shipped(env), env, 20_000, 0.1, seed=0)
    stats = trajectories.statistics(data)
    windows = Windows(data, stats, CONTEXT)
    shape = Shape(env.state_dim, env.action_dim, width=64, context=CONTEXT, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    policy = FastDecisionTransformer(shape, generator)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, fused=True)
    for _ in range(updates):
        batch = windows.sample(64, generator)
        error = (policy(*batch.inputs) - batch.actions_BKA)[batch.mask_BK]
        optimizer.zero_grad()
        error.square().mean().backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.25)
        optimizer.step()
    return policy.eval(), stats


@torch.no_grad()
def released(policy: DecisionTransformer, env: Environment, stats: Statistics, seed: int) -> Played:
    """One episode, batch size one, the whole history at every step."""
    world = make(env)
    state, _ = world.reset(seed=seed)
    mean_S, std_S = (torch.from_numpy(a) for a in stats)
    states_TS = torch.from_numpy(state.astype(np.float32))[None]
    actions_TA = torch.zeros(0, env.action_dim)
    to_go_T1 = torch.tensor([[env.target_return / RETURN_SCALE]])
    returned = physics = 0.0
    for step in range(env.max_steps):
        actions_TA = torch.cat([actions_TA, torch.zeros(1, env.action_dim)])
        tokens = [
            x_T[None, -CONTEXT:] for x_T in ((states_TS - mean_S) / std_S, actions_TA, to_go_T1)
        ]
        times_K = torch.arange(max(step + 1 - CONTEXT, 0), step + 1)[None]
        action = policy(*tokens, times_K)[0, -1]
        actions_TA[-1] = action
        start = time.perf_counter()
        state, reward, terminated, _, _ = world.step(action.numpy())
        physics += time.perf_counter() - start
        returned += float(reward)
        if terminated:
            break
        states_TS = torch.cat([states_TS, torch.from_numpy(state.astype(np.float32))[None]])
        to_go_T1 = torch.cat([to_go_T1, to_go_T1[-1:] - float(reward) / RETURN_SCALE])
    return Played(step + 1, physics, returned)


def joined(parts: list[Played]) -> Played:
    """Episodes one after the other."""
    steps, physics, returned = zip(*parts, strict=True)
    return Played(sum(steps), sum(physics), statistics.fmean(returned))


def measure(run: Callable[[], Played]) -> Cost:
    """Times it."""
    start = time.perf_counter()
    played = run()
    wall = time.perf_counter() - start
    return Cost(1e6 * wall / played.steps, played.physics / wall, played.returned)


def compare(env: Environment, args: argparse.Namespace) -> bool:
    """Prints the table of one environment; whether lock-step is 8 times as fast."""
    torch.set_num_threads(1)
    policy, stats = trained(env, args.updates)

    def together(seeds: range) -> Played:
        found = evaluate(policy, env, stats, seeds=seeds, context=CONTEXT)
        return Played(found.steps, found.seconds * found.physics, found.returns_E.mean())

    some = range(args.alone)
    ways: dict[str, Callable[[], Played]] = {
        "lock-step": lambda: together(range(50)),
        "one at a time": lambda: joined([together(range(s, s + 1)) for s in some]),
        "as released": lambda: joined([released(policy, env, stats, s) for s in some]),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(args.repeats):
        for name in names[turn % 3 :] + names[: turn % 3]:
            torch.set_num_threads(args.threads if name == "lock-step" else 1)
            costs[name].append(measure(ways[name]))

    print(f"{env.id}, 3 x 64, context {CONTEXT}, 50 episodes, {args.threads} threads, float32")
    print(f"{'way':<14} {'us a step':>10} {'physics':>8} {'return':>8} {'ratio':>7}")
    ratios = {}
    for name, found in costs.items():
        pairs = zip(found, costs["lock-step"], strict=True)
        ratios[name] = statistics.median(a.microseconds / b.microseconds for a, b in pairs)
        line = f"{name:<14} {statistics.median(c.microseconds for c in found):>10.0f}"
        line += f" {statistics.median(c.physics for c in found):>7.0%}"
        line += f" {found[0].returned:>8.0f} {ratios[name]:>6.1f}x"
        print(line, flush=True)
    return ratios["one at a time"] >= 8


def main() -> int:
    """Prints the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description="lock-step evaluation against one at a time")
    parser.add_argument(
        "--env",
        nargs="+",
        choices=list(ENVIRONMENTS),
        default=list(THREE),
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--updates", type=int, default=2000, help="that the policy is trained for")
    parser.add_argument("--alone", type=int, default=3, help="episodes one at a time, a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of lock-step")
    args = parser.parse_args()
    slow = [name for name in args.env if not compare(ENVIRONMENTS[name], args)]
    print(f"less than 8 times as fast as one at a time: {', '.join(slow)}" if slow else "ok")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
