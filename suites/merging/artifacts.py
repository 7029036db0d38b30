"""What trials share: datasets, the language model, trained policies, multi-task policies.

A policy's folder holds `model.safetensors` and `config.json` as `model.save` writes them, and
`curve.json`: returns of evaluation episodes by environment, with the number of updates.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from harness.errors import SpecError
from harness.run import Context
from harness.store import file_digest, write_atomic
from suites.merging import experts, language, model, training, trajectories
from suites.merging.environments import Environment, environment, note_robots
from suites.merging.evaluation import evaluate
from suites.merging.model import DecisionTransformer, Shape
from suites.merging.trajectories import Statistics, Trajectories, Windows

TRAJECTORIES = "trajectories.safetensors"
BODY = ("blocks.", "ln_f.", "embed_time.")
"""What of a policy does not depend on the environment's dimensions."""


def make_data(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: a dataset of one environment, rolled out or read, in `trajectories.safetensors`.

    `source` says whence: `shipped` and `folder` roll out policies, `d4rl` reads HDF5 files of
    version 2, `minari` the local store of that library.
    """
    source = ctx.param("source")
    if source in ("shipped", "folder"):
        return experts.make_dataset(ctx)
    name, quality = ctx.param("environment"), ctx.param("quality")
    facts: dict[str, JsonValue] = {"source": source, "environment": name, "quality": quality}
    if source == "d4rl":
        file = f"{name}_{quality.replace('-', '_')}-v2.hdf5"
        path = ctx.dataset_file("d4rl", f"mujoco/d4rl/{file}")
        read = trajectories.read_hdf5(path)
        facts["sha256"] = file_digest(path)
    elif source == "minari":
        read = trajectories.read_minari(f"mujoco/{name}/{quality}-v0")
        facts["sha256"] = read.digest
        ctx.contents[f"minari:mujoco/{name}/{quality}-v0"] = f"sha256:{read.digest}"
    else:
        raise SpecError(f"source of data {source!r}; it may be shipped, folder, d4rl or minari")
    facts |= {"episodes": read.count, "steps": len(read.rewards_N)}
    facts["return_mean"] = float(read.returns_T.mean())
    facts["return_sd"] = float(read.returns_T.std())
    read.save(ctx.out / TRAJECTORIES, facts)
    return facts


def make_language_model(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: ChibiT's substitute, a byte-level model of the policies' body."""
    generator = ctx.torch_generator("init", "language")
    language.note_text(ctx)
    network = language.LanguageModel(_shape(ctx, 1, 1), int(ctx.param("positions")), generator)
    late = language.fit(ctx, network.to(ctx.device), _recipe(ctx, "language"))
    tensors = {k: v.cpu().contiguous() for k, v in network.state_dict().items()}
    write_atomic(ctx.out / "model.safetensors", to_bytes(tensors))
    return {"nats_per_byte": late, "bytes": len(language.text())}


def make_policy(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: a policy of one environment, trained on its data.

    Parameters: `environment`; `init`: `different`, `common` or `pretrained`; `extras`: what the
    loss has besides, of `start`, `centres` and `text`; `size`; `watched`: whether it is evaluated
    along the way.
    """
    env = world(ctx, ctx.param("environment"))
    data = read_data(ctx, env)
    stats = trajectories.statistics(data)
    policy = fresh(ctx, env, ctx.param("init"), ctx.param("size")).to(ctx.device)
    recipe = _recipe(ctx, "policy")
    if "text" in ctx.param("extras"):
        language.note_text(ctx)
    curve = training.fit(
        ctx,
        {env.name: policy},
        {env.name: windows(ctx, data, stats, policy.shape)},
        recipe,
        terms=[_term(ctx, extra, env, policy, recipe) for extra in ctx.param("extras")],
        evaluate=lambda: {env.name: returns(ctx, policy, env, stats)},
        evaluate_at=_points(ctx, recipe) if ctx.param("watched") else [recipe.updates],
    )
    model.save(policy, stats, ctx.out)
    return _keep_curve(ctx, curve)


def make_multitask(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: one body for all environments, input and output layers of each, a folder each.

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
    if ctx.param("forgetful"):
        for policy in list(policies.values())[:-1]:
            for name, parameter in policy.named_parameters():
                parameter.requires_grad_(name.startswith(BODY))
    recipe = _recipe(ctx, "multitask")
    curve = training.fit(
        ctx,
        policies,
        {n: windows(ctx, data[n], stats[n], policies[n].shape) for n in policies},
        recipe,
        evaluate=lambda: {e.name: returns(ctx, policies[e.name], e, stats[e.name]) for e in envs},
        evaluate_at=[recipe.updates],
    )
    for name, policy in policies.items():
        model.save(policy, stats[name], ctx.out / name)
    return _keep_curve(ctx, curve)


def make_finetuned(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: the multi-task policy trained further on one environment's better data.

    Final norm and time embedding stay frozen, the blocks are held near where they were, states
    are still normalised as they were (released code).
    """
    env = world(ctx, ctx.param("environment"))
    policy, stats = model.load(ctx.artifact("multitask") / env.name)
    policy.to(ctx.device)
    recipe = dataclasses.replace(_recipe(ctx, "finetuned"), body_decay=0.0)
    curve = training.fit(
        ctx,
        {env.name: policy},
        {env.name: windows(ctx, read_data(ctx, env), stats, policy.shape)},
        recipe,
        frozen=("ln_f.*", "embed_time.*"),
        terms=[training.toward_start(policy, float(ctx.param("start-strength")))],
        evaluate=lambda: {env.name: returns(ctx, policy, env, stats)},
        evaluate_at=[recipe.updates],
    )
    model.save(policy, stats, ctx.out)
    return _keep_curve(ctx, curve)


# -- what methods use too --------------------------------------------------------------------------


def world(ctx: Context, name: str) -> Environment:
    """The environment in the scale's version, with the scale's number of steps."""
    env = environment(name, ctx.param("version"))
    note_robots(ctx)
    return dataclasses.replace(env, max_steps=int(ctx.param("max-steps")))


def worlds(ctx: Context, template: str) -> list[Environment]:
    """The environments whose artifact of that name is needed, e.g. `policy-{}-common`."""
    names = (str(task.params["environment"]) for task in ctx.suite.tasks)
    return [world(ctx, name) for name in names if template.format(name) in ctx.subject.needs]


def read_data(ctx: Context, env: Environment, suffix: str = "") -> Trajectories:
    """The dataset of an environment."""
    return trajectories.load(ctx.artifact(f"data-{env.name}{suffix}") / TRAJECTORIES)


def windows(ctx: Context, data: Trajectories, stats: Statistics, shape: Shape) -> Windows:
    """Training windows of a dataset, on the trial's device."""
    return Windows(data, stats, shape.context, ctx.device, shape.max_steps)


def fresh(ctx: Context, env: Environment, init: str, size: str) -> DecisionTransformer:
    """An untrained policy: its environment's own input and output layers, and a body.

    `different` draws a body for every environment, `common` one for all of them, `pretrained` takes
    the language model's, `control` draws one that nothing else has.
    """
    shape = _shape(ctx, env.state_dim, env.action_dim, size)
    policy = DecisionTransformer(shape, ctx.torch_generator("init", env.name))
    if init in ("common", "control"):
        other = DecisionTransformer(shape, ctx.torch_generator("init", init))
        body = {k: v for k, v in other.state_dict().items() if k.startswith(BODY)}
        policy.load_state_dict(policy.state_dict() | body)
    elif init == "pretrained":
        language.start_from(policy, _language(ctx))
    elif init != "different":
        raise SpecError(f"init {init!r}; it may be different, common, pretrained or control")
    return policy


def returns(
    ctx: Context, policy: DecisionTransformer, env: Environment, stats: Statistics
) -> list[float]:
    """Returns of the scale's number of evaluation episodes; their seeds are the trial's alone."""
    seeds = [ctx.stream("eval", env.name, n) % 2**31 for n in range(int(ctx.param("episodes")))]
    found = evaluate(
        policy, env, stats, seeds=seeds, context=policy.shape.context, device=ctx.device
    )
    return [float(value) for value in found.returns_E]


def read_curve(folder: Path) -> list[tuple[int, dict[str, list[float]]]]:
    """The evaluations that an artifact kept: number of updates, returns by environment."""
    return [
        (update, by_name) for update, by_name in json.loads((folder / "curve.json").read_text())
    ]


def finetuning(ctx: Context) -> tuple[training.Recipe, Sequence[int]]:
    """How the rest is trained after a body was frozen, and when it is evaluated."""
    recipe = _recipe(ctx, "frozen")
    return recipe, [0, *_points(ctx, recipe, "frozen-evaluations")]


def _shape(ctx: Context, states: int, actions: int, size: str = "standard") -> Shape:
    numbers: Mapping[str, Any] = ctx.param("sizes")[size]
    return Shape(
        states,
        actions,
        width=numbers["width"],
        layers=numbers["layers"],
        heads=numbers["heads"],
        context=ctx.param("context"),
        dropout=ctx.param("dropout"),
        activation=ctx.param("activation"),
    )


def _recipe(ctx: Context, stage: str) -> training.Recipe:
    return training.Recipe(**ctx.param("recipes")[stage])


def _points(ctx: Context, recipe: training.Recipe, count_of: str = "evaluations") -> list[int]:
    """Evenly spaced numbers of updates, the last one included."""
    count = int(ctx.param(count_of))
    return [recipe.updates * (n + 1) // count for n in range(count)]


def _language(ctx: Context) -> dict[str, torch.Tensor]:
    return load_file(ctx.artifact("language-model") / "model.safetensors")


def _term(
    ctx: Context,
    extra: str,
    env: Environment,
    policy: DecisionTransformer,
    recipe: training.Recipe,
) -> training.Term:
    if extra == "start":
        return training.toward_start(policy, float(ctx.param("start-strength")))
    generator = ctx.torch_generator("batch", extra, env.name)
    if extra == "centres":
        embeddings_VD = _language(ctx)["embed_token.weight"]
        centres_CD = language.centres(embeddings_VD, int(ctx.param("centres")), generator)
        strength = float(ctx.param("centres-strength"))
        return training.toward_centres(
            {env.name: policy}, centres_CD.to(ctx.device), strength, recipe.updates
        )
    if extra == "text":
        return language.co_training(
            policy,
            _language(ctx),
            batch=int(ctx.param("text-batch")),
            weight=1.0,
            generator=generator,
        )
    raise SpecError(f"extra term {extra!r}; it may be start, centres or text")


def _keep_curve(
    ctx: Context, curve: Sequence[tuple[int, dict[str, list[float]]]]
) -> dict[str, JsonValue]:
    write_atomic(ctx.out / "curve.json", json.dumps(curve).encode())
    last = {name: sum(line) / len(line) for name, line in curve[-1][1].items()}
    return {"returns": dict(last), "counts": dict(ctx.counts)}
