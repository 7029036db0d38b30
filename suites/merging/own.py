"""Policies and environments of one's own in the suite, for plugins: `policies`, `environment`.

A policy is a folder with `model.safetensors` and `config.json`, as `suites.merging.policy.files`
writes them: a Decision Transformer, its shape, and how its states are normalised.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from harness.errors import DataError, SpecError, brief, unknown
from harness.plugins import Plugin, keep
from harness.store import file_digest
from harness.suite import Artifact, Dataset, Method, Table, Task
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.settings import Merge, OwnRobot, PolicyOf, Robot

if TYPE_CHECKING:
    from harness.run import Context
    from suites.merging.robots.trajectories import Trajectories

Rule = Literal["average", "aligned", "slerp", "regmean"]
RULES: tuple[Rule, ...] = ("average", "aligned", "slerp", "regmean")
"""Rules that need no initialisation in common."""
FILES = ("model.safetensors", "config.json")
_ONE = (
    "The same trained policies for every seed: seeds are evaluations, not trainings, so that an "
    "interval over them says nothing about training again."
)


def policies(
    name: str,
    folders: Mapping[str, str | Path],
    *,
    rules: Sequence[Rule] = ("average",),
    groups: Sequence[Sequence[str]] = (("attn",), ("mlp",), ("attn", "mlp")),
    licence: str = "not stated",
    source: str = "a plugin's own",
    scales: Sequence[str] = ("*",),
) -> Plugin:
    """Methods that merge trained policies of one's own, and a table of them.

    Each environment's policy alone is `individual-<name>`; `<rule>-<groups>-<name>` is that policy
    with some groups of its parameters merged with the others'.

    Args:
        name: of the set of policies.
        folders: environment (hopper, halfcheetah, walker2d or ant) -> folder of its policy; at
            least two, whose transformers are of one size.
        rules: how to merge: average, aligned (hidden units matched first), slerp, regmean.
        groups: sets of groups of parameters to merge, of attn, mlp and ln.
        licence: of the policies.
        source: where they were published, in words.
        scales: names or globs of the scales at which the methods run.

    Raises:
        DataError: a file is missing, or policies do not belong together or to their environment.
        SpecError: an unknown environment or rule, or fewer than two policies.
    """
    for env in folders:
        if env not in ENVIRONMENTS:
            raise SpecError(f"policies {name}: {unknown('environment', env, ENVIRONMENTS)}")
    for rule in rules:
        if rule not in RULES:
            raise SpecError(f"policies {name}: {unknown('rule', rule, RULES)}")
    if len(folders) < 2:
        raise SpecError(f"policies {name}: {len(folders)} given; merging wants at least 2")
    places = {env: Path(folder).absolute() for env, folder in folders.items()}
    _belong_together(name, places)
    template = f"policy-{{}}-{name}"
    artifacts = tuple(
        Artifact(
            name=template.format(env),
            make="suites.merging.own:make_policy",
            params=Robot.model_validate({"environment": env}).plain(),
            datasets=(f"{name}-{env}",),
        )
        for env in places
    )

    def method(title: str, function: str, data: bool = False, **settings: Any) -> Method:
        return Method(
            name=f"{title}-{name}",
            run=f"suites.merging.trials:{function}",
            params=Merge(policies=template, **settings).plain(),
            needs=(*(a.name for a in artifacts), *(f"data-{env}" for env in places if data)),
            label=f"{title.replace('-', ' ')}: {name}",
            kind="baseline" if function == "individual" else "proposed",
            deviations=(_ONE,),
        )

    merged = [
        method(
            "-".join((rule, *group)), "merged", rule == "regmean", rule=rule, groups=tuple(group)
        )
        for rule in rules
        for group in groups
    ]
    methods = (method("individual", "individual"), *merged)
    return Plugin(
        suite="merging",
        methods=methods,
        artifacts=artifacts,
        datasets=tuple(
            Dataset(
                name=f"{name}-{env}",
                files={file: file_digest(folder / file) for file in FILES},
                folder=str(folder),
                licence=licence,
                source=source,
                sizes="one trained policy",
                splits="none",
            )
            for env, folder in places.items()
        ),
        tables=(
            Table(
                name=name, title=name, metric="score", methods=tuple(m.name for m in methods),
                tasks=tuple(places),
            ),
        ),
        scales=tuple(scales),
        pairs=tuple(f"*/{env}" for env in places),
    )  # fmt: skip


def make_policy(ctx: "Context") -> dict[str, JsonValue]:
    """Artifact: a policy that a plugin brings, read, evaluated once and kept.

    Raises:
        DataError: it cannot be read, or is not of its environment.
    """
    from suites.merging.artifacts import keep_curve, returns, world
    from suites.merging.policy import files

    env = world(ctx, ctx.settings(Robot).environment)
    policy, stats = files.load(ctx.dataset(ctx.datasets[0]))
    policy.to(ctx.device)
    curve = [(0, {env.name: returns(ctx, policy, env, stats)})]
    files.save(policy, stats, ctx.out)
    return keep_curve(ctx, curve)


def environment(
    gym: str,
    data: "str | Path | Trajectories",
    *,
    name: str | None = None,
    merge_with: Sequence[str] = ("hopper", "halfcheetah", "walker2d"),
    groups: Sequence[Sequence[str]] = (("attn",), ("mlp",), ("attn", "mlp")),
    target: float | None = None,
    random: float | None = None,
    expert: float | None = None,
    licence: str = "not stated",
    source: str = "a plugin's own",
    scales: Sequence[str] = ("*",),
) -> Plugin:
    """A gymnasium environment as a task, policies trained on its data, and merges of them.

    `individual-<name>` is the policy as it was trained; `average-<groups>-<name>` is that policy
    with some groups of its parameters averaged with those of other environments' policies.

    Args:
        gym: gymnasium's identifier, such as `my-env-v0`, or `module:my-env-v0` where importing a
            module registers it. States and actions are flat boxes, actions with finite bounds.
        data: episodes to learn from: an npz or HDF5 file with observations (N, S), actions (N, A),
            rewards, terminals and timeouts (N), as D4RL has them; `minari:<dataset>`, which is on
            this machine; or `suites.merging.robots.trajectories.Trajectories`.
        name: of the task; None: the identifier in lower case, without the module.
        merge_with: environments whose policies are merged with this one's, each trained on its own
            data: of the suite, or names of others that the plugin brings before this one.
        groups: sets of groups of parameters to merge, of attn, mlp and ln.
        target: return that a policy is asked for; None: the largest in the data.
        random: return that scores 0; None: the least in the data.
        expert: return that scores 100; None: the largest in the data.
        licence: of the data.
        source: where they were published, in words.
        scales: names or globs of the scales at which the task runs.

    Raises:
        DataError: the data cannot be read, or hold no whole episode.
        SpecError: nothing to merge with, or returns that leave no range for scores.
    """
    name = name or gym.rpartition(":")[2].lower()
    found = _read(data)
    low, high = float(found.returns_T.min()), float(found.returns_T.max())
    robot = OwnRobot(
        environment=name,
        gym=gym,
        state_dim=found.states_NS.shape[1],
        action_dim=found.actions_NA.shape[1],
        target_return=high if target is None else target,
        random_return=low if random is None else random,
        expert_return=high if expert is None else expert,
    )
    if not robot.random_return < robot.expert_return:
        raise SpecError(
            f"environment {name}: returns of {robot.random_return:g} score 0 and of "
            f"{robot.expert_return:g} score 100; give random= and expert=, the first smaller"
        )
    if not merge_with:
        raise SpecError(f"environment {name}: merge_with names nothing; give another environment")
    stored = keep(found.packed(), ".safetensors")
    template, corpus = "policy-{}-different", f"{name}-trajectories"
    mine = template.format(name)
    others = tuple(template.format(env) for env in merge_with)

    def method(title: str, function: str, needs: tuple[str, ...], **settings: Any) -> Method:
        return Method(
            name=f"{title}-{name}",
            run=f"suites.merging.trials:{function}",
            params=Merge(policies=template, **settings).plain(),
            needs=needs,
            label=f"{title.replace('-', ' ')}: {name}"
            + ("" if function == "individual" else f" with {', '.join(merge_with)}"),
            kind="baseline" if function == "individual" else "proposed",
        )

    methods = (
        method("individual", "individual", (mine,)),
        *(
            method(
                "-".join(("average", *group)), "merged", (mine, *others), rule="average",
                groups=tuple(group),
            )
            for group in groups
        ),
    )  # fmt: skip
    return Plugin(
        suite="merging",
        methods=methods,
        tasks=(
            Task(
                name=name,
                label=name,
                params=robot.plain(),
                metrics=("score", "return"),
                optional=("score-best", "retained", "episode-sd"),
                datasets=(corpus,),
            ),
        ),
        artifacts=(
            Artifact(
                name=f"data-{name}",
                make="suites.merging.own:make_data",
                params=robot.plain(),
                datasets=(corpus,),
                random=False,
            ),
            Artifact(
                name=mine,
                make="suites.merging.artifacts:make_policy",
                params=PolicyOf(environment=name, init="different", watched=True).plain(),
                needs=(f"data-{name}",),
                over=("seed",),
            ),
        ),
        datasets=(
            Dataset(
                name=corpus,
                files={stored.file: stored.sha256},
                folder=stored.folder,
                licence=licence,
                source=source,
                sizes=f"{found.count:,} episodes, {len(found.rewards_N):,} steps",
                splits="none",
            ),
        ),
        tables=(
            Table(
                name=name, title=name, metric="score", methods=tuple(m.name for m in methods),
                tasks=(name,),
            ),
        ),
        scales=tuple(scales),
        pairs=tuple(f"{method.name}/{name}" for method in methods),
    )  # fmt: skip


def make_data(ctx: "Context") -> dict[str, JsonValue]:
    """Artifact: the trajectories that a plugin brings, compared with their environment.

    Raises:
        DataError: an action is outside of the environment's bounds.
        MethodError: the environment cannot be made, or does not fit the data.
    """
    from suites.merging.artifacts import world
    from suites.merging.robots import single, trajectories
    from suites.merging.robots.dataset import TRAJECTORIES, measured

    env = world(ctx, ctx.settings(Robot).environment)
    (name,) = ctx.datasets
    (file,) = next(dataset.files for dataset in ctx.suite.datasets if dataset.name == name)
    data = single.scaled(env, trajectories.load(ctx.dataset(name) / file))
    facts = measured(data, env)
    data.save(ctx.out / TRAJECTORIES, facts)
    return facts


def _read(data: "str | Path | Trajectories") -> "Trajectories":
    from suites.merging.robots import trajectories

    if isinstance(data, trajectories.Trajectories):
        return data
    if isinstance(data, str) and data.startswith("minari:"):
        return trajectories.read_minari(data.removeprefix("minari:"))
    path = Path(data)
    if path.suffix not in (".npz", ".hdf5", ".h5"):
        raise DataError(
            f"{path}: no file of trajectories; its name ends with .npz or .hdf5, or give "
            "minari:<dataset>"
        )
    return trajectories.read_npz(path) if path.suffix == ".npz" else trajectories.read_hdf5(path)


def _belong_together(name: str, places: Mapping[str, Path]) -> None:
    """Compares what the policies say of themselves with their environments and each other."""
    sizes = {}
    for env, folder in places.items():
        if missing := [file for file in FILES if not (folder / file).is_file()]:
            raise DataError(
                f"policies {name}: no {missing[0]} in {folder}; a policy's folder holds "
                f"{' and '.join(FILES)}, see suites.merging.policy.files.save"
            )
        try:
            shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))["shape"]
            found = shape["state_dim"], shape["action_dim"]
            sizes[env] = shape["width"], shape["layers"], shape["heads"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"policies {name}: {folder / 'config.json'} does not say the policy's shape "
                f"({brief(error)})"
            ) from None
        wanted = ENVIRONMENTS[env].state_dim, ENVIRONMENTS[env].action_dim
        if found != wanted:
            raise DataError(
                f"policies {name}: {folder} has {found[0]} states and {found[1]} actions, {env} "
                f"has {wanted[0]} and {wanted[1]}"
            )
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{env} {size}" for env, size in sizes.items())
        raise DataError(
            f"policies {name}: of unequal width, layers and heads ({told}); only equal ones merge"
        )
