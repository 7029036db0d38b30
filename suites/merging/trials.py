"""What trials do: individual policies, merges, paths between two, backbones frozen after a merge.

Every function evaluates on the task's environment with the same episodes; the first policy of a
merge is that environment's own and supplies everything outside the merged groups.
"""

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import SpecError, unknown
from harness.run import Context
from suites.merging.artifacts import (
    TENTHS,
    evenly,
    fresh,
    held_out_loss,
    read_curve,
    read_data,
    returns,
    watching,
    windows,
    world,
    worlds,
)
from suites.merging.merge import alignment, rules, spectral, statistics
from suites.merging.policy import files, training
from suites.merging.policy.ensemble import Ensemble
from suites.merging.policy.groups import matches, select
from suites.merging.policy.model import Attention, DecisionTransformer
from suites.merging.policy.training import HELD_OUT
from suites.merging.robots.environments import ENVIRONMENTS, Environment, make, normalised
from suites.merging.robots.trajectories import Batch, Statistics
from suites.merging.settings import Merge, MergingSettings, Robot, Rules

State = dict[str, Tensor]
Curve = Sequence[tuple[int, dict[str, list[float]]]]

FROZEN = ("attn", "mlp")
"""Groups that merge-freeze-finetune merges and freezes (released code)."""
LEAST = 1.0
"""Points below which an individual policy's score is nothing to take a percentage of."""


def individual(ctx: Context) -> dict[str, float]:
    """A policy as it was trained: its last evaluation, and its best one."""
    _note_losses(ctx, _own_curve(ctx))
    return _measured(ctx, _own_curve(ctx))


def merged(ctx: Context) -> dict[str, float]:
    """Own policy with the parameters of some groups merged with the other environments'."""
    policies = _policies(ctx)
    policy, stats = policies[0]
    states: list[State] = [_copy(p) for p, _ in policies]
    keys = select(states[0], _groups(ctx))
    policy.load_state_dict(_rule(ctx)(ctx, policies, states, keys))
    return _evaluated(ctx, policy, stats)


def ensemble(ctx: Context) -> dict[str, float]:
    """Own policy with some groups of every environment's in turn; their actions are averaged."""
    policies = _policies(ctx)
    stats = policies[0][1]
    own = _copy(policies[0][0])
    keys = select(own, _groups(ctx))
    members = []
    for other, _ in policies:
        member = copy.deepcopy(policies[0][0])
        member.load_state_dict(own | {key: other.state_dict()[key] for key in keys})
        members.append(member)
    return _evaluated(ctx, Ensemble(members), stats)


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
    played = [0, *evenly(recipe, settings.frozen_evaluations)]
    play = functools.partial(returns, ctx, policy, env, stats)
    policy.to(ctx.device)
    curve = training.fit(
        ctx,
        {env.name: policy},
        {env.name: windows(ctx, read_data(ctx, env), stats, policy.shape)},
        recipe,
        settings.optimizer,
        frozen=FROZEN,
        evaluate=watching(play, ctx, policy, env, stats, played),
        evaluate_at=sorted({*played, *evenly(recipe, TENTHS)}),
    )
    _note_losses(ctx, curve)
    metrics = _compared(ctx, _measured(ctx, curve))
    scores = [normalised(env, _mean(found[env.name])) for _, found in curve if env.name in found]
    ctx.series("recovery", played, scores, "updates")
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


def _task_arithmetic(
    ctx: Context, policies: Policies, states: list[State], keys: list[str]
) -> State:
    base = _base(ctx)
    return _scaled(
        ctx, policies, states, keys, lambda s: rules.task_arithmetic(states, keys, base, s)
    )


def _ties(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    base, density = _base(ctx), _coefficients(ctx).ties_density

    def merge(scale: float) -> State:
        return rules.ties(states, keys, base, density=density, scale=scale)

    return _scaled(ctx, policies, states, keys, merge)


def _dare(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    base, drop = _base(ctx), _coefficients(ctx).dare_drop

    def merge(scale: float) -> State:
        generator = ctx.torch_generator("merge")
        return rules.dare(states, keys, base, drop=drop, scale=scale, generator=generator)

    return _scaled(ctx, policies, states, keys, merge)


def _iso_c(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    base = _base(ctx)
    return _scaled(ctx, policies, states, keys, lambda s: spectral.iso_c(states, keys, base, s))


def _tsv_m(ctx: Context, policies: Policies, states: list[State], keys: list[str]) -> State:
    base = _base(ctx)
    return _scaled(ctx, policies, states, keys, lambda s: spectral.tsv_m(states, keys, base, s))


def _scaled(
    ctx: Context,
    policies: Policies,
    states: list[State],
    keys: list[str],
    merge: Callable[[float], State],
) -> State:
    """The merge whose scale gives the least loss on held-out episodes; no return is looked at.

    The mean over environments of the loss of each one's policy with the merged groups, as a
    multiple of its own loss: no environment outweighs the others. Losses are kept as `scales`.
    """
    scales = list(_coefficients(ctx).scales)
    envs = _order(ctx)

    def losses(groups: State) -> list[float]:
        found = []
        for env, (policy, stats), state in zip(envs, policies, states, strict=True):
            policy.load_state_dict(state | groups)
            found.append(held_out_loss(ctx, policy, env, stats))
        return found

    own = losses({})
    merges = [merge(scale) for scale in scales]
    ratios = []
    for merged in merges:
        found = losses({key: merged[key] for key in keys})
        ratios.append(_mean([a / b for a, b in zip(found, own, strict=True)]))
    ctx.series("scales", scales, ratios, "scale of the merged task vector")
    best = min(range(len(scales)), key=ratios.__getitem__)
    return merges[best]


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
    """Where all policies of the merge began.

    Raises:
        SpecError: the method's line does not say.
    """
    start = ctx.settings(Merge).start
    if start is None:
        raise SpecError(f"{ctx.subject.name}: a rule about changes needs `start`")
    return fresh(ctx, _own_environment(ctx), start, "standard").to(ctx.device).state_dict()


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


def _note_losses(ctx: Context, curve: Curve) -> None:
    """Keeps the losses on held-out episodes along a training, as multiples of the last one."""
    points = [(done, found[HELD_OUT][0]) for done, found in curve if found.get(HELD_OUT)]
    if points:
        updates, losses = zip(*points, strict=True)
        relative = [loss / losses[-1] for loss in losses]
        ctx.series(HELD_OUT, list(updates), relative, "updates")


def _evaluated(
    ctx: Context, policy: DecisionTransformer | Ensemble, stats: Statistics
) -> dict[str, float]:
    env = _own_environment(ctx)
    metrics = _measured(ctx, [(0, {env.name: returns(ctx, policy.eval(), env, stats)})])
    del metrics["score-best"]  # nothing was trained: there is nothing to choose from
    return _compared(ctx, metrics)


def _compared(ctx: Context, metrics: dict[str, float]) -> dict[str, float]:
    """The metrics with what is left of the individual policy's score: in points and in percent."""
    own = _own_score(ctx)
    compared = metrics | {"retained": metrics["score"] - own}
    if own >= LEAST:
        compared["kept"] = 100 * metrics["score"] / own
    return compared


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
    lines = [by_name[env.name] for _, by_name in curve if env.name in by_name]
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
