"""Trained policies of one's own in the suite, for plugins: `policies`.

A policy is a folder with `model.safetensors` and `config.json`, as `suites.merging.policy.files`
writes them: a Decision Transformer, its shape, and how its states are normalised.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from harness.errors import DataError, SpecError, brief, unknown
from harness.plugins import Plugin
from harness.store import file_digest
from harness.suite import Artifact, Dataset, Method, Table
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.settings import Merge, Robot

if TYPE_CHECKING:
    from harness.run import Context

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
