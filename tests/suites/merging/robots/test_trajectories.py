"""Trajectories: cutting, checks, files good and bad, windows against a plain loop."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from harness.errors import DataError, HarnessError, MethodError
from suites.merging.robots import trajectories
from suites.merging.robots.trajectories import Statistics, Trajectories, Windows

h5py = pytest.importorskip("h5py")


def _tiny(lengths: tuple[int, ...] = (3, 1, 5), seed: int = 0) -> Trajectories:
    rng = np.random.default_rng(seed)
    return Trajectories.of(
        [
            (rng.normal(size=(n, 2)), rng.normal(size=(n, 1)), rng.normal(size=n), n % 2 == 0)
            for n in lengths
        ]
    )


def _same(a: Trajectories, b: Trajectories) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        and getattr(a, name).dtype == getattr(b, name).dtype
        for name in a.__dataclass_fields__
    )


def test_lengths_and_returns_of_a_hand_made_case() -> None:
    t = Trajectories.of(
        [
            (np.zeros((2, 1)), np.zeros((2, 1)), np.array([1.0, 2.0]), True),
            (np.ones((1, 1)), np.ones((1, 1)), np.array([-4.0]), False),
        ]
    )
    assert t.count == 2
    assert t.lengths_T.tolist() == [2, 1]
    assert t.returns_T.tolist() == [3.0, -4.0]
    assert t.starts_T.tolist() == [0, 2]
    assert t.terminated_T.tolist() == [True, False]


def test_a_saved_file_comes_back_the_same(tmp_path: Path) -> None:
    t = _tiny()
    t.save(tmp_path / "t.safetensors", {"score": 12.5})
    assert _same(trajectories.load(tmp_path / "t.safetensors"), t)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "states_NS",
            np.full((9, 2), np.nan, np.float32),
            "states_NS holds 18 values that are NaN",
        ),
        ("rewards_N", np.full(9, np.inf, np.float32), "rewards_N holds 9 values that are NaN"),
        ("actions_NA", np.zeros((8, 1), np.float32), r"actions_NA has shape \(8, 1\)"),
        ("starts_T", np.array([0, 3, 3]), "length zero is not allowed"),
        ("starts_T", np.array([1, 3, 4]), "must rise from 0"),
        ("starts_T", np.array([0, 3, 9]), "below the number of steps"),
        ("starts_T", np.zeros(0, np.int64), "no whole episode"),
        ("terminated_T", np.zeros(2, np.bool_), "2 flags"),
    ],
)
def test_bad_arrays_are_one_clear_line(field: str, value: Any, message: str) -> None:
    fields = {name: getattr(_tiny(), name) for name in Trajectories.__dataclass_fields__}
    with pytest.raises(DataError, match=message) as caught:
        Trajectories(**fields | {field: value})
    assert "\n" not in str(caught.value)


def test_no_episode_at_all_is_told() -> None:
    with pytest.raises(DataError, match="no whole episode"):
        Trajectories.of([])


def test_the_first_bad_step_is_named() -> None:
    t = _tiny()
    states = t.states_NS.copy()
    states[4, 1] = np.nan
    with pytest.raises(DataError, match="1 values that are NaN or infinite, the first at step 4"):
        Trajectories(states, t.actions_NA, t.rewards_N, t.starts_T, t.terminated_T)


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "other"])
def test_damaged_files_are_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    if damage == "other":
        from safetensors.numpy import save_file

        save_file({"x": np.zeros(3)}, path)
    elif damage != "missing":
        _tiny().save(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"garbage!" * 9)
    with pytest.raises(DataError) as caught:
        trajectories.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_joining_keeps_every_episode() -> None:
    a, b = _tiny((3, 1)), _tiny((5, 2, 2), seed=1)
    joined = trajectories.concatenate([a, b])
    assert joined.lengths_T.tolist() == [3, 1, 5, 2, 2]
    np.testing.assert_array_equal(joined.returns_T, np.concatenate([a.returns_T, b.returns_T]))
    assert _same(trajectories.concatenate([a]), a)


def _hdf5(path: Path, **changes: Any) -> Path:
    arrays = {
        "observations": np.arange(14, dtype=np.float32).reshape(7, 2),
        "actions": np.arange(7, dtype=np.float32)[:, None],
        "rewards": np.arange(7, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0, 0], bool),
    } | changes
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            if array is not None:
                file[key] = array
    return path


def test_d4rl_files_are_cut_at_terminals_and_timeouts(tmp_path: Path) -> None:
    t = trajectories.read_hdf5(_hdf5(tmp_path / "d.hdf5"))
    assert t.lengths_T.tolist() == [2, 3]  # the last two steps are an unfinished piece
    assert t.returns_T.tolist() == [1.0, 9.0]
    assert t.terminated_T.tolist() == [True, False]
    assert t.states_NS.tolist() == np.arange(10, dtype=float).reshape(5, 2).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timeouts": None}, "no timeouts"),
        ({"rewards": np.zeros(6)}, r"rewards is float64 \[6\]"),
        ({"terminals": np.zeros(7), "timeouts": np.zeros(7)}, "no whole episode"),
        ({"actions": np.full((7, 1), np.nan)}, "not finite float32 numbers"),
    ],
)
def test_bad_d4rl_files_are_one_clear_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        trajectories.read_hdf5(_hdf5(tmp_path / "d.hdf5", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.95])
def test_a_truncated_d4rl_file_is_one_clear_line(tmp_path: Path, kept: float) -> None:
    path = _hdf5(tmp_path / "d.hdf5")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    with pytest.raises(DataError, match="cannot be read as HDF5") as caught:
        trajectories.read_hdf5(path)
    assert "\n" not in str(caught.value)


def test_without_h5py_or_minari_the_install_command_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MethodError, match="pip install h5py"):
        trajectories.read_hdf5(Path("x.hdf5"))
    with pytest.raises(MethodError, match="pip install 'minari"):
        trajectories.read_minari("mujoco/hopper/expert-v0")


@pytest.mark.filterwarnings("ignore::UserWarning")  # what a published set should tell besides
def test_minari_episodes_lose_the_state_behind_the_last_action(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through the library itself, on a set that it wrote here."""
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = [
        minari.data_collector.EpisodeBuffer(
            id=n,
            observations=np.arange(8.0).reshape(4, 2) + 10 * n,
            actions=np.full((3, 1), 0.5 * n),
            rewards=[1.0, 2.0, 3.0 + n],
            terminations=[False, False, n == 0],
            truncations=[False, False, n == 1],
        )
        for n in range(2)
    ]
    minari.create_dataset_from_buffers(
        "mujoco/hopper/tiny-v0",
        episodes,
        observation_space=Box(-np.inf, np.inf, (2,)),
        action_space=Box(-1.0, 1.0, (1,)),
    )
    t = trajectories.read_minari("mujoco/hopper/tiny-v0")
    assert t.lengths_T.tolist() == [3, 3]
    assert t.states_NS[[2, 3]].tolist() == [[4.0, 5.0], [10.0, 11.0]]
    assert t.actions_NA[:, 0].tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]
    assert t.returns_T.tolist() == [6.0, 7.0]
    assert t.terminated_T.tolist() == [True, False]
    with pytest.raises(DataError, match=r"^mujoco/hopper/none-v0: not here") as caught:
        trajectories.read_minari("mujoco/hopper/none-v0")
    assert "\n" not in str(caught.value)


def test_statistics_of_a_hand_made_case() -> None:
    t = Trajectories.of([(np.array([[1.0, 5], [3, 5]]), np.zeros((2, 1)), np.zeros(2), True)])
    mean_S, std_S = trajectories.statistics(t)
    assert mean_S.tolist() == [2, 5]
    np.testing.assert_allclose(std_S, [1 + 1e-6, 1e-6], rtol=1e-6)


def test_a_hidden_component_is_always_zero_to_the_policy() -> None:
    t = _tiny((3, 5))
    stats = trajectories.statistics(t, shown=1)
    assert np.isfinite(stats.std_S).tolist() == [True] + [False] * (t.states_NS.shape[1] - 1)
    states = Windows(t, stats, 2).at(torch.arange(8)).states_BKS
    assert not states[..., 1:].any()
    assert states[..., 0].any()


@pytest.mark.parametrize(("count", "share", "held"), [(2, 0.05, 1), (20, 0.05, 1), (40, 0.1, 4)])
def test_episodes_are_held_out_whole_and_spread_over_the_data(
    count: int, share: float, held: int
) -> None:
    t = _tiny(tuple(range(1, count + 1)))
    train, rest = trajectories.split(t, share)
    assert rest.count == held
    assert sorted([*train.lengths_T, *rest.lengths_T]) == [*range(1, count + 1)]
    assert np.diff(rest.lengths_T).tolist() == [count // held] * (held - 1)
    for part in (train, rest):
        for start, length in zip(part.starts_T, part.lengths_T, strict=True):
            own = int(t.starts_T[length - 1])
            for name in ("states_NS", "actions_NA", "rewards_N"):
                taken = getattr(part, name)[start : start + length]
                np.testing.assert_array_equal(taken, getattr(t, name)[own : own + length])


def test_of_one_episode_none_can_be_held_out() -> None:
    with pytest.raises(DataError, match="1 episode, of which none can be held out"):
        trajectories.split(_tiny((4,)), 0.5)


def _plain(t: Trajectories, stats: Statistics, context: int, first: int) -> tuple[Any, ...]:
    """The window that begins at one step, as the definition says it."""
    which = int(np.searchsorted(t.starts_T, first, side="right")) - 1
    begin, length = int(t.starts_T[which]), int(t.lengths_T[which])
    steps = range(first, min(first + context, begin + length))
    pad = context - len(steps)
    padded = [*steps, *[steps[-1]] * pad]
    states = t.states_NS[padded]
    to_go = [float(t.rewards_N[i : begin + length].sum()) / 1000 for i in padded]
    mask = [True] * len(steps) + [False] * pad
    times = [i - begin for i in padded]
    return (states - stats.mean_S) / stats.std_S, t.actions_NA[padded], to_go, times, mask


@pytest.mark.parametrize("context", [1, 3, 8])
def test_windows_equal_a_plain_loop(context: int) -> None:
    t = _tiny((3, 1, 5, 12))
    stats = trajectories.statistics(t)
    windows = Windows(t, stats, context)
    batch = windows.at(torch.arange(windows.steps))
    assert windows.steps == 21
    for first in range(21):
        states, actions, to_go, times, mask = _plain(t, stats, context, first)
        np.testing.assert_allclose(batch.states_BKS[first], states, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.actions_BKA[first], actions, rtol=1e-6)
        np.testing.assert_allclose(batch.returns_to_go_BK1[first, :, 0], to_go, atol=1e-7)
        assert batch.timesteps_BK[first].tolist() == times
        assert batch.mask_BK[first].tolist() == mask


def test_draws_are_uniform_over_steps_and_repeat_with_the_generator() -> None:
    t = Trajectories.of([(np.arange(4.0)[:, None], np.zeros((4, 1)), np.zeros(4), False)])
    windows = Windows(t, Statistics(np.zeros(1, np.float32), np.ones(1, np.float32)), 1)
    drawn = windows.sample(8000, torch.Generator().manual_seed(1))
    counts = np.bincount(drawn.states_BKS.flatten().int().numpy(), minlength=4)
    assert abs(counts - 2000).max() < 200  # five standard deviations
    again = windows.sample(8000, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_times_count_from_the_start_of_the_episode() -> None:
    t = _tiny((12, 5))
    windows = Windows(t, trajectories.statistics(t), 2)
    assert windows.at(torch.tensor([3, 8, 13])).timesteps_BK.tolist() == [[3, 4], [8, 9], [1, 2]]


@pytest.mark.parametrize("columns", [("rewards",), ("terminals",), ("terminals", "timeouts")])
def test_a_column_of_a_d4rl_file_is_read_as_a_row(columns: tuple[str, ...], tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for key, value in _d4rl().items():
            file[key] = value[:, None] if key in columns else value
    read = trajectories.read_hdf5(tmp_path / "a.hdf5")
    assert read.lengths_T.tolist() == [6, 6]
    assert read.terminated_T.tolist() == [True, False]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("observations", np.nan, "observations holds 3 values .* first at step 7"),
        ("actions", 1e300, "actions holds 2 values .* first at step 7"),
        ("rewards", -np.inf, "rewards holds 1 values .* first at step 7"),
        ("terminals", 3, "terminals is 3 at step 7; it has to be 0 or 1"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_d4rl_file_with_impossible_numbers_is_one_line(
    key: str, value: float, message: str, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    arrays = _d4rl()
    arrays[key] = arrays[key].astype(np.int64 if key == "terminals" else np.float64)
    arrays[key][7] = value
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with pytest.raises(DataError, match=message) as caught:
        trajectories.read_hdf5(tmp_path / "a.hdf5")
    assert "a.hdf5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_broken_d4rl_file_is_one_line_or_a_value(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        for key, array in _d4rl().items():
            file.create_dataset(key, data=array, compression="gzip")
    whole = path.read_bytes()
    broken = [whole[:cut] for cut in range(0, len(whole), 997)]
    broken += [
        whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :] for at in range(0, len(whole), 61)
    ]
    for data in broken:
        path.write_bytes(data)
        with contextlib.suppress(HarnessError):
            trajectories.read_hdf5(path)


def _d4rl() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(12, 3)),
        "actions": rng.normal(size=(12, 2)),
        "rewards": rng.normal(size=12),
        "terminals": np.arange(12) == 5,
        "timeouts": np.arange(12) == 11,
    }


def test_drawing_a_batch_takes_less_than_a_millisecond() -> None:
    t = _tiny((1000,) * 20)
    windows = Windows(t, trajectories.statistics(t), 10)
    generator = torch.Generator().manual_seed(0)
    windows.sample(64, generator)
    start = time.process_time()
    for _ in range(100):
        windows.sample(64, generator)
    assert (time.process_time() - start) / 100 < 1e-3
