"""Policies and environments of one's own: what joins the suite, and what is refused in one line."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from harness import registry
from harness.errors import DataError, SpecError
from harness.plugins import Loaded, Place, extended
from suites import merging
from suites.merging.policy import files
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import Shape
from suites.merging.robots import trajectories
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.robots.trajectories import Statistics


@pytest.fixture
def save(tmp_path):
    """`save(environment, **shape)`: the folder of a small policy."""

    def save_(name, **shape):
        env = ENVIRONMENTS[name]
        sizes = {"width": 8, "layers": 1, "heads": 1, "context": 4, "max_steps": 9} | shape
        whole = Shape(**({"state_dim": env.state_dim, "action_dim": env.action_dim} | sizes))
        policy = FastDecisionTransformer(whole, torch.Generator().manual_seed(0))
        normal = Statistics(*(np.ones(whole.state_dim, np.float32) for _ in range(2)))
        files.save(policy, normal, tmp_path / name)
        return tmp_path / name

    return save_


def test_they_join_the_suite_and_meet_their_environments_alone(save):
    folders = {env: save(env) for env in ("hopper", "ant")}
    plugin = merging.policies("mine", folders, rules=("average", "regmean"), groups=(("attn",),))
    assert plugin == merging.policies(
        "mine", {k: str(v) for k, v in folders.items()}, rules=("average", "regmean"),
        groups=(("attn",),),
    )  # fmt: skip
    item = Loaded(Place("mine", "mine", "mine", "plugin"), "1", (plugin,))
    suite = extended(registry.load("merging"), [item])
    names = {"individual-mine", "average-attn-mine", "regmean-attn-mine"}
    met = {(m.name, t.name) for m, t in suite.pairs(suite.scale("smoke")) if m.name in names}
    assert met == {(name, env) for name in names for env in folders}
    assert suite.method("regmean-attn-mine").needs == (
        "policy-hopper-mine", "policy-ant-mine", "data-hopper", "data-ant",
    )  # fmt: skip
    assert all("not trainings" in suite.method(name).deviations[0] for name in names)


def test_what_does_not_belong_together_is_refused_in_one_line(save, tmp_path):
    hopper, ant = save("hopper"), save("ant")
    refused = [
        ({"hopper": hopper}, {}, "1 given; merging wants at least 2", SpecError),
        ({"hopper": hopper, "hoper": ant}, {}, "did you mean 'hopper'?", SpecError),
        ({"hopper": hopper, "ant": ant}, {"rules": ("ties",)}, "unknown rule 'ties'", SpecError),
        ({"hopper": hopper, "ant": hopper}, {}, "has 11 states and 3 actions, ant", DataError),
        ({"hopper": hopper, "ant": tmp_path}, {}, "no model.safetensors in", DataError),
    ]
    for folders, options, message, kind in refused:
        with pytest.raises(kind) as caught:
            merging.policies("mine", folders, **options)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="of unequal width, layers and heads"):
        merging.policies("mine", {"hopper": hopper, "ant": save("ant", width=16)})
    for text in ("", "[]", "{", json.dumps({"shape": {}})):
        (ant / "config.json").write_text(text)
        with pytest.raises(DataError, match="does not say the policy's shape"):
            merging.policies("mine", {"hopper": hopper, "ant": ant})


# -- environments ----------------------------------------------------------------------------------

POINT = Path(__file__).parents[3] / "docs" / "examples" / "resting-point.npz"


@pytest.fixture
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def joined(*parts):
    return extended(
        registry.load("merging"), [Loaded(Place("mine", "mine", "mine", "plugin"), "1", parts)]
    )


@pytest.mark.usefixtures("_cache")
def test_an_environment_is_a_task_that_its_own_policies_meet():
    suite = joined(
        merging.environment("points:My-Point-v0", POINT, merge_with=("hopper",)),
        merging.environment("other-v0", POINT, name="other", merge_with=("my-point-v0", "ant")),
    )
    old = registry.load("merging")
    for scale in suite.scales:
        before = {(m.name, t.name) for m, t in old.pairs(old.scale(scale.name))}
        new = {(m.name, t.name) for m, t in suite.pairs(scale)} - before
        assert {task for _, task in new} == {"my-point-v0", "other"}
        assert all(method.endswith(f"-{task}") for method, task in new)
        assert len(new) == 8
    merged = suite.method("average-attn-mlp-other")
    assert merged.needs == tuple(f"policy-{e}-different" for e in ("other", "my-point-v0", "ant"))
    params = suite.task("my-point-v0").params
    assert (params["gym"], params["state_dim"], params["action_dim"]) == (
        "points:My-Point-v0",
        4,
        2,
    )
    assert params["random_return"] < params["expert_return"] == params["target_return"]


@pytest.mark.usefixtures("_cache")
def test_the_data_are_the_same_from_every_kind_of_source(tmp_path):
    with np.load(POINT) as npz, h5py.File(tmp_path / "point.hdf5", "w") as file:
        for key in npz.files:
            file[key] = npz[key]
    made = [
        merging.environment("p-v0", data)
        for data in (POINT, str(tmp_path / "point.hdf5"), trajectories.read_npz(POINT))
    ]
    assert made[0] == made[1] == made[2]


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("point.txt", {}, "no file of trajectories; its name ends with"),
        ("none.npz", {}, r"none\.npz: cannot be read as an npz"),
        ("minari:none/none-v0", {}, "none/none-v0: not here, or corrupt"),
        (POINT, {"random": 9.0, "expert": 1.0}, "returns of 9 score 0 and of 1 score 100"),
        (POINT, {"merge_with": ()}, "merge_with names nothing"),
    ],
)
def test_an_environment_that_cannot_be_used_is_one_line(data, options, message):
    with pytest.raises((DataError, SpecError), match=message) as caught:
        merging.environment("p-v0", data, **options)
    assert "\n" not in str(caught.value)


def test_an_npz_lacks_nothing_that_trajectories_have(tmp_path):
    with np.load(POINT) as npz:
        arrays = dict(npz)
    del arrays["timeouts"]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=r"a\.npz: no timeouts; D4RL files hold"):
        trajectories.read_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **arrays, timeouts=np.array([object()]))
    with pytest.raises(DataError, match=r"b\.npz: cannot be read as an npz of plain arrays"):
        trajectories.read_npz(tmp_path / "b.npz")
