"""The experiment as data: what it names exists, and each scale runs what it says."""

import subprocess
import sys
from typing import Any

import pytest

from harness import registry
from harness.suite import Suite
from suites.merging.methods import HIDDEN, NEEDED, THREE
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.settings import MergingSettings

GROUPS = ("attn", "mlp", "attn-mlp")


@pytest.fixture(scope="module")
def merging() -> Suite:
    return registry.load("merging")


def test_every_named_function_exists(merging: Suite) -> None:
    paths = {m.run for m in merging.methods} | {a.make for a in merging.artifacts}
    paths |= {f.draw for f in merging.figures} | set(merging.preload)
    assert all(callable(registry.call(path)) for path in paths)


def test_loading_the_suite_imports_nothing_heavy() -> None:
    code = (
        "import sys; from suites.merging.suite import suite; suite(); "
        "heavy = {'torch', 'transformers', 'gymnasium', 'mujoco', 'numpy'}; "
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tasks_are_environments_that_there_are(merging: Suite) -> None:
    assert [t.params["environment"] for t in merging.tasks] == [*THREE, "ant", *THREE]
    assert {t.params["environment"] for t in merging.tasks} <= set(ENVIRONMENTS)
    blind = {t.name for t in merging.tasks if t.params["hidden"] != "nothing"}
    assert blind == set(HIDDEN)


def test_methods_and_tasks_agree_on_what_is_hidden(merging: Suite) -> None:
    """A policy meets the task that it was trained for, and is merged with its like."""
    hidden = {a.name: a.params.get("hidden", "nothing") for a in merging.artifacts}
    for scale in merging.scales:
        for method, task in merging.pairs(scale):
            policies = [name for name in method.needs if name.startswith("policy-")]
            shown = {hidden[name] == "nothing" for name in policies}
            assert shown <= {task.params["hidden"] == "nothing"}, method.name
            own = str(method.params["policies"]).format(task.params["environment"])
            assert hidden.get(own, "nothing") == task.params["hidden"], method.name


def test_rules_about_changes_know_the_start_of_their_policies(merging: Suite) -> None:
    for method in merging.methods:
        start = method.params.get("start")
        assert (start is not None) == (
            method.params.get("rule") in ("task-arithmetic", "ties", "dare", "tsv-m", "iso-c")
        ), method.name
        if start is not None:
            assert str(method.params["policies"]).endswith(f"-{start}")
            assert (start == "pretrained") == ("language-model" in method.needs)


def test_primary_claims_are_judged_where_attention_is_needed(merging: Suite) -> None:
    primary = [c for c in merging.claims if c.role == "primary"]
    assert len(primary) == 5
    for claim in primary:
        assert claim.tasks == NEEDED
        kinds = {check.kind for check in claim.checks}
        assert {"floor", "converged"} <= kinds, claim.name
        assert ("active" in kinds) == ("attention" in claim.name), claim.name


def test_seeds_are_added_up_to_twenty_at_least(merging: Suite) -> None:
    scale = merging.scale("laptop")
    assert scale.looks[-1] >= 20


def test_a_frozen_backbone_is_followed_by_as_many_updates_as_a_policy_has(merging: Suite) -> None:
    settings: Any = merging.scale("laptop").settings
    for name in ("frozen", "multitask"):
        assert getattr(settings.trainings, name).updates == settings.trainings.policy.updates


def test_methods_need_the_policies_of_all_environments(merging: Suite) -> None:
    for method in merging.methods:
        template = str(method.params["policies"])
        names = (*THREE, "ant") if method.name.startswith("four-") else THREE
        assert {template.format(name) for name in names} <= set(method.needs), method.name


def test_the_fourth_robot_is_met_by_the_methods_that_have_a_policy_for_it(merging: Suite) -> None:
    for scale in merging.scales:
        four = {m.name for m, t in merging.pairs(scale) if t.name == "ant"}
        assert four == {"four-individual", *(f"four-average-{g}" for g in GROUPS)}
    assert not any("ant" in claim.tasks for claim in merging.claims)
    shown = {t.name for t in merging.tables if "ant" in t.tasks}
    assert shown == {"fourth", "returns"}


def test_artifacts_that_start_from_the_language_model_need_it(merging: Suite) -> None:
    for artifact in merging.artifacts:
        if "init" in artifact.params:
            pretrained = artifact.params["init"] == "pretrained"
            assert pretrained == ("language-model" in artifact.needs), artifact.name


def test_smoke_needs_no_data_and_runs_every_method(merging: Suite) -> None:
    """But those of the recommended recipe, whose terms of the loss other methods have too."""
    scale = merging.scale("smoke")
    wanted = {m.name for m in merging.methods if not m.name.endswith("-recommended")}
    assert {m.name for m, _ in merging.pairs(scale)} == wanted
    assert scale.settings.plain()["source"] == "shipped"
    files = {d.name: d.files for d in merging.datasets}
    assert not any(files[name] for a in merging.artifacts for name in a.datasets)


def test_laptop_has_the_experiments_that_must_be_there(merging: Suite) -> None:
    scale = merging.scale("laptop")
    names = {m.name for m, _ in merging.pairs(scale)}
    averages = {f"average-{g}{s}" for g in GROUPS for s in ("", "-common")}
    assert averages <= names
    assert {"average-mlp-pretrained", "individual-pretrained"} <= names
    assert {"path-attn", "path-mlp"} <= names
    assert {"mff", "frozen-random", "frozen-other", "attention-other", "attention-random"} <= names
    assert {
        "regmean-plus-attn-mlp-common",
        "tsv-m-attn-mlp-common",
        "iso-c-attn-mlp-common",
    } <= names
    assert {"fisher-paper-attn-common", "fisher-true-attn-common", "average-attn-common"} <= names
    assert scale.settings.plain()["points"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert len(scale.seeds) == 10
    assert int(str(scale.settings.plain()["episodes"])) >= 20


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu", "paper"])
def test_no_scale_leaves_a_claim_open(merging: Suite, scale: str) -> None:
    names = {m.name for m, _ in merging.pairs(merging.scale(scale))}
    assert {name for c in merging.claims for name in (c.a, getattr(c, "b", c.a))} <= names


def test_every_scale_hands_over_the_same_settings(merging: Suite) -> None:
    assert {type(scale.settings) for scale in merging.scales} == {MergingSettings}


def test_references_name_metrics_and_tasks_that_exist(merging: Suite) -> None:
    printed = registry.references(merging)
    assert len(printed) == 6
    assert {r.metric for r in printed} <= {m.name for m in merging.metrics}
    assert {r.task for r in printed} == set(THREE)
    assert not any(r.source == "paper" for r in printed)  # its tables were not at hand
