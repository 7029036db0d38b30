"""Policies of one's own: what joins the suite, and what is refused in one line."""

import json

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
