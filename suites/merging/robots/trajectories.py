"""Trajectories of states, actions and rewards: read, checked, stored, and cut into windows.

Shape suffixes: N steps of all trajectories in a row, T trajectories, S state, A action,
B batch, K context.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from harness.errors import DataError, HarnessError, MethodError, brief, one_line
from harness.store import write_atomic

Floats = NDArray[np.float32]

RETURN_SCALE = 1000.0
"""Returns-to-go are divided by it wherever a model sees them."""

_KEYS = ("observations", "actions", "rewards", "terminals", "timeouts")
"""Arrays of a file of D4RL."""
_ARRAYS = ("states_NS", "actions_NA", "rewards_N", "starts_T", "terminated_T")


@dataclass(frozen=True)
class Trajectories:
    """Whole episodes, one after the other.

    Raises:
        DataError: empty, not finite, or arrays that do not fit together.
    """

    states_NS: Floats
    """The state before each action."""
    actions_NA: Floats
    rewards_N: Floats
    starts_T: NDArray[np.int64]
    """Where each trajectory begins; it ends where the next one begins."""
    terminated_T: NDArray[np.bool_]
    """True where the environment ended the episode, False where its time was up."""

    def __post_init__(self) -> None:
        steps = len(self.rewards_N)
        for name in ("states_NS", "actions_NA", "rewards_N"):
            array = getattr(self, name)
            if array.ndim != (1 if name == "rewards_N" else 2) or len(array) != steps:
                raise DataError(
                    f"trajectories: {name} has shape {array.shape}, which does not fit {steps} "
                    "rewards; make the dataset again"
                )
            bad = ~np.isfinite(array)
            if bad.any():
                raise DataError(
                    f"trajectories: {name} holds {int(bad.sum())} values that are NaN or infinite, "
                    f"the first at step {int(bad.reshape(steps, -1).any(1).argmax())}; only finite "
                    "numbers are allowed: make the dataset again"
                )
        if steps == 0 or len(self.starts_T) == 0:
            raise DataError("trajectories: there is no whole episode; one step or more is needed")
        lengths = np.diff(self.starts_T, append=steps)
        if self.starts_T[0] != 0 or lengths.min() < 1:
            raise DataError(
                "trajectories: starts_T must rise from 0 to below the number of steps; "
                "a trajectory of length zero is not allowed"
            )
        if self.terminated_T.shape != self.starts_T.shape:
            raise DataError(
                f"trajectories: {len(self.terminated_T)} flags terminated_T for "
                f"{len(self.starts_T)} trajectories; one each is needed"
            )

    @property
    def count(self) -> int:
        """How many trajectories there are."""
        return len(self.starts_T)

    @property
    def lengths_T(self) -> NDArray[np.int64]:
        """Steps of each."""
        return np.diff(self.starts_T, append=len(self.rewards_N))

    @property
    def returns_T(self) -> NDArray[np.float64]:
        """Undiscounted sum of rewards of each."""
        return np.add.reduceat(self.rewards_N.astype(np.float64), self.starts_T)

    @property
    def digest(self) -> str:
        """sha256 over all arrays, their types and shapes."""
        whole = hashlib.sha256()
        for name in _ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            whole.update(f"{array.dtype} {array.shape} ".encode())
            whole.update(array.data)
        return whole.hexdigest()

    def take(self, which: NDArray[np.int64]) -> Self:
        """Some of the trajectories, in the order of their numbers in `which`."""
        ends_T = self.starts_T + self.lengths_T
        steps = np.concatenate([np.arange(self.starts_T[n], ends_T[n]) for n in which])
        return type(self)(
            self.states_NS[steps],
            self.actions_NA[steps],
            self.rewards_N[steps],
            np.cumsum([0, *self.lengths_T[which][:-1]]).astype(np.int64),
            self.terminated_T[which],
        )

    def save(self, path: Path, facts: Mapping[str, JsonValue] | None = None) -> None:
        """Writes a safetensors file, whole or not at all; `facts` go into its header as JSON.

        Raises:
            StoreError: it cannot be written.
        """
        write_atomic(path, self.packed(facts))

    def packed(self, facts: Mapping[str, JsonValue] | None = None) -> bytes:
        """The bytes that `save` writes."""
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        return save(tensors, {"facts": json.dumps(dict(facts or {}), sort_keys=True)})

    @classmethod
    def of(cls, episodes: Sequence[tuple[Any, Any, Any, bool]]) -> Self:
        """From `(states, actions, rewards, terminated)` of each episode.

        Raises:
            DataError: see the class.
        """
        if not episodes:
            raise DataError("trajectories: there is no whole episode; one step or more is needed")
        states, actions, rewards, terminated = zip(*episodes, strict=True)
        lengths = [len(r) for r in rewards]
        return cls(
            np.concatenate(states).astype(np.float32),
            np.concatenate(actions).astype(np.float32),
            np.concatenate(rewards).astype(np.float32),
            np.cumsum([0, *lengths[:-1]]).astype(np.int64),
            np.array(terminated, dtype=np.bool_),
        )


def load(path: Path) -> Trajectories:
    """Reads what `Trajectories.save` wrote.

    Raises:
        DataError: missing, truncated, or not such a file; see `Trajectories` for the rest.
    """
    try:
        with safe_open(path, framework="np") as file:
            missing = sorted(set(_ARRAYS) - set(file.keys()))
            if missing:
                raise DataError(f"{path}: no {', '.join(missing)}; not a file of trajectories")
            return Trajectories(*(file.get_tensor(name) for name in _ARRAYS))
    except HarnessError:
        raise
    except Exception as error:  # a foreign parser, and arrays that are not what they should be
        raise DataError(f"{path}: cannot be read as trajectories ({brief(error)})") from None


def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
    """All trajectories of all parts, in order: medium-expert is medium and then expert.

    Raises:
        DataError: states or actions of different width.
    """
    widths = {(p.states_NS.shape[1], p.actions_NA.shape[1]) for p in parts}
    if len(widths) != 1:
        raise DataError(f"cannot join trajectories of state and action widths {sorted(widths)}")
    offsets = np.cumsum([0, *(len(p.rewards_N) for p in parts[:-1])])
    return Trajectories(
        np.concatenate([p.states_NS for p in parts]),
        np.concatenate([p.actions_NA for p in parts]),
        np.concatenate([p.rewards_N for p in parts]),
        np.concatenate([p.starts_T + o for p, o in zip(parts, offsets, strict=True)]),
        np.concatenate([p.terminated_T for p in parts]),
    )


def read_hdf5(path: Path) -> Trajectories:
    """Reads a D4RL file: cut after each terminal or timeout, the unfinished last piece dropped.

    Raises:
        MethodError: h5py is not installed.
        DataError: truncated, not HDF5, or an array is missing; see `Trajectories` for the rest.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise MethodError(f"{path}: HDF5 needs h5py; install it with: pip install h5py") from None
    try:
        with h5py.File(path, "r") as file:
            arrays = _whole(path, file)
    except DataError:
        raise
    except Exception as error:  # whatever the library meets in a corrupt file
        raise DataError(
            f"{path}: cannot be read as HDF5 ({one_line(str(error), 200)}); get it again"
        ) from None
    return _cut(path, arrays)


def read_npz(path: Path) -> Trajectories:
    """Reads an npz file with the arrays that D4RL's files have; see `read_hdf5`.

    Raises:
        DataError: missing, no npz of plain arrays, or an array is missing.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = _whole(path, file)
    except DataError:
        raise
    except Exception as error:  # whatever a file of another kind makes the reader come up with
        raise DataError(
            f"{path}: cannot be read as an npz of plain arrays ({brief(error)})"
        ) from None
    return _cut(path, arrays)


def _whole(path: Path, file: Any) -> dict[str, NDArray[Any]]:
    """The arrays of a file of trajectories."""
    if missing := [key for key in _KEYS if key not in file]:
        raise DataError(f"{path}: no {', '.join(missing)}; D4RL files hold {_KEYS}")
    return {key: np.asarray(file[key]) for key in _KEYS}


def _cut(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Trajectories:
    """Whole episodes out of arrays of steps."""
    steps = len(arrays["observations"]) if arrays["observations"].ndim else 0
    states, actions = (_numbers(path, key, arrays[key], steps, 2) for key in _KEYS[:2])
    rewards, terminals, timeouts = (_numbers(path, key, arrays[key], steps, 1) for key in _KEYS[2:])
    for key, flags_N in (("terminals", terminals), ("timeouts", timeouts)):
        if not np.isin(flags_N, (0, 1)).all():
            step = int((~np.isin(flags_N, (0, 1))).argmax())
            raise DataError(
                f"{path}: {key} is {flags_N[step]} at step {step}; it has to be 0 or 1; "
                "get the file again"
            )
    ends = np.flatnonzero(terminals.astype(bool) | timeouts.astype(bool)) + 1
    if not len(ends):
        raise DataError(f"{path}: there is no whole episode; one step or more is needed")
    return Trajectories(
        states[: ends[-1]].astype(np.float32),
        actions[: ends[-1]].astype(np.float32),
        rewards[: ends[-1]].astype(np.float32),
        np.concatenate([[0], ends[:-1]]).astype(np.int64),
        terminals.astype(np.bool_)[ends - 1],
    )


def _numbers(path: Path, key: str, array: NDArray[Any], steps: int, dims: int) -> NDArray[Any]:
    """An array [steps, ...] of finite float32 numbers; a column [steps, 1] may stand for a row.

    Raises:
        DataError: it has another shape, or something that is no such number.
    """
    if dims == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if (
        array.ndim != dims
        or len(array) != steps
        or not array.size
        or array.dtype.kind not in "biuf"
    ):
        wanted = [steps, "width"][:dims]
        raise DataError(
            f"{path}: {key} is {array.dtype} {list(array.shape)}, it has to be numbers {wanted}; "
            "get the file again"
        )
    if array.dtype.kind == "f":
        # Also what is finite in float64 and not in float32; NaN compares as False.
        bad = ~(np.abs(array) <= np.finfo(np.float32).max)
        if bad.any():
            step = int(bad.reshape(steps, -1).any(1).argmax())
            raise DataError(
                f"{path}: {key} holds {int(bad.sum())} values that are not finite float32 numbers, "
                f"the first at step {step}; get the file again"
            )
    return array


def read_minari(dataset_id: str) -> Trajectories:
    """Reads a Minari dataset that is on this machine, e.g. `mujoco/hopper/expert-v0`.

    Raises:
        MethodError: Minari is not installed.
        DataError: there is no such dataset; see `Trajectories` for the rest.
    """
    try:
        import minari
    except ModuleNotFoundError:
        raise MethodError(
            f"{dataset_id}: Minari is not installed; install it with: pip install 'minari[hdf5]'"
        ) from None
    try:
        dataset = minari.load_dataset(dataset_id)
        episodes = [
            # Minari keeps the state after the last action too.
            (e.observations[: len(e.actions)], e.actions, e.rewards, bool(e.terminations[-1]))
            for e in dataset.iterate_episodes()
        ]
        with np.errstate(over="ignore"):  # what float32 does not hold is refused as infinite
            return Trajectories.of(episodes)
    except HarnessError:
        raise
    except Exception as error:  # whatever the library meets in a folder that is not its own
        raise DataError(
            f"{dataset_id}: not here, or corrupt ({one_line(str(error), 200)}); get it with: "
            f"minari download {dataset_id}"
        ) from None


def split(whole: Trajectories, share: float) -> tuple[Trajectories, Trajectories]:
    """Episodes to train on, and those held out: evenly spread over the data, at least one.

    Raises:
        DataError: there are fewer than two episodes.
    """
    if whole.count < 2:
        raise DataError(
            f"trajectories: {whole.count} episode, of which none can be held out; give two or more"
        )
    count = min(max(1, round(share * whole.count)), whole.count - 1)
    held = (np.arange(count) * whole.count) // count
    return whole.take(np.setdiff1d(np.arange(whole.count), held)), whole.take(held)


class Statistics(NamedTuple):
    """What states are normalised with: `(states - mean_S) / std_S`."""

    mean_S: Floats
    std_S: Floats
    """Standard deviation plus 1e-6; infinite where a component is hidden, which then always is 0
    to the policy."""


def statistics(trajectories: Trajectories, shown: int | None = None) -> Statistics:
    """Mean and standard deviation over all states; components from `shown` on are hidden."""
    states_NS = trajectories.states_NS.astype(np.float64)
    std_S = states_NS.std(0) + 1e-6
    if shown is not None:
        std_S[shown:] = np.inf
    return Statistics(states_NS.mean(0).astype(np.float32), std_S.astype(np.float32))


class Batch(NamedTuple):
    """Windows of trajectories, padded behind their end."""

    states_BKS: Tensor
    """Normalised."""
    actions_BKA: Tensor
    returns_to_go_BK1: Tensor
    """Sum of rewards from this step to the end, divided by `RETURN_SCALE`."""
    timesteps_BK: Tensor
    """Steps since the episode began, int64."""
    mask_BK: Tensor
    """False where padded."""

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a policy is called with: it never looks at what comes later, padding included."""
        return self[:4]


class Windows:
    """Draws training windows: every step of the data is equally likely to be the first of one.

    That is a trajectory with probability proportional to its length and a uniform start in it,
    as in the released code. A window that begins near the end is short and padded behind it, with
    its last step; the released code pads in front and masks, which is the same to a causal policy.
    """

    def __init__(
        self,
        trajectories: Trajectories,
        statistics: Statistics,
        context: int,
        device: str | torch.device = "cpu",
    ) -> None:
        """The data go to the device as a whole."""
        t = trajectories
        starts_N = np.repeat(t.starts_T, t.lengths_T)
        ends_N = starts_N + np.repeat(t.lengths_T, t.lengths_T)
        # Sum to the end of all data minus the sum behind the episode's own end.
        after_N1 = np.append(np.cumsum(t.rewards_N[::-1].astype(np.float64))[::-1], 0.0)
        to_go_N = (after_N1[:-1] - after_N1[ends_N]) / RETURN_SCALE
        times_N = np.arange(len(starts_N)) - starts_N
        states_NS = (t.states_NS - statistics.mean_S) / statistics.std_S

        def tensor(array: NDArray[Any], dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=device)

        self._states_NS = tensor(states_NS, torch.float32)
        self._actions_NA = tensor(t.actions_NA, torch.float32)
        self._to_go_N1 = tensor(to_go_N[:, None], torch.float32)
        self._times_N = tensor(times_N, torch.int64)
        self._ends_N = tensor(ends_N, torch.int64)
        self._offsets_K = torch.arange(context, device=device)
        self.steps = len(starts_N)

    def sample(self, batch: int, generator: torch.Generator) -> Batch:
        """Draws `batch` windows; the generator lives on the CPU."""
        first_B = torch.randint(self.steps, (batch,), generator=generator)
        return self.at(first_B)

    def at(self, first_B: Tensor) -> Batch:
        """The windows that begin at these steps of the data, wherever their numbers lie."""
        first_B = first_B.to(self._ends_N.device)
        wanted_BK = first_B[:, None] + self._offsets_K
        index_BK = torch.minimum(wanted_BK, self._ends_N[first_B, None] - 1)
        return Batch(
            self._states_NS[index_BK],
            self._actions_NA[index_BK],
            self._to_go_N1[index_BK],
            self._times_N[index_BK],
            wanted_BK == index_BK,
        )
