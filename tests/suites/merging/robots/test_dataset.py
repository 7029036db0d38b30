"""Datasets as artifacts: rolled out by their mixture, or read from files that may be missing."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import plan, registry
from harness.data import Sources
from harness.errors import DataError, SpecError
from harness.run import Context
from harness.settings import S, resolve
from harness.store import Store
from suites.merging.robots import dataset, trajectories
from suites.merging.robots.mixtures import SHIPPED


def _context(out: Path, **given: Any) -> Any:
    """As much of the engine's context as rolling out a mixture uses."""
    scale = registry.load("merging").scale("smoke").settings.plain() | {"steps": 80}

    def settings(model: type[S]) -> S:
        return resolve(model, [{"environment": "hopper"} | given, scale], "data-hopper")

    out.mkdir()
    return SimpleNamespace(
        out=out,
        settings=settings,
        stream=lambda *keys: sum(map(len, map(str, keys))),
        generated=lambda _note: None,
        installed=lambda *_: None,
        tick=lambda *_: None,
    )


@pytest.mark.parametrize("quality", ["expert", "medium", "medium-expert", "medium-replay"])
def test_a_dataset_is_rolled_out_by_its_mixture(tmp_path: Path, quality: Any) -> None:
    facts: Any = dataset.roll_out_mixture(_context(tmp_path / "a", quality=quality))
    again = dataset.roll_out_mixture(_context(tmp_path / "b", quality=quality))
    assert facts == again == json.loads(json.dumps(facts))
    files = [tmp_path / x / "trajectories.safetensors" for x in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    data = trajectories.load(files[0])
    assert data.states_NS.shape[1] == 11
    mixture = SHIPPED["hopper"][quality]
    assert [(r["policy"], r["noise"]) for r in facts["recipe"]] == [i[:2] for i in mixture]
    assert sum(r["steps"] for r in facts["recipe"]) == facts["steps"] == len(data.rewards_N) >= 80
    assert sum(i.share for i in mixture) == pytest.approx(1)
    assert facts["environment"] == "Hopper-v5"
    assert facts["return_mean"] == pytest.approx(data.returns_T.mean(), abs=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quality": "best"}, r"^data-hopper: MergingSettings\.quality: .*'expert', 'medium'"),
        ({"source": "web"}, r"^data-hopper: MergingSettings\.source: .*'shipped', 'folder'"),
        ({"environment": "swimmer"}, "^unknown environment 'swimmer': there are ant, .*hopper"),
    ],
)
def test_an_unknown_quality_source_or_environment_is_one_line(
    tmp_path: Path, given: dict[str, str], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        dataset.make(_context(tmp_path / "out", **given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"hopper_medium_expert-v2\.hdf5 not found; point"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "cannot be read as HDF5"),
    ],
)
def test_a_missing_or_truncated_file_of_d4rl_is_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        _file_of_d4rl(tmp_path).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        dataset.make(_context_of_d4rl(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [(17, 6), (11, 6), (111, 3)])
def test_data_of_another_robot_are_refused_with_both_sizes(
    tmp_path: Path, sizes: tuple[int, int]
) -> None:
    _write_d4rl(_file_of_d4rl(tmp_path), *sizes)
    ctx = _context_of_d4rl(tmp_path)
    message = (
        rf"hopper_medium_expert-v2\.hdf5: {sizes[0]} state and {sizes[1]} action components, "
        r"Hopper-v4 has 11 and 3; give the data of this robot"
    )
    with pytest.raises(DataError, match=message) as caught:
        dataset.make(ctx)
    assert "\n" not in str(caught.value)
    assert not list(ctx.out.iterdir())


def test_data_of_the_robot_itself_are_taken(tmp_path: Path) -> None:
    _write_d4rl(_file_of_d4rl(tmp_path), 11, 3)
    ctx = _context_of_d4rl(tmp_path)
    facts = dataset.make(ctx)
    assert (facts["episodes"], facts["steps"]) == (3, 30)
    assert trajectories.load(ctx.out / dataset.TRAJECTORIES).actions_NA.shape == (30, 3)


def _file_of_d4rl(folder: Path) -> Path:
    path = folder / "mujoco" / "d4rl" / "hopper_medium_expert-v2.hdf5"
    path.parent.mkdir(parents=True)
    return path


def _write_d4rl(path: Path, states: int, actions: int) -> None:
    """Three episodes of ten steps."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(30, states))
        file["actions"] = rng.uniform(-1, 1, (30, actions))
        file["rewards"] = rng.normal(size=30)
        file["terminals"] = np.zeros(30, bool)
        file["timeouts"] = np.arange(30) % 10 == 9


def _context_of_d4rl(folder: Path) -> Context:
    """Of Hopper's data at the paper's scale, with `folder` as the data folder."""
    suite = registry.load("merging")
    wanted = plan.Filters(("individual",), ("hopper",), (0,))
    trials, nodes = plan.trials(suite, suite.scale("paper"), "cpu", wanted)
    node = next(n for n in nodes.values() if n.artifact.name == "data-hopper")
    store = Store(folder / "r", folder / "c")
    ctx = Context(trials[0], store, Sources(folder, folder / "hub"), node=node)
    ctx.out.mkdir(parents=True, exist_ok=True)
    return ctx
