"""What trials do: individual policies, merges, paths between two, backbones frozen after a merge.

Every function evaluates on the task's environment with the same episodes; the first policy of a
merge is that environment's own and supplies everything outside the merged groups.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import SpecError, unknown
from harness.run import Context
from suites.merging.artifacts import (
    evenly,
    fresh,
    read_curve,
    read_data,
    returns,
    windows,
    world,
    worlds,
)
from suites.merging.merge import alignment, rules, spectral, statistics
from suites.merging.policy import files, training
from suites.merging.policy.groups import matches, select
from suites.merging.policy.model import Attention, DecisionTransformer
from suites.merging.robots.environments import ENVIRONMENTS, Environment, make, normalised
from suites.merging.robots.trajectories import Batch, Statistics
from suites.merging.settings import Merge, MergingSettings, Robot, Rules

State = dict[str, Tensor]
Curve = Sequence[tuple[int, dict[str, list[float]]]]

FROZEN = ("attn", "mlp")
"""Groups that merge-freeze-finetune merges and freezes (released code)."""


def individual(ctx: Context) -> dict[str, float]:
    """A policy as it was trained: its last evaluation, and its best one."""
    return _measured(ctx, _own_curve(ctx))


def merged(ctx: Context) -> dict[str, float]:
    """Own policy with the parameters of some groups merged with the other environments'."""
    policies = _policies(ctx)
    policy, stats = policies[0]
    states: list[State] = [p.state_dict() for p, _ in policies]
    keys = select(states[0], _groups(ctx))
    policy.load_state_dict(_rule(ctx)(ctx, policies, states, keys))
    return _evaluated(ctx, policy, stats)


def path(ctx: Context) -> dict[str, float]:
    """Along the straight line to the next environment's policy; the metrics are those halfway."""
    (policy, stats), (other, _), *_ = _policies(ctx)
    start, end = _copy(policy), _copy(other)
    keys = select(start, _groups(ctx))
    points = list(ctx.settings(MergingSettings).points)
    scores, halfway = [], {}
    for p in points:
        policy.load_state_dict(rules.interpolate(start, end, keys, p))
        metrics = _evaluated(ctx, policy, stats)
        scores.append(metrics["score"])
        if p == 0.5:
            halfway = metrics
    ctx.series("path", points, scores, "share of the other policy")
    if not halfway:
        raise SpecError(f"points {points} of the path; 0.5 has to be one of them")
    return halfway


def changed(ctx: Context) -> dict[str, float]:
    """Own policy with something taken out or replaced: the ablations and the controls of merging.

    `change`: `attention-off`, `norm-identity`, or `random` or `other` for the groups' weights.
    """
    policies = _policies(ctx)
    policy, stats = policies[0]
    change = ctx.settings(Merge).change
    if change == "attention-off":
        for module in policy.modules():
            if isinstance(module, Attention):
                module.off = True
    elif change == "norm-identity":
        for module in policy.blocks.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
    else:
        _replace(policy, _donor(ctx, change, policies), _groups(ctx))
    return _evaluated(ctx, policy, stats)


def frozen(ctx: Context) -> dict[str, float]:
    """A backbone that is frozen while the rest is trained on the task's own data.

    `body`: `merged` (merge-freeze-finetune), or the controls `random` and `other`. The metrics are
    those after the last update; the curve is kept as `recovery`.
    """
    policies = _policies(ctx)
    policy, stats = policies[0]
    env = _own_environment(ctx)
    backbone, settings = ctx.settings(Merge).body, ctx.settings(MergingSettings)
    if backbone == "merged":
        states: list[State] = [p.state_dict() for p, _ in policies]
        policy.load_state_dict(rules.average(states, select(states[0], FROZEN)))
    else:
        _replace(policy, _donor(ctx, backbone, policies), FROZEN)
    recipe = settings.trainings.frozen
    policy.to(ctx.device)
    curve = training.fit(
        ctx,
        {env.name: policy},
        {env.name: windows(ctx, read_data(ctx, env), stats, policy.shape)},
        recipe,
        settings.optimizer,
        frozen=FROZEN,
        evaluate=lambda: {env.name: returns(ctx, policy, env, stats)},
        evaluate_at=[0, *evenly(recipe, settings.frozen_evaluations)],
    )
    metrics = _measured(ctx, curve)
    metrics["retained"] = metrics["score"] - _own_score(ctx)
    scores = [normalised(env, _mean(by_name[env.name])) for _, by_name in curve]
    ctx.series("recovery", [update for update, _ in curve], scores, "updates")
    return metrics


# -- rules of merging, by the names that methods use ---------------------------------------------

Policies = Sequence[tuple[DecisionTransformer, Statistics]]
Rule = Callable[[Context, Policies, list[State], list[str]], State]


def _average(_ctx: Context, _policies: Policies, states: list[State], keys: list[str]) -> State:
    return rules.average(states, keys)


def _aligned(_ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    """The average after hidden units were permuted to match the first policy's."""
    heads = policies[0][0].shape.heads
    matched = [dict(alignment.align(states[0], other, heads=heads)) for other in states[1:]]
    return rules.average([states[0], *matched], keys)


def _fisher(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    kind = ctx.settings(Merge).information
    if kind is None:
        raise SpecError(f"{ctx.subject.name}: rule fisher needs `information`")
    blocks = select(states[0], ["blocks"])
    information = [
        statistics.fisher(policy, _batches(ctx, env, policy, stats, kind), kind, blocks)
        for env, (policy, stats) in zip(_order(ctx), policies, strict=True)
    ]
    for group in ("attn", "mlp", "ln"):
        layers = range(policies[0][0].shape.layers)
        means = [_mean_information(information[0], group, layer) for layer in layers]
        ctx.series(f"information-{group}", list(layers), means, "layer")
    return rules.fisher(states, keys, information, floor=_coefficients(ctx).fisher_floor)


def _regmean(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    grams = [
        statistics.grams(policy, _batches(ctx, env, policy, stats, "grams"))
        for env, (policy, stats) in zip(_order(ctx), policies, strict=True)
    ]
    return rules.regmean(states, keys, grams)


def _task_arithmetic(ctx: Context, _p: Policies, states: list[State], keys: list[str]) -> State:
    return rules.task_arithmetic(states, keys, _base(ctx), _coefficients(ctx).task_scale)


def _ties(ctx: Context, _policies: Policies, states: list[State], keys: list[str]) -> State:
    chosen = _coefficients(ctx)
    return rules.ties(
        states, keys, _base(ctx), density=chosen.ties_density, scale=chosen.ties_scale
    )


def _dare(ctx: Context, _policies: Policies, states: list[State], keys: list[str]) -> State:
    chosen, generator = _coefficients(ctx), ctx.torch_generator("merge")
    return rules.dare(
        states,
        keys,
        _base(ctx),
        drop=chosen.dare_drop,
        scale=chosen.task_scale,
        generator=generator,
    )


def _iso_c(ctx: Context, _policies: Policies, states: list[State], keys: list[str]) -> State:
    return spectral.iso_c(states, keys, _base(ctx))


def _tsv_m(ctx: Context, _policies: Policies, states: list[State], keys: list[str]) -> State:
    return spectral.tsv_m(states, keys, _base(ctx))


def _regmean_plus(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    """RegMean++: layer by layer, inputs measured behind the layers that are merged already.

    Source: Nguyen et al., "RegMean++: Enhancing Effectiveness and Generalization of Regression
    Mean for Model Merging" (2025), section 4.
    """
    batches = [
        _batches(ctx, env, policy, stats, "grams")
        for env, (policy, stats) in zip(_order(ctx), policies, strict=True)
    ]
    merged = dict(states[0])
    for layer in range(policies[0][0].shape.layers):
        own = [key for key in keys if key.startswith(f"blocks.{layer}.")]
        grams = [
            statistics.grams(policy, given)
            for (policy, _), given in zip(policies, batches, strict=True)
        ]
        done = rules.regmean(states, own, grams)
        merged |= {key: done[key] for key in own}
        for policy, _ in policies:
            policy.load_state_dict(policy.state_dict() | {key: merged[key] for key in own})
    return merged


def _slerp(_ctx: Context, _policies: Policies, states: list[State], keys: list[str]) -> State:
    """Halfway to the next environment's policy: a great circle joins two."""
    return rules.slerp(states[0], states[1], keys, 0.5)


_RULES: dict[str, Rule] = {
    "average": _average,
    "aligned": _aligned,
    "fisher": _fisher,
    "regmean": _regmean,
    "regmean-plus": _regmean_plus,
    "iso-c": _iso_c,
    "tsv-m": _tsv_m,
    "task-arithmetic": _task_arithmetic,
    "ties": _ties,
    "dare": _dare,
    "slerp": _slerp,
}


# -- the pieces -----------------------------------------------------------------------------------


def _coefficients(ctx: Context) -> Rules:
    return ctx.settings(MergingSettings).rules


def _groups(ctx: Context) -> tuple[str, ...]:
    """The groups of parameters that the method is about.

    Raises:
        SpecError: its line names none.
    """
    groups = ctx.settings(Merge).groups
    if not groups:
        raise SpecError(f"{ctx.subject.name} names no groups of parameters; see `groups`")
    return groups


def _rule(ctx: Context) -> Rule:
    """The rule of the method.

    Raises:
        SpecError: there is none of that name.
    """
    rule = ctx.settings(Merge).rule
    if rule not in _RULES:
        raise SpecError(f"{ctx.subject.name}: {unknown('rule', rule, _RULES)}")
    return _RULES[rule]


def _own_environment(ctx: Context) -> Environment:
    return world(ctx, ctx.settings(Robot).environment)


def _order(ctx: Context) -> list[Environment]:
    """The environments whose policies are merged, the task's own first, the others in turn."""
    envs = worlds(ctx, ctx.settings(Merge).policies)
    first = [env.name for env in envs].index(ctx.settings(Robot).environment)
    return [*envs[first:], *envs[:first]]


def _policies(ctx: Context) -> list[tuple[DecisionTransformer, Statistics]]:
    """The trained policies of all environments, the task's own first."""
    folders = [ctx.artifact(ctx.settings(Merge).policies.format(env.name)) for env in _order(ctx)]
    loaded = [files.load(folder) for folder in folders]
    return [(policy.to(ctx.device), stats) for policy, stats in loaded]


def _donor(ctx: Context, what: str | None, policies: Policies) -> DecisionTransformer:
    if what == "other":
        return policies[1][0]
    if what == "random":
        return fresh(ctx, _own_environment(ctx), "control", "standard").to(ctx.device)
    raise SpecError(f"weights from {what!r}; they may be from other or random")


def _replace(
    policy: DecisionTransformer, donor: DecisionTransformer, groups: Sequence[str]
) -> None:
    theirs = {k: v for k, v in donor.state_dict().items() if matches(k, groups)}
    policy.load_state_dict(policy.state_dict() | theirs)


def _base(ctx: Context) -> State:
    """Where all policies of a common initialisation began."""
    return fresh(ctx, _own_environment(ctx), "common", "standard").state_dict()


def _batches(
    ctx: Context, env: Environment, policy: DecisionTransformer, stats: Statistics, use: str
) -> list[Batch]:
    source = windows(ctx, read_data(ctx, env), stats, policy.shape)
    generator = ctx.torch_generator("merge", env.name)
    settings = ctx.settings(MergingSettings)
    count = settings.merge_batches.of(use)
    return [source.sample(settings.merge_batch, generator) for _ in range(count)]


def _mean_information(information: State, group: str, layer: int) -> float:
    """Common logarithm of the mean over the group's parameters in one layer."""
    parts = [v.flatten() for k, v in information.items() if k.startswith(f"blocks.{layer}.")
             and matches(k, [group])]  # fmt: skip
    return math.log10(float(torch.cat(parts).mean()) + 1e-30)


def _copy(policy: DecisionTransformer) -> State:
    return {key: value.clone() for key, value in policy.state_dict().items()}


def _evaluated(ctx: Context, policy: DecisionTransformer, stats: Statistics) -> dict[str, float]:
    env = _own_environment(ctx)
    metrics = _measured(ctx, [(0, {env.name: returns(ctx, policy.eval(), env, stats)})])
    del metrics["score-best"]  # nothing was trained: there is nothing to choose from
    return metrics | {"retained": metrics["score"] - _own_score(ctx)}


def _own_curve(ctx: Context) -> list[tuple[int, dict[str, list[float]]]]:
    name = ctx.settings(Merge).policies.format(ctx.settings(Robot).environment)
    return read_curve(ctx.artifact(name))


def _own_score(ctx: Context) -> float:
    """The last score of the task's own policy as it was trained."""
    env = _own_environment(ctx)
    return normalised(env, _mean(_own_curve(ctx)[-1][1][env.name]))


def _measured(ctx: Context, curve: Curve) -> dict[str, float]:
    """Metrics of evaluations in the order they were made."""
    env = _own_environment(ctx)
    lines = [by_name[env.name] for _, by_name in curve]
    last = _mean(lines[-1])
    variance = _mean([(value - last) ** 2 for value in lines[-1]])
    return {
        "score": normalised(env, last),
        "return": last,
        "score-best": normalised(env, max(map(_mean, lines))),
        "episode-sd": math.sqrt(variance),
    }


def warm_up() -> None:
    """Imports the simulator and compiles the models' files once, before trials fork off."""
    for env in ENVIRONMENTS.values():
        make(env).close()


def _mean(values: Sequence[Any]) -> float:
    return float(sum(values)) / len(values)
