"""The locomotion environments: plain data, D4RL's normalised score, and episodes in lock-step.

Importing this module needs nothing but numpy; gymnasium and MuJoCo are imported when an
environment is made.

Shape suffixes: B running episodes, S state, A action.
"""

import dataclasses
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import MethodError, SpecError, brief, unknown
from suites.merging.robots.rewards import Rules

if TYPE_CHECKING:
    import gymnasium

    from harness.run import Context

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Environment:
    """One locomotion task and the numbers that the literature scores it with."""

    name: str
    id: str
    """Gymnasium's identifier, version included: data and evaluation must agree on it."""
    state_dim: int
    action_dim: int
    target_return: float
    """What a Decision Transformer is asked for; the larger one of the two usual targets."""
    random_return: float
    """Scores 0 (D4RL's reference minimum)."""
    expert_return: float
    """Scores 100 (D4RL's reference maximum)."""
    max_steps: int = 1000
    positions: int | None = None
    """How many components of a state, its first, are positions and angles. None: not known."""
    torso: int | None = None
    """How many components behind them are velocities of the torso; the rest are the joints'."""


_ROWS = (
    Environment("hopper", "Hopper-v5", 11, 3, 3600, -20.272305, 3234.3, positions=5, torso=3),
    Environment(
        "halfcheetah", "HalfCheetah-v5", 17, 6, 12000, -280.178953, 12135.0, positions=8, torso=3
    ),
    Environment("walker2d", "Walker2d-v5", 17, 6, 5000, 1.629008, 4592.3, positions=8, torso=3),
    Environment("ant", "Ant-v5", 27, 8, 5000, -325.6, 3879.7, positions=13, torso=6),
)

ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType({row.name: row for row in _ROWS})
"""All environments by name, in gymnasium's current version."""


def environment(name: str, version: str = "v5") -> Environment:
    """The environment of that name in that version, e.g. `environment("hopper", "v4")`.

    v5 and v4 differ: Walker2d's left foot has friction 1.9 in v5 and 0.9 in v4, Hopper's and
    Walker2d's healthy reward is paid in v5 only while they are healthy.

    Raises:
        SpecError: there is no environment of that name.
    """
    if name not in ENVIRONMENTS:
        raise SpecError(unknown("environment", name, ENVIRONMENTS))
    env = ENVIRONMENTS[name]
    return dataclasses.replace(env, id=f"{env.id.rpartition('-')[0]}-{version}")


def note_robots(ctx: "Context") -> None:
    """Compares gymnasium's descriptions of robots with its own list; notes them for the record.

    Raises:
        DataError: gymnasium is not installed, or a description is missing or corrupt.
    """
    ctx.installed("gymnasium", "gymnasium/envs/mujoco/assets/*.xml")


def normalised(env: Environment, ret: float) -> float:
    """D4RL's score of a return: 0 is a random policy, 100 D4RL's expert."""
    return 100 * (ret - env.random_return) / (env.expert_return - env.random_return)


def make(env: Environment, **options: Any) -> "gymnasium.Env[Any, Any]":
    """The gymnasium environment; `options` go to it, e.g. `render_mode="rgb_array"`.

    Ant never shows its 78 contact forces: its 27 other values are what version 4 observes.

    Raises:
        MethodError: gymnasium or MuJoCo is missing, or there is no environment of that id.
    """
    try:
        import gymnasium
        import mujoco
    except ModuleNotFoundError as error:
        raise MethodError(
            f"{env.id} needs {error.name}; install it with: pip install 'gymnasium[mujoco]'"
        ) from None
    # MuJoCo would write its warnings (a model file's old attribute) to a log in this folder.
    mujoco.set_mju_user_warning(logging.getLogger("mujoco").info)
    if env.id.startswith("Ant-") and env.id != "Ant-v4":
        options = {"include_cfrc_ext_in_observation": False} | options
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # v4 is old
            world = gymnasium.make(env.id, **options)
    except (gymnasium.error.Error, ImportError) as error:  # v2 and v3 have moved elsewhere
        ids = [e.id for e in ENVIRONMENTS.values()]
        raise MethodError(f"{unknown('environment', env.id, ids)} ({brief(error)})") from None
    shapes = (world.observation_space.shape, world.action_space.shape)
    if shapes != ((env.state_dim,), (env.action_dim,)):
        raise MethodError(
            f"{env.id} has state and action shapes {shapes[0]} and {shapes[1]}; "
            f"{env.name} needs ({env.state_dim},) and ({env.action_dim},)"
        )
    return world


class LockStep:
    """Episodes of one environment that take each step together; finished ones fall out.

    One model call can then serve all of them. The episodes share one MuJoCo model, each has its
    own state, and each runs to the last bit as gymnasium's own environment would run it alone.
    """

    def __init__(self, env: Environment, seeds: Sequence[int], **options: Any) -> None:
        """Starts one episode for each seed; `options` go to gymnasium."""
        first: Any = make(env, **options).unwrapped
        self._first = first
        self._rules = Rules(first, env.name, env.id.rpartition("-")[2])
        self._max_steps = env.max_steps
        self._episodes = []
        self.running_B = np.arange(len(seeds))
        """Which of the episodes, counted from 0, are still running."""
        self.step_count = 0
        self.physics_seconds = 0.0
        """Wall-clock time that the steps took, without the resets."""
        for twin, seed in zip([first, *(_twin(first) for _ in seeds[1:])], seeds, strict=True):
            twin.reset(seed=int(seed))
            self._episodes.append(_Episode.of(twin.data, self._rules))
        self.states_BS = self._observe()
        """Current states of the running episodes, float32."""

    def step(self, actions_BA: Floats) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Takes one step in every running episode.

        Returns rewards and whether each terminated, for the episodes that were running before.
        `running_B` and `states_BS` lose those that ended, by termination or by the step limit.
        """
        start = time.perf_counter()
        rules, before_B = self._rules, self._gather("x")[:, 0]
        self._simulate(actions_BA)
        velocity_B = (self._gather("x")[:, 0] - before_B) / self._first.dt
        healthy_B = rules.healthy(self._gather("qpos"), self._gather("qvel"))
        contacts_BC = self._gather("contacts") if rules.contact_costs else None
        rewards_B = rules.rewarded(velocity_B, healthy_B, actions_BA, contacts_BC)
        terminated_B = rules.ended(healthy_B)
        self.step_count += 1
        left_B = terminated_B | (self.step_count >= self._max_steps)
        if left_B.any():
            self._episodes = [e for e, gone in zip(self._episodes, left_B, strict=True) if not gone]
            self.running_B = self.running_B[~left_B]
        self.states_BS = self._observe()
        self.physics_seconds += time.perf_counter() - start
        return rewards_B, terminated_B

    def _simulate(self, actions_BA: Floats) -> None:
        import mujoco

        model, frames = self._first.model, self._first.frame_skip
        for episode, action_A in zip(self._episodes, actions_BA, strict=True):
            episode.ctrl[:] = action_A
            mujoco.mj_step(model, episode.data, frames)
            if self._rules.contact_costs:
                mujoco.mj_rnePostConstraint(model, episode.data)

    def _gather(self, what: str) -> NDArray[np.float64]:
        """Of every running episode, [B, ...]."""
        return np.array([getattr(episode, what) for episode in self._episodes])

    def _observe(self) -> Floats:
        if not self._episodes:
            return self.states_BS[:0]
        return self._rules.observed(self._gather("qpos"), self._gather("qvel")).astype(np.float32)

    @property
    def steps_a_second(self) -> float:
        """Of simulated time."""
        return 1 / float(self._first.dt)

    def render(self) -> NDArray[np.uint8]:
        """A picture of the first episode, [height, width, 3]; see gymnasium's `render_mode`."""
        picture: NDArray[np.uint8] = self._first.render()
        return picture


class _Episode(NamedTuple):
    """One simulation, and views that show its state of now."""

    data: Any
    ctrl: NDArray[np.float64]
    qpos: NDArray[np.float64]
    qvel: NDArray[np.float64]
    x: NDArray[np.float64]
    """Begins with where the robot is along the track."""
    contacts: NDArray[np.float64]

    @classmethod
    def of(cls, data: Any, rules: Rules) -> "_Episode":
        x = data.body("torso").xpos if rules.name == "ant" else data.qpos
        return cls(data, data.ctrl, data.qpos, data.qvel, x, data.cfrc_ext.reshape(-1))


def _twin(env: Any) -> Any:
    """Another episode on the same model: compiled once, and small."""
    import mujoco

    twin = object.__new__(type(env))  # copy.copy would read and compile the model file again
    twin.__dict__.update(env.__dict__)
    twin.data = mujoco.MjData(env.model)
    return twin
