"""Artifacts and methods through the engine's own context, at a scale below smoke."""

import json
import math
import platform
from typing import Any

import gymnasium
import pytest
import torch
from safetensors.torch import load_file

from harness import plan, registry
from harness.data import Sources
from harness.errors import SpecError
from harness.run import Context
from suites.merging import artifacts
from suites.merging import trials as methods
from suites.merging.policy import files, language
from suites.merging.policy.model import DecisionTransformer
from suites.merging.robots.environments import environment, normalised
from suites.merging.robots.trajectories import statistics
from suites.merging.settings import Merge
from tests.suites.merging.world import World

OTHERS = {"hopper": "halfcheetah", "halfcheetah": "walker2d", "walker2d": "hopper"}
"""The next environment: the second policy of a path."""


def test_records_name_the_robots_and_the_text_that_they_rest_on(smoke: World) -> None:
    ctx = smoke.context("individual", make=False)
    artifacts.world(ctx, "hopper")
    version, digest = ctx.contents["gymnasium"].split(" sha256:")
    assert version == gymnasium.__version__
    assert len(digest) == 64
    language.read(ctx, "manual")
    assert ctx.contents["pydoc topics"].startswith(f"Python {platform.python_version()} sha256:")


def state(ctx: Context, env: str, variant: str = "different") -> dict[str, torch.Tensor]:
    return load_file(ctx.artifact(f"policy-{env}-{variant}") / "model.safetensors")


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The weights of every policy that a method sent into its environment."""
    seen: list[dict[str, torch.Tensor]] = []
    original = methods.returns

    def keep(ctx: Context, policy: DecisionTransformer, *rest: Any) -> list[float]:
        seen.append({k: v.clone() for k, v in policy.state_dict().items()})
        return original(ctx, policy, *rest)

    monkeypatch.setattr(methods, "returns", keep)
    return seen


def test_an_individual_policy_is_its_last_evaluation(smoke: World) -> None:
    metrics, ctx = smoke.run("individual")
    curve = json.loads((ctx.artifact("policy-hopper-different") / "curve.json").read_text())
    assert len(curve) == 10
    curve = [(update, by_name) for update, by_name in curve if "hopper" in by_name]
    assert [update for update, _ in curve] == [15, 30]
    means = [sum(by_name["hopper"]) / 2 for _, by_name in curve]
    env = environment("hopper")
    assert metrics["return"] == pytest.approx(means[-1])
    assert metrics["score"] == pytest.approx(normalised(env, means[-1]))
    assert metrics["score-best"] == pytest.approx(normalised(env, max(means)))
    assert set(metrics) <= set(ctx.task.reports)


def test_the_recorded_evaluation_is_that_of_the_saved_weights(smoke: World) -> None:
    metrics, ctx = smoke.run("individual")
    policy, stats = files.load(ctx.artifact("policy-hopper-different"))
    again = artifacts.returns(ctx, policy, artifacts.world(ctx, "hopper"), stats)
    assert sum(again) / len(again) == metrics["return"]


def test_what_is_left_of_a_score_is_in_points_and_in_percent(
    smoke: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = smoke.context("average-mlp")
    for own, kept in ((80.0, 25.0), (0.5, None), (-3.0, None)):
        monkeypatch.setattr(methods, "_own_score", lambda _, own=own: own)
        found = methods._compared(ctx, {"score": 20.0})
        assert found["retained"] == 20.0 - own
        assert found.get("kept") == kept


def test_hidden_velocities_are_hidden_in_training_and_after(smoke: World) -> None:
    metrics, ctx = smoke.run("hidden-regmean-attn", "hopper-hidden")
    env = environment("hopper")
    for robot in OTHERS:
        policy, stats = files.load(ctx.artifact(f"policy-hidden-{robot}-different"))
        own = environment(robot)
        shown = own.positions + (0 if robot == "hopper" else own.torso)
        assert [math.isfinite(x) for x in stats.std_S] == [
            n < shown for n in range(policy.shape.state_dim)
        ]
    assert set(metrics) <= set(ctx.task.reports)
    # What a policy makes of its input cannot depend on what it is not shown.
    batch = artifacts.windows(ctx, artifacts.read_data(ctx, env), stats_of(ctx), policy.shape)
    assert not batch.at(torch.arange(3)).states_BKS[..., env.positions :].any()


def stats_of(ctx: Context) -> Any:
    return files.load(ctx.artifact("policy-hidden-hopper-different"))[1]


def test_an_individual_record_shows_how_its_held_out_loss_came_to_rest(smoke: World) -> None:
    _, ctx = smoke.run("hidden-individual", "hopper-hidden")
    series = ctx.finished_series()["held-out"]
    assert series.x == tuple(range(3, 31, 3))
    assert series.y[-1] == 1


def test_nothing_is_trained_on_what_is_held_out(smoke: World) -> None:
    ctx = smoke.context("mff")
    env = environment("hopper")
    train, held = artifacts._data(ctx, env)
    assert held.count >= 1
    first = {states.tobytes() for states in held.states_NS}
    assert not first & {states.tobytes() for states in train.states_NS}
    policy, stats = files.load(ctx.artifact("policy-hopper-different"))
    source = artifacts.windows(ctx, held, stats, policy.shape)
    batch = source.sample(8, ctx.torch_generator("held-out", "hopper"))
    error = (policy(*batch.inputs) - batch.actions_BKA)[batch.mask_BK].square().mean().item()
    assert artifacts.held_out_loss(ctx, policy, env, stats) == pytest.approx(error, rel=1e-5)


def test_the_scale_of_task_vectors_is_that_of_the_least_held_out_loss(
    smoke: World, monkeypatch: pytest.MonkeyPatch, evaluated: list[dict[str, torch.Tensor]]
) -> None:
    """Whatever the returns are: losses alone are looked at, those of all environments."""
    seen: list[str] = []
    start = {}

    def loss(ctx: Context, policy: DecisionTransformer, env: Any, stats: Any) -> float:
        seen.append(env.name)
        moved = policy.state_dict()[KEY] - start["base"]
        whole = sum(state(ctx, e, "common")[KEY] - start["base"] for e in OTHERS)
        return 1 + abs(float((moved * whole).sum() / (whole * whole).sum()) - 0.5)

    ctx = smoke.context("task-arithmetic-attn-mlp-common")
    start["base"] = artifacts.fresh(ctx, environment("hopper"), "common", "standard").state_dict()[
        KEY
    ]
    monkeypatch.setattr(methods, "held_out_loss", loss)
    _, ctx = smoke.run("task-arithmetic-attn-mlp-common")
    (found,) = evaluated
    moves = [state(ctx, env, "common")[KEY] - start["base"] for env in OTHERS]
    torch.testing.assert_close(found[KEY], start["base"] + 0.5 * sum(moves))
    series = ctx.finished_series()["scales"]
    assert min(zip(series.y, series.x, strict=True))[1] == 0.5
    assert set(seen) == set(OTHERS)


KEY = "blocks.0.mlp.up.weight"


def test_an_ensemble_averages_the_actions_of_its_members(
    smoke: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        methods, "returns", lambda _ctx, policy, *_: seen.append(policy) or [1.0, 2.0]
    )
    _, ctx = smoke.run("hidden-ensemble-attn", "hopper-hidden")
    (found,) = seen
    own = state(ctx, "hidden-hopper")
    assert len(found.members) == 3
    for member, env in zip(found.members, OTHERS, strict=True):
        theirs = state(ctx, f"hidden-{env}")
        for name, value in member.state_dict().items():
            expected = theirs if ".attn." in name else own
            assert torch.equal(value, expected[name]), name
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    actions = torch.stack([member.act(x) for member in found.members])
    torch.testing.assert_close(found.act(x), actions.mean(0))
    assert not torch.equal(actions[0], actions[1])


def test_of_the_fine_tuned_copies_that_with_the_least_held_out_loss_is_taken(smoke: World) -> None:
    trial, nodes = smoke.trial("finetuned", "hopper")
    smoke.context("finetuned", "hopper")
    node = next(n for n in nodes.values() if n.artifact.name == "finetuned-hopper")
    ctx = Context(trial, smoke.store, Sources(None, smoke.store.cache), node=node)
    losses = {}
    for name in node.artifact.params["candidates"]:
        policy, stats = files.load(ctx.artifact(name))
        losses[name] = artifacts.held_out_loss(ctx, policy, environment("hopper"), stats)
    assert len(set(losses.values())) == 3
    best = load_file(ctx.artifact(min(losses, key=losses.__getitem__)) / "model.safetensors")
    chosen = load_file(
        ctx_of(smoke, "finetuned").artifact("finetuned-hopper") / "model.safetensors"
    )
    assert all(torch.equal(chosen[name], value) for name, value in best.items())


def ctx_of(smoke: World, method: str) -> Context:
    return smoke.context(method, "hopper", make=False)


def test_a_language_model_is_made_for_every_seed() -> None:
    suite = registry.load("merging")
    scale = suite.scale("laptop")
    wanted = plan.Filters(("individual-pretrained",), ("hopper",), (0, 1))
    _, nodes = plan.trials(suite, scale, "cpu", wanted)
    models = [n for n in nodes.values() if n.artifact.name == "language-model"]
    assert {n.seed for n in models} == {0, 1}


@pytest.mark.parametrize("task", ["hopper", "halfcheetah"])
def test_a_merge_averages_its_groups_and_keeps_the_rest_of_the_task(
    smoke: World, evaluated: list[dict[str, torch.Tensor]], task: str
) -> None:
    metrics, ctx = smoke.run("average-mlp", task)
    states = {env: state(ctx, env) for env in OTHERS}
    (found,) = evaluated
    for name, value in found.items():
        if ".mlp." in name:
            mean = sum(s[name].double() for s in states.values()) / 3
            torch.testing.assert_close(value.double(), mean, atol=1e-7, rtol=1e-6)
        else:
            assert torch.equal(value, states[task][name]), name
    own, _ = smoke.run("individual", task)
    assert metrics["retained"] == pytest.approx(metrics["score"] - own["score"])
    assert set(metrics) <= set(ctx.task.reports)


def test_a_path_goes_from_the_tasks_policy_to_the_next_ones(
    smoke: World, evaluated: list[dict[str, torch.Tensor]]
) -> None:
    metrics, ctx = smoke.run("path-attn", "hopper")
    own, other = state(ctx, "hopper"), state(ctx, "halfcheetah")
    key = "blocks.0.attn.qkv.weight"
    assert len(evaluated) == 5
    for p, found in zip((0, 0.25, 0.5, 0.75, 1), evaluated, strict=True):
        torch.testing.assert_close(found[key], (1 - p) * own[key] + p * other[key])
        assert torch.equal(found["blocks.0.mlp.up.weight"], own["blocks.0.mlp.up.weight"])
    series = ctx.finished_series()["path"]
    assert series.y[2] == pytest.approx(metrics["score"], rel=1e-5)
    individual, _ = smoke.run("individual")
    assert series.y[0] == pytest.approx(individual["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("method", "body"), [("mff", "merged"), ("frozen-random", "random"), ("frozen-other", "other")]
)
def test_a_frozen_body_stays_while_the_rest_is_trained(
    smoke: World, evaluated: list[dict[str, torch.Tensor]], method: str, body: str
) -> None:
    metrics, ctx = smoke.run(method)
    first, *_, last = evaluated
    own = state(ctx, "hopper")
    key = "blocks.1.mlp.down.weight"
    if body == "merged":
        expected = sum(state(ctx, env)[key].double() for env in OTHERS).float() / 3  # type: ignore[union-attr]
        torch.testing.assert_close(first[key], expected)
    elif body == "other":
        assert torch.equal(first[key], state(ctx, "halfcheetah")[key])
    else:
        assert not any(torch.equal(first[key], state(ctx, env)[key]) for env in OTHERS)
    for name, value in last.items():
        stays = ".attn." in name or ".mlp." in name
        assert torch.equal(value, first[name]) == stays, name
        if not stays:
            assert torch.equal(first[name], own[name]), name
    assert ctx.finished_series()["recovery"].x == (0, 5, 10)
    assert ctx.finished_series()["recovery"].y[-1] == pytest.approx(metrics["score"], rel=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        *(f"fisher-{kind}-attn-common" for kind in ("paper", "empirical", "true")),
        *(f"{rule}-attn-mlp-common" for rule in ("task-arithmetic", "ties", "dare", "slerp")),
        *(f"{rule}-attn-mlp-common" for rule in ("regmean", "regmean-plus", "tsv-m", "iso-c")),
        *("aligned-attn-mlp", "attention-off", "norm-identity"),
        *("attention-other", "attention-random"),
    ],
)
def test_other_merges_and_changes_touch_what_they_name(
    smoke: World, evaluated: list[dict[str, torch.Tensor]], method: str
) -> None:
    metrics, ctx = smoke.run(method)
    (found,) = evaluated
    variant = "common" if method.endswith("common") else "different"
    own = state(ctx, "hopper", variant)
    moved = {name for name in own if not torch.equal(own[name], found[name])}
    if method == "attention-off":
        assert not moved
    elif method == "norm-identity":
        _are_identities_in_the_blocks_alone(own, found)
    else:
        groups = [f".{group}." for group in ctx.settings(Merge).groups or ()]
        assert moved
        assert all(any(g in name for g in groups) for name in moved)
    assert set(metrics) <= set(ctx.task.reports)
    if method.startswith("fisher"):
        assert len(ctx.finished_series()["information-mlp"].y) == 2


def test_regmean_plus_is_regmean_where_no_merged_layer_comes_before(
    smoke: World, evaluated: list[dict[str, torch.Tensor]]
) -> None:
    for name in ("regmean-attn-mlp-common", "regmean-plus-attn-mlp-common"):
        smoke.run(name)
    plain, plus = evaluated
    equal = {name for name in plain if torch.allclose(plain[name], plus[name], atol=1e-6)}
    assert {name for name in plain if name.startswith("blocks.0.")} <= equal
    assert any(name.startswith("blocks.1.") for name in plain.keys() - equal)


def _are_identities_in_the_blocks_alone(
    own: dict[str, torch.Tensor], found: dict[str, torch.Tensor]
) -> None:
    """Weights of 1 and biases of 0 in `ln_1` and `ln_2` of every block, the rest as it was.

    The released filter takes every norm with `ln` in its name, the final one and that of the
    embeddings too: the declared deviation.
    """
    of_blocks = {f"blocks.{n}.ln_{k}.{kind}" for n in (0, 1) for k in (1, 2)
                 for kind in ("weight", "bias")}  # fmt: skip
    assert of_blocks <= own.keys()
    for name, value in found.items():
        wanted = own[name]
        if name in of_blocks:
            wanted = torch.full_like(value, float(name.endswith("weight")))
        assert torch.equal(value, wanted), name
    released = {name for name in own if "ln_" in name or "embed_norm" in name}
    assert {name.rpartition(".")[0] for name in released - of_blocks} == {"ln_f", "embed_norm"}
    assert any("`norm-identity`" in line for line in registry.load("merging").deviations)


def test_switched_off_attention_is_switched_off(
    smoke: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = []
    original = methods.returns

    def keep(ctx: Context, policy: DecisionTransformer, *rest: Any) -> list[float]:
        off.extend(block.attn.off for block in policy.blocks)  # type: ignore[union-attr]
        return original(ctx, policy, *rest)

    monkeypatch.setattr(methods, "returns", keep)
    smoke.run("attention-off")
    assert off == [True, True]


def test_the_recommended_recipe_has_both_pulls_and_no_text() -> None:
    """The released README's: --gpt_kmeans 1000 --gpt_kmeans_const 0.1 --init_reg 1e-4."""
    suite = registry.load("merging")
    (made,) = (a for a in suite.artifacts if a.name == "policy-hopper-recommended")
    assert made.params["init"] == "pretrained"
    assert made.params["extras"] == ["start", "early-centres"]
    for scale in suite.scales:
        found = {m.name for m, _ in suite.pairs(scale) if "recommended" in m.name}
        assert bool(found) == (scale.name in ("gpu", "paper"))
        settings: Any = scale.settings
        assert (settings.centres_strength, settings.start_strength) == (0.1, 1e-4)
    assert {"individual-recommended", "average-attn-recommended", "average-mlp-recommended",
            "average-attn-mlp-recommended"} == found  # fmt: skip


def test_the_recommended_loss_is_the_released_formula(smoke: World) -> None:
    """Squared error - 0.1 sigmoid((5000 - step) / 500 - 5) mean max cos + 1e-4 sum ||p - p_0||,

    with the times of the released 100,000 updates as shares of the training.
    """
    smoke.context("average-attn-pretrained")
    trial, nodes = smoke.trial("average-attn-pretrained", "hopper")
    node = next(n for n in nodes.values() if n.artifact.name == "policy-hopper-pretrained")
    ctx = Context(trial, smoke.store, Sources(None, smoke.store.cache), node=node)
    env = artifacts.world(ctx, "hopper")
    policy = artifacts.fresh(ctx, env, "pretrained", "standard").eval()
    pulls = [artifacts._term(ctx, extra, env, policy) for extra in ("start", "early-centres")]
    trajectories = artifacts.read_data(ctx, env)
    windows = artifacts.windows(ctx, trajectories, statistics(trajectories), policy.shape)
    batch = windows.at(torch.arange(7))
    start = {k: v.double() for k, v in policy.state_dict().items()}
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    state = policy.state_dict()
    norms = sum(float((state[n].double() - start[n]).norm()) for n in state if "blocks." in n)
    embeddings = language_model(ctx)["embed_token.weight"]
    centres = language.centres(
        embeddings, 16, ctx.torch_generator("batch", "early-centres", "hopper")
    )
    tokens = policy.embed(batch.states_BKS, batch.actions_BKA, batch.returns_to_go_BK1)
    cosines = [
        max(torch.cosine_similarity(x, c, dim=0).item() for c in centres)
        for x in tokens[batch.mask_BK].flatten(0, 1)
    ]
    for update in (0, 1, 2, 20):
        step = update / 30 * 100_000
        fading = 1 / (1 + math.exp(-((5000 - step) / 500 - 5)))
        wanted = 1e-4 * norms - 0.1 * fading * sum(cosines) / len(cosines)
        found = sum(pull.loss(update, {"hopper": batch}).item() for pull in pulls)
        assert found == pytest.approx(wanted, rel=1e-4)


def language_model(ctx: Context) -> dict[str, torch.Tensor]:
    return load_file(ctx.artifact("language-model") / "model.safetensors")


def test_bodies_start_as_their_names_say(smoke: World) -> None:
    ctx = smoke.context("average-attn-pretrained")
    envs = [environment(name) for name in OTHERS]

    def bodies(init: str) -> list[dict[str, torch.Tensor]]:
        return [artifacts.fresh(ctx, env, init, "standard").state_dict() for env in envs]

    key = "blocks.0.attn.qkv.weight"
    different, common = bodies("different"), bodies("common")
    assert len({float(s[key].sum()) for s in different}) == 3
    assert len({float(s[key].sum()) for s in common}) == 1
    assert not torch.equal(bodies("control")[0][key], common[0][key])
    for a, b in zip(different, common, strict=True):  # the layers of the environment are the same
        assert torch.equal(a["embed_state.weight"], b["embed_state.weight"])
    with pytest.raises(SpecError, match="'warm'"):
        artifacts.fresh(ctx, envs[0], "warm", "standard")


def test_a_pretrained_body_is_the_language_models(smoke: World) -> None:
    trial, nodes = smoke.trial("average-attn-pretrained", "hopper")
    smoke.context("average-attn-pretrained")
    node = next(n for n in nodes.values() if n.artifact.name == "policy-hopper-pretrained")
    ctx = Context(trial, smoke.store, Sources(None, smoke.store.cache), node=node)
    body = load_file(ctx.artifact("language-model") / "model.safetensors")
    found = artifacts.fresh(ctx, environment("hopper"), "pretrained", "standard").state_dict()
    assert torch.equal(found["blocks.1.mlp.up.weight"], body["blocks.1.mlp.up.weight"])
    assert torch.equal(found["embed_time.weight"][33], body["embed_position.weight"][1])


def test_the_multi_task_pipeline(smoke: World, evaluated: list[dict[str, torch.Tensor]]) -> None:
    metrics, ctx = smoke.run("multitask-fisher", "halfcheetah")
    assert set(metrics) <= set(ctx.task.reports)
    (found,) = evaluated
    own = load_file(ctx.artifact("finetuned-halfcheetah") / "model.safetensors")
    for name, value in found.items():
        assert torch.equal(value, own[name]) != name.startswith("blocks."), name

    _, ctx = smoke.run("multitask", "hopper")
    whole = {
        env: load_file(ctx.artifact("multitask") / env / "model.safetensors") for env in OTHERS
    }
    for name in ("blocks.0.mlp.up.weight", "embed_time.weight", "ln_f.weight"):
        assert torch.equal(whole["hopper"][name], whole["walker2d"][name])
    # What was frozen while it was trained further, and what was not.
    assert torch.equal(own["embed_time.weight"], whole["halfcheetah"]["embed_time.weight"])
    assert torch.equal(own["ln_f.weight"], whole["halfcheetah"]["ln_f.weight"])
    assert not torch.equal(own["embed_state.weight"], whole["halfcheetah"]["embed_state.weight"])


def test_the_forgetful_one_never_trains_the_layers_of_two_environments(smoke: World) -> None:
    _, ctx = smoke.run("multitask-forgetful", "hopper")
    for env in OTHERS:
        found = load_file(ctx.artifact("multitask-forgetful") / env / "model.safetensors")
        start = artifacts.fresh(ctx, environment(env), "common", "multi").state_dict()
        for name in ("embed_state.weight", "predict_action.weight", "embed_norm.weight"):
            assert torch.equal(found[name], start[name]) == (env != "walker2d"), (env, name)
        assert not torch.equal(found["blocks.0.mlp.up.weight"], start["blocks.0.mlp.up.weight"])


def test_equal_seeds_give_equal_numbers(smoke: World) -> None:
    assert smoke.run("mff")[0] == smoke.run("mff")[0]
