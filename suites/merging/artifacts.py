"""What trials share: the language models, trained policies, multi-task policies.

A policy's folder holds `model.safetensors` and `config.json` as `files.save` writes them, and
`curve.json`: returns of evaluation episodes by environment, with the number of updates.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import JsonValue
from safetensors.torch import save as to_bytes

from harness.errors import MethodError, SpecError, unknown
from harness.run import Context
from harness.store import write_atomic
from harness.training import read_tensors
from suites.merging.policy import files, language, training
from suites.merging.policy.ensemble import Ensemble
from suites.merging.policy.evaluation import evaluate
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots import trajectories
from suites.merging.robots.dataset import TRAJECTORIES
from suites.merging.robots.environments import (
    ENVIRONMENTS,
    Environment,
    environment,
    note_robots,
)
from suites.merging.robots.trajectories import Statistics, Trajectories, Windows
from suites.merging.settings import (
    Chosen,
    Extra,
    Finetuned,
    MergingSettings,
    Multitask,
    OwnRobot,
    PolicyOf,
    Robot,
    Training,
)

BACKBONE = ("blocks.", "ln_f.", "embed_time.")
"""What of a policy does not depend on the environment's dimensions."""
TENTHS = 10
"""Parts of a training after each of which the loss on held-out episodes is measured."""
FADES = {"centres": 0.15, "early-centres": 0.05}
"""Share of the training after which each k-means term has gone; the released code has 15,000 of
100,000 updates where it trains on text too, and 5,000 where it does not."""


def make_language_model(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: ChibiT's substitute, a byte-level model with the policies' backbone."""
    settings = ctx.settings(MergingSettings)
    generator = ctx.torch_generator("init", "language")
    text_N = language.read(ctx, settings.text)
    network = language.LanguageModel(_shape(ctx, 1, 1), settings.positions, generator)
    recipe = settings.trainings.language
    late = language.fit(ctx, network.to(ctx.device), text_N, recipe, settings.optimizer)
    tensors = {k: v.cpu().contiguous() for k, v in network.state_dict().items()}
    write_atomic(ctx.out / "model.safetensors", to_bytes(tensors))
    return {"nats_per_byte": late, "bytes": len(text_N)}


def make_policy(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: a policy of one environment, trained on its data; see `PolicyOf`."""
    wanted, settings = ctx.settings(PolicyOf), ctx.settings(MergingSettings)
    env = world(ctx, wanted.environment)
    data = read_data(ctx, env)
    stats = normalisation(env, data, wanted)
    policy = fresh(ctx, env, wanted.init, wanted.size).to(ctx.device)
    recipe = settings.trainings.policy
    played = evenly(recipe, settings.evaluations) if wanted.watched else [recipe.updates]
    play = functools.partial(returns, ctx, policy, env, stats)
    curve = training.fit(
        ctx,
        {env.name: policy},
        {env.name: windows(ctx, data, stats, policy.shape)},
        recipe,
        settings.optimizer,
        terms=[_term(ctx, extra, env, policy) for extra in wanted.extras],
        evaluate=watching(play, ctx, policy, env, stats, played),
        evaluate_at=sorted({*played, *evenly(recipe, TENTHS)}),
    )
    files.save(policy, stats, ctx.out)
    return keep_curve(ctx, curve)


def make_multitask(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: one backbone for all environments, input and output layers of each, a folder each.

    With `forgetful`, only the last environment's input and output layers are trained, as happens
    in the released code, whose optimiser never sees those of the others.
    """
    envs = worlds(ctx, "data-{}-base")
    data = {env.name: read_data(ctx, env, "-base") for env in envs}
    stats = {name: trajectories.statistics(d) for name, d in data.items()}
    policies = {env.name: fresh(ctx, env, "common", "multi") for env in envs}
    first, *others = policies.values()
    for policy in others:
        policy.blocks, policy.ln_f, policy.embed_time = first.blocks, first.ln_f, first.embed_time
    for policy in policies.values():
        policy.to(ctx.device)
    if ctx.settings(Multitask).forgetful:
        for policy in list(policies.values())[:-1]:
            for name, parameter in policy.named_parameters():
                parameter.requires_grad_(name.startswith(BACKBONE))
    settings = ctx.settings(MergingSettings)
    recipe = settings.trainings.multitask
    curve = training.fit(
        ctx,
        policies,
        {n: windows(ctx, data[n], stats[n], policies[n].shape) for n in policies},
        recipe,
        settings.optimizer,
        evaluate=lambda _: {e.name: returns(ctx, policies[e.name], e, stats[e.name]) for e in envs},
        evaluate_at=[recipe.updates],
    )
    for name, policy in policies.items():
        files.save(policy, stats[name], ctx.out / name)
    return keep_curve(ctx, curve)


def make_finetuned(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: the multi-task policy trained further on one environment's data, at one rate.

    Final norm and time embedding stay frozen, the blocks are held near where they were, states
    are still normalised as they were (released code).
    """
    settings, wanted = ctx.settings(MergingSettings), ctx.settings(Finetuned)
    env = world(ctx, wanted.environment)
    policy, stats = files.load(ctx.artifact("multitask") / env.name)
    policy.to(ctx.device)
    recipe = settings.trainings.finetuned.model_copy(update={"lr": wanted.lr})
    play = functools.partial(returns, ctx, policy, env, stats)
    curve = training.fit(
        ctx,
        {env.name: policy},
        {env.name: windows(ctx, read_data(ctx, env), stats, policy.shape)},
        recipe,
        settings.optimizer,
        frozen=("ln_f.*", "embed_time.*"),
        terms=[training.toward_start(policy, settings.start_strength)],
        evaluate=watching(play, ctx, policy, env, stats, [recipe.updates]),
        evaluate_at=evenly(recipe, TENTHS),
    )
    files.save(policy, stats, ctx.out)
    return keep_curve(ctx, curve)


def choose(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: of several policies of one environment that with the least held-out loss."""
    wanted = ctx.settings(Chosen)
    env = world(ctx, wanted.environment)
    losses: dict[str, JsonValue] = {}
    best, least = "", math.inf
    for name in wanted.candidates:
        policy, stats = files.load(ctx.artifact(name))
        losses[name] = loss = held_out_loss(ctx, policy.to(ctx.device), env, stats)
        if loss < least:
            best, least = name, loss
    if not best:
        raise MethodError(f"{ctx.subject.name}: no candidate has a finite loss: {losses}")
    files.save(*files.load(ctx.artifact(best)), ctx.out)
    kept = keep_curve(ctx, read_curve(ctx.artifact(best)))
    return kept | {"chosen": best, "held_out_losses": losses}


# -- what methods use too --------------------------------------------------------------------------


def world(ctx: Context, name: str) -> Environment:
    """The environment in the scale's version, with the scale's number of steps."""
    settings = ctx.settings(MergingSettings)
    if name not in ENVIRONMENTS:
        return _brought(ctx, name, settings.max_steps)
    note_robots(ctx)
    return dataclasses.replace(environment(name, settings.version), max_steps=settings.max_steps)


def _brought(ctx: Context, name: str, max_steps: int) -> Environment:
    """The environment of a plugin's task.

    Raises:
        SpecError: no task has one of that name.
    """
    for task in ctx.suite.tasks:
        if task.params.get("environment") == name and "gym" in task.params:
            own = OwnRobot.model_validate(task.params)
            sizes = own.state_dim, own.action_dim
            numbers = own.target_return, own.random_return, own.expert_return
            return Environment(name, own.gym, *sizes, *numbers, max_steps)
    raise SpecError(unknown("environment", name, ENVIRONMENTS))


def worlds(ctx: Context, template: str) -> list[Environment]:
    """The environments whose artifact of that name is needed, e.g. `policy-{}-common`."""
    names = dict.fromkeys(str(task.params["environment"]) for task in ctx.suite.tasks)
    return [world(ctx, name) for name in names if template.format(name) in ctx.subject.needs]


def read_data(ctx: Context, env: Environment, suffix: str = "") -> Trajectories:
    """The episodes of an environment's dataset that may be trained on."""
    return _data(ctx, env, suffix)[0]


def _data(ctx: Context, env: Environment, suffix: str = "") -> tuple[Trajectories, Trajectories]:
    whole = trajectories.load(ctx.artifact(f"data-{env.name}{suffix}") / TRAJECTORIES)
    return trajectories.split(whole, ctx.settings(MergingSettings).held_out)


def held_out_loss(
    ctx: Context, policy: DecisionTransformer, env: Environment, stats: Statistics
) -> float:
    """Mean squared error of the actions on episodes that nothing was trained on.

    The same windows for whatever policy of the environment, drawn from the stream `held-out`.
    """
    settings = ctx.settings(MergingSettings)
    source = windows(ctx, _data(ctx, env)[1], stats, policy.shape)
    generator = ctx.torch_generator("held-out", env.name)
    batches = (
        source.sample(settings.merge_batch, generator)
        for _ in range(settings.merge_batches.held_out)
    )
    return training.error(policy, batches)


def watching(
    play: Callable[[], list[float]],
    ctx: Context,
    policy: DecisionTransformer,
    env: Environment,
    stats: Statistics,
    played: Sequence[int],
) -> Callable[[int], training.Returns]:
    """What `training.fit` calls: the held-out loss, and returns after the updates in `played`."""

    def evaluate(done: int) -> training.Returns:
        found = {training.HELD_OUT: [held_out_loss(ctx, policy, env, stats)]}
        return found | ({env.name: play()} if done in played else {})

    return evaluate


def normalisation(env: Environment, data: Trajectories, robot: Robot) -> Statistics:
    """What the states of a policy are normalised with, and what of them it is shown.

    Raises:
        SpecError: velocities are to be hidden, and nobody knows where they are.
    """
    if robot.hidden == "nothing":
        return trajectories.statistics(data)
    if env.positions is None or env.torso is None:
        raise SpecError(
            f"environment {env.name}: velocities cannot be hidden, since it does not say which "
            "components of a state they are; give `positions` and `torso`"
        )
    shown = env.positions + (env.torso if robot.hidden == "joint-velocities" else 0)
    return trajectories.statistics(data, shown=shown)


def windows(ctx: Context, data: Trajectories, stats: Statistics, shape: Shape) -> Windows:
    """Training windows of a dataset, on the trial's device."""
    return Windows(data, stats, shape.context, ctx.device)


def fresh(ctx: Context, env: Environment, init: str, size: str) -> DecisionTransformer:
    """An untrained policy: its environment's own input and output layers, and a backbone.

    `different` draws a backbone for every environment, `common` one for all of them, `pretrained`
    takes the language model's, `control` draws one that nothing else has.
    """
    shape = _shape(ctx, env.state_dim, env.action_dim, size)
    policy = FastDecisionTransformer(shape, ctx.torch_generator("init", env.name))
    if init in ("common", "control"):
        other = FastDecisionTransformer(shape, ctx.torch_generator("init", init))
        backbone = {k: v for k, v in other.state_dict().items() if k.startswith(BACKBONE)}
        policy.load_state_dict(policy.state_dict() | backbone)
    elif init == "pretrained":
        language.start_from(policy, _language(ctx))
    elif init != "different":
        raise SpecError(unknown("init", init, ("different", "common", "pretrained", "control")))
    return policy


def returns(
    ctx: Context, policy: DecisionTransformer | Ensemble, env: Environment, stats: Statistics
) -> list[float]:
    """Returns of the scale's number of evaluation episodes; their seeds are the trial's alone."""
    episodes = ctx.settings(MergingSettings).episodes
    seeds = [ctx.stream("eval", env.name, n) % 2**31 for n in range(episodes)]
    evaluation = evaluate(
        policy, env, stats, seeds=seeds, context=policy.shape.context, device=ctx.device
    )
    return [float(value) for value in evaluation.returns_E]


def read_curve(folder: Path) -> list[tuple[int, dict[str, list[float]]]]:
    """The evaluations that an artifact kept: number of updates, returns by environment."""
    return [
        (update, by_name) for update, by_name in json.loads((folder / "curve.json").read_text())
    ]


def keep_curve(
    ctx: Context, curve: Sequence[tuple[int, dict[str, list[float]]]]
) -> dict[str, JsonValue]:
    """Keeps the evaluations of a policy beside it; what its artifact says of itself."""
    write_atomic(ctx.out / "curve.json", json.dumps(curve).encode())
    last = {name: sum(line) / len(line) for name, line in curve[-1][1].items()}
    return {"returns": dict(last), "counts": dict(ctx.counts)}


def _shape(ctx: Context, states: int, actions: int, size: str = "standard") -> Shape:
    settings = ctx.settings(MergingSettings)
    return Shape(
        states,
        actions,
        **getattr(settings.sizes, size).model_dump(),
        context=settings.context,
        dropout=settings.dropout,
        activation=settings.activation,
    )


def evenly(recipe: Training, count: int) -> list[int]:
    """So many evenly spaced numbers of updates, the last one included."""
    return [recipe.updates * (n + 1) // count for n in range(count)]


def _language(ctx: Context) -> dict[str, torch.Tensor]:
    return read_tensors(ctx.artifact("language-model") / "model.safetensors")


def _term(
    ctx: Context,
    extra: Extra,
    env: Environment,
    policy: DecisionTransformer,
) -> training.Term:
    settings = ctx.settings(MergingSettings)
    if extra == "start":
        return training.toward_start(policy, settings.start_strength)
    generator = ctx.torch_generator("batch", extra, env.name)
    if extra in FADES:
        embeddings_VD = _language(ctx)["embed_token.weight"]
        centres_CD = language.centres(embeddings_VD, settings.centres, generator)
        return training.toward_centres(
            {env.name: policy},
            centres_CD.to(ctx.device),
            settings.centres_strength,
            settings.trainings.policy.updates,
            FADES[extra],
        )
    if extra == "text":
        return language.co_training(
            policy,
            _language(ctx),
            batch=settings.text_batch,
            weight=settings.text_weight,
            text_N=language.read(ctx, settings.text),
            generator=generator,
        )
    raise SpecError(unknown("extra term", extra, ("start", *FADES, "text")))
