"""Datasets as artifacts: rolled out by their mixture, or read from files that may be missing."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
        ({"environment": "swimmer"}, r"^data-hopper: Robot\.environment: .*'hopper'"),
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
    suite = registry.load("merging")
    wanted = plan.Filters(("individual",), ("hopper",), (0,))
    trials, nodes = plan.trials(suite, suite.scale("paper"), "cpu", wanted)
    node = next(n for n in nodes.values() if n.artifact.name == "data-hopper")
    if content is not None:
        folder = tmp_path / "mujoco" / "d4rl"
        folder.mkdir(parents=True)
        (folder / "hopper_medium_expert-v2.hdf5").write_bytes(content)
    store, sources = Store(tmp_path / "r", tmp_path / "c"), Sources(tmp_path, tmp_path / "hub")
    with pytest.raises(DataError, match=message) as caught:
        dataset.make(Context(trials[0], store, sources, node=node))
    assert "\n" not in str(caught.value)
