"""Policies that roll out the datasets: read from the data folder, or shipped with the suite.

How the shipped ones were built: `build.py`.

Shape suffixes: B episodes or samples, S state, A action.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from harness import contents
from harness.errors import DataError, SpecError, brief
from harness.store import write_atomic
from suites.merging.robots.environments import (
    Environment,
    Floats,
    LockStep,
)
from suites.merging.robots.trajectories import Trajectories, concatenate

Noise = float | Literal["own"]

SHIPPED_FOLDER = Path(__file__).with_name("policies")
_CONTACT_INPUTS = 84
"""Contact forces that old Ants showed after their 27 other values; always 0 back then."""
_TOGETHER = 128
"""Most episodes that run in lock-step."""


@dataclass(frozen=True)
class Policy:
    """A perceptron on normalised states, with the noise that it was trained with."""

    layers: tuple[tuple[Floats, Floats], ...]
    """Weight (outputs x inputs) and bias of each."""
    mean_S: Floats
    std_S: Floats
    clip: float = np.inf
    """Normalised inputs are cut off there."""
    activation: Literal["relu", "tanh", "none"] = "tanh"
    output: Literal["tanh", "clip"] = "clip"
    """How means become actions in [-1, 1]."""
    log_std_A: Floats | None = None
    """Of its own noise, where that does not depend on the state."""
    log_std_layer: tuple[Floats, Floats] | None = None
    """Of its own noise before the tanh, from the last hidden layer (SAC, TQC)."""
    timed: bool = False
    """Its last input is the part of the 1000 steps that is left."""
    facts: Mapping[str, JsonValue] = field(default_factory=dict)

    def act(
        self,
        states_BS: Floats,
        step: int,
        noise: Noise = 0.0,
        rng: np.random.Generator | None = None,
    ) -> Floats:
        """Actions in [-1, 1] at a step of the episode, [B,A].

        `noise` is the standard deviation of what is added to the actions before they are clipped,
        or `own`: a sample of the policy's own distribution. Either needs `rng`.

        Raises:
            SpecError: `own` of a policy that has no noise of its own.
        """
        if self.timed:
            left_B1 = np.full((len(states_BS), 1), 1 - step / 1000, np.float32)
            states_BS = np.hstack([states_BS, left_B1])
        x = ((states_BS - self.mean_S) / self.std_S).clip(-self.clip, self.clip)
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = x @ w.T + b
            if self.activation == "relu":
                x = np.maximum(x, 0)
            elif self.activation == "tanh":
                x = np.tanh(x)
        mean_BA = x @ weight.T + bias
        if noise == "own":
            mean_BA = mean_BA + self._own_std(x) * _normal(rng, mean_BA)
        actions_BA = np.tanh(mean_BA) if self.output == "tanh" else mean_BA
        if noise != "own" and noise > 0:
            actions_BA = actions_BA + np.float32(noise) * _normal(rng, mean_BA)
        return actions_BA.clip(-1, 1)

    def _own_std(self, hidden: Floats) -> Floats:
        if self.log_std_layer is not None:
            weight, bias = self.log_std_layer
            std_BA: Floats = np.exp((hidden @ weight.T + bias).clip(-20, 2))
            return std_BA
        if self.log_std_A is None:
            raise SpecError("this policy has no noise of its own; give a standard deviation")
        return np.exp(self.log_std_A)


def _normal(rng: np.random.Generator | None, like: Floats) -> Floats:
    if rng is None:
        raise SpecError("noise needs a random generator")
    return rng.standard_normal(like.shape, dtype=np.float32)


def load_policy(source: str, env: Environment, folder: Path) -> Policy:
    """A policy of the data folder, e.g. `berkeley-cs294-experts/Hopper`.

    Inputs that the environment no longer shows (Ant's contact forces) were always 0 when the
    policy was trained: what they add is folded into the first bias.

    Raises:
        DataError: there is no such file, it is corrupt, or it is for another environment.
    """
    path = folder / "mujoco" / f"{source}.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        count = int(arrays["n_layers"])
        layers = [_pair(arrays, f"W{i}", f"b{i}") for i in range(count)]
        mean, std = (arrays[key].astype(np.float32) for key in ("obs_mean", "obs_std"))
        policy = Policy(
            layers=tuple(layers),
            mean_S=mean,
            std_S=std,
            clip=float(arrays["obs_clip"]),
            activation=arrays["activation"].item(),
            output=arrays["output"].item(),
            log_std_A=arrays["log_std"].astype(np.float32) if "log_std" in arrays else None,
            log_std_layer=_pair(arrays, "logstd_W", "logstd_b") if "logstd_W" in arrays else None,
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"policy {path}: cannot be read ({brief(error)}); restore the file"
        ) from None
    return _fitted(policy, env, path)


def _pair(arrays: Mapping[str, NDArray[Any]], weight: str, bias: str) -> tuple[Floats, Floats]:
    return arrays[weight].astype(np.float32), arrays[bias].astype(np.float32)


def _fitted(policy: Policy, env: Environment, path: Path) -> Policy:
    """The policy on exactly the states of `env`, and the time where it wants that."""
    (weight, bias), *rest = policy.layers
    shown = env.state_dim
    blind = _CONTACT_INPUTS if len(policy.mean_S) >= shown + _CONTACT_INPUTS else 0
    timed = len(policy.mean_S) == shown + blind + 1
    outputs = len(policy.layers[-1][1])
    if len(policy.mean_S) != shown + blind + timed or outputs != env.action_dim:
        raise DataError(
            f"policy {path}: {len(policy.mean_S)} inputs and {outputs} outputs, but {env.id} has "
            f"{shown} states and {env.action_dim} actions; choose a policy of {env.name}"
        )
    seen = np.r_[:shown, shown + blind : len(policy.mean_S)]
    hidden = slice(shown, shown + blind)
    zeros = (-policy.mean_S[hidden] / policy.std_S[hidden]).clip(-policy.clip, policy.clip)
    first = (np.ascontiguousarray(weight[:, seen]), bias + weight[:, hidden] @ zeros)
    return replace(
        policy,
        layers=(first, *rest),
        mean_S=policy.mean_S[seen],
        std_S=policy.std_S[seen],
        timed=timed,
    )


def save_policy(policy: Policy, path: Path) -> None:
    """Writes a safetensors file: weights in half precision, statistics in single, JSON header."""
    tensors = {"mean": policy.mean_S, "std": policy.std_S}
    for index, (weight, bias) in enumerate(policy.layers):
        tensors |= {f"W{index}": _half(weight), f"b{index}": _half(bias)}
    if policy.log_std_A is not None:
        tensors["log_std"] = policy.log_std_A
    if policy.log_std_layer is not None:
        tensors["log_std_W"], tensors["log_std_b"] = map(_half, policy.log_std_layer)
    settings = {
        "activation": policy.activation,
        "output": policy.output,
        "clip": policy.clip if np.isfinite(policy.clip) else None,
        "timed": policy.timed,
    }
    header = {"settings": json.dumps(settings), "facts": json.dumps(dict(policy.facts))}
    write_atomic(path, save(tensors, header))


def _half(array: Floats) -> Any:
    return np.ascontiguousarray(array, np.float16)


def read_policy(path: Path) -> Policy:
    """Reads what `save_policy` wrote.

    Raises:
        DataError: missing, corrupt, or not such a file.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata()
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        settings = json.loads(header["settings"])
        count = sum(key[0] == "W" for key in arrays)
        return Policy(
            layers=tuple(_pair(arrays, f"W{i}", f"b{i}") for i in range(count)),
            mean_S=arrays["mean"],
            std_S=arrays["std"],
            clip=np.inf if settings["clip"] is None else settings["clip"],
            activation=settings["activation"],
            output=settings["output"],
            log_std_A=arrays.get("log_std"),
            log_std_layer=_pair(arrays, "log_std_W", "log_std_b")
            if "log_std_W" in arrays
            else None,
            timed=settings["timed"],
            facts=json.loads(header["facts"]),
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"policy {path}: cannot be read ({brief(error)}); restore the file"
        ) from None


def shipped(env: Environment, role: str = "expert") -> Policy:
    """The suite's own policy for an environment; `role` is `expert` or `medium`.

    Its `facts` say what it was made from, under which licence, and what it returned.

    Raises:
        DataError: there is none, or the installed file is corrupt.
    """
    return read_policy(contents.shipped(SHIPPED_FOLDER / f"{env.name}-{role}.safetensors"))


def roll_out(policy: Policy, env: Environment, steps: int, noise: Noise, seed: int) -> Trajectories:
    """Whole episodes, at least `steps` steps of them; a function of its arguments alone.

    Episodes run in lock-step with one policy call for all. None is left out for being long or
    short: as many are started as would do if none ended early, then as many as still lack.
    """
    rng = np.random.default_rng(seed)
    waves: list[Trajectories] = []
    lacking = steps
    while lacking > 0:
        count = min(-(-lacking // env.max_steps), _TOGETHER)
        seeds = rng.integers(2**31, size=count).tolist()
        waves.append(_episodes(policy, env, seeds, noise, rng))
        lacking -= len(waves[-1].rewards_N)
    return concatenate(waves)


def _episodes(
    policy: Policy, env: Environment, seeds: list[int], noise: Noise, rng: np.random.Generator
) -> Trajectories:
    world = LockStep(env, seeds)
    size = (len(seeds), env.max_steps)
    states = np.zeros((*size, env.state_dim), np.float32)
    actions = np.zeros((*size, env.action_dim), np.float32)
    rewards = np.zeros(size, np.float32)
    lengths = np.zeros(len(seeds), np.int64)
    terminated = np.zeros(len(seeds), np.bool_)
    for step in range(env.max_steps):
        running = world.running_B
        if not len(running):
            break
        states[running, step] = world.states_BS
        actions[running, step] = actions_BA = policy.act(world.states_BS, step, noise, rng)
        rewards[running, step], terminated[running] = world.step(actions_BA)
        lengths[running] += 1
    return Trajectories.of(
        [
            (states[i, :n], actions[i, :n], rewards[i, :n], bool(terminated[i]))
            for i, n in enumerate(lengths)
        ]
    )
